"""What peers write is made visible, and the server's own words are short and literal."""

from __future__ import annotations

import unicodedata
from contextvars import copy_context
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_messaging_mcp.results import body
from agent_messaging_mcp.text import ago, call, one_line, span, tell_time_by, tokens, until, visible
from tests.mcp_server.hostile import PAYLOADS

SHOWS_NOTHING = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def hidden_in(text: str) -> list[str]:
    return [
        f"U+{ord(character):04X}"
        for character in text
        if character not in "\n\t"
        and (
            unicodedata.category(character) in SHOWS_NOTHING
            or 0xFE00 <= ord(character) <= 0xFE0F
            or character in "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
        )
    ]


@pytest.mark.requirement("mcp:peers:visible")
def test_nothing_hidden_is_left_in_hostile_text() -> None:
    assert len(PAYLOADS) == 300
    assert [hidden_in(visible(payload)) for payload in PAYLOADS] == [[]] * 300
    assert sum(visible(payload) != payload for payload in PAYLOADS) > 150


@pytest.mark.requirement("mcp:peers:visible")
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_text_hides_anything_but_the_joints_of_an_emoji(text: str) -> None:
    left = hidden_in(visible(text))
    assert set(left) <= {"U+FE0F", "U+200D"}


@pytest.mark.requirement("mcp:peers:visible")
@pytest.mark.parametrize(
    "text", ["plain", "two\nlines\tand a tab", "Grüße, 你好, שלום", "❤️ 👨‍👩‍👧 👍🏽", '1 < 2 & "3"']
)
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a<U+001B>[31mb"),
        ("\u202eabc", "<U+202E>abc"),
        ("a\u200db", "a<U+200D>b"),
        ("a\ufe0fb", "a<U+FE0F>b"),
        ("tag\U000e0041", "tag<U+E0041>"),
        ("a\r\nb\rc", "a\nb<U+000D>c"),
    ],
)
@pytest.mark.requirement("mcp:peers:visible")
def test_what_hides_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_sentence_of_the_server_is_one_line() -> None:
    assert one_line("a\n\n Now: b\tc") == "a Now: b c"
    assert len(one_line("x" * 5_000)) == 600


def test_a_call_is_written_as_a_model_would_make_it() -> None:
    assert call("speak", meeting="m7f3", turn=14, message=..., next_speaker=None) == (
        'speak(meeting="m7f3", turn=14, message=…)'
    )
    assert call("send", to='a"b', force=True, agents=["x", "y"]) == 'send(to="a\\"b", force=true, agents=["x", "y"])'


def test_times_are_relative_and_in_one_unit() -> None:
    assert [span(seconds) for seconds in (0, 95, 119.4, 720, 18_000, 260_000)] == [
        "0 s",
        "95 s",
        "119 s",
        "12 min",
        "5 h",
        "3 d",
    ]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert ago(now - timedelta(minutes=41), now) == "41 min ago"
    assert ago(now + timedelta(seconds=3), now) == "just now"


@pytest.mark.requirement("mcp:results:size")
@pytest.mark.parametrize("unit", ["word ", "\x1b", "\u202e", "你", "a\u200b", "😀"])
def test_a_long_body_is_read_to_its_end_piece_by_piece(unit: str) -> None:
    whole = unit * 5_000
    start, pieces = 0, []
    while True:
        piece = body(whole, rest=str, start=start)
        assert len(piece.text) <= 6_000
        pieces.append(piece.text)
        if not piece.rest:
            break
        assert int(piece.rest) > start
        start = int(piece.rest)
    assert "".join(pieces) == visible(whole)


def test_tokens_are_rather_over_than_underestimated() -> None:
    # Counted with the o200k vocabulary: 9, 11 and 33.
    assert tokens("The quick brown fox jumps over the lazy dog") >= 9
    assert tokens("你好世界你好世界") >= 8
    assert tokens("aGVsbG8gd29ybGQhIFRoaXMgaXMgYmFzZTY0IQ==") >= 16


@pytest.mark.requirement("clock:told")
def test_a_context_tells_the_time_by_the_clock_that_it_is_given() -> None:
    moment = datetime(2026, 2, 20, 18, 24, tzinfo=UTC)

    def told() -> tuple[str, float]:
        tell_time_by(lambda: moment + timedelta(minutes=41))
        return ago(moment), until(moment + timedelta(minutes=42))

    assert copy_context().run(told) == ("41 min ago", 60)
    assert ago(datetime.now(UTC)) == "just now", "elsewhere the host's clock is as good as any"
