"""Content at the edge: whatever is accepted comes back equal, and whatever cannot is refused with the reason."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr

from agent_messaging import InvalidMessageError, MeetingTimeoutError
from agent_messaging.content import MAX_DEPTH, MAX_METADATA, Codec, decode_metadata, encode_metadata
from tests.protocol.world import opened

LARGEST = 262_144
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
    max_leaves=20,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


POISON: list[tuple[Any, str]] = [
    ("a\0b", "NUL"),
    ({"a\0": 1}, "NUL"),
    ("\ud800", "surrogate"),
    (["\udfff"], "surrogate"),
    ("\ud83d\ude00", "surrogate"),
    ({"\udc00": 1}, "surrogate"),
    (math.nan, "NaN"),
    ([math.inf], "infinity"),
    ({"a": -math.inf}, "infinity"),
    (1e308 * 10, "infinity"),
    (2**63, "64 bits"),
    (-(2**63) - 1, "64 bits"),
    (10**5000, "64 bits"),
    (nested(MAX_DEPTH + 1), "64 levels"),
    (nested(900), "64 levels"),
    (nested(100_000), "64 levels"),
    ("x" * LARGEST, "at most 262144"),
    ("é" * (LARGEST // 2), "at most 262144"),
    ({1: 2}, "a key that is no text: int"),
    ({None: 2}, "a key that is no text: NoneType"),
    ((1, 2), "a tuple"),
    ({1, 2}, "a set"),
    (b"bytes", "a bytes"),
    (object(), "a object"),
    (datetime.now(UTC), "a datetime"),
    (Decimal("1.5"), "a Decimal"),
]


def alike(one: Any, other: Any) -> bool:
    """Equal, and of the same types: 1, 1.0 and true are three things."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


@pytest.mark.requirement("content:round-trip")
@settings(max_examples=300, deadline=None)
@given(VALUES)
@example([1, 1.0, True, 0.0, -0.0, 5e-324, 1e308, 2**63 - 1, -(2**63), "\x7f\x1f \u2028\ufeff\U0001f600", {"": {}}])
@example(nested(MAX_DEPTH))
@example("x" * (LARGEST - 2))
@example("\\u0000")
def test_any_json_comes_back_as_it_was_or_is_refused(value: Any) -> None:
    codec: Codec[Any] = Codec(None, max_bytes=LARGEST)
    try:
        text = codec.encode(value)
    except InvalidMessageError:
        return
    assert alike(codec.decode(text), value)
    assert "\0" not in text
    assert len(text.encode()) <= LARGEST
    assert alike(json.loads(text), value)


@pytest.mark.requirement("content:refused")
@pytest.mark.parametrize(("value", "reason"), POISON, ids=range(len(POISON)))
def test_what_could_not_come_back_is_refused_with_the_reason(value: Any, reason: str) -> None:
    for codec in (Codec[Any](None, max_bytes=LARGEST), Codec[Any](Any, max_bytes=LARGEST)):
        with pytest.raises(InvalidMessageError, match=reason):
            codec.encode(value)
    if not isinstance(value, int | float | str | list | tuple | set | bytes) or reason in ("NUL", "surrogate", "NaN"):
        with pytest.raises(InvalidMessageError):
            encode_metadata({"a": value})


@pytest.mark.requirement("content:refused")
def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidMessageError, match="nested deeper"):
        Codec[Any](None, max_bytes=LARGEST).encode(loop)


@pytest.mark.requirement("content:metadata")
def test_metadata_is_a_dict_of_json_values() -> None:
    assert decode_metadata(encode_metadata({"a": [1, None, "é"]})) == {"a": [1, None, "é"]}
    assert decode_metadata(encode_metadata(None)) is None
    wrong: list[Any] = [[1], "x", 7, {1: 2}, {"a": object()}, {"a": math.nan}, {"a": "x" * MAX_METADATA}]
    for value in wrong:
        with pytest.raises(InvalidMessageError):
            encode_metadata(value)


class Mood(StrEnum):
    GOOD = "good"


class Level(IntEnum):
    HIGH = 3


class Part(BaseModel):
    id: UUID
    at: datetime
    on: date | None = None
    took: timedelta = timedelta(seconds=1.5)
    mood: Mood = Mood.GOOD
    level: Level = Level.HIGH
    price: Decimal = Decimal("1.10")
    ratio: float = 0.1


class Ping(BaseModel):
    kind: Literal["ping"] = "ping"
    parts: list[Part] = []
    extra: dict[str, Any] = {}


class Pong(BaseModel):
    kind: Literal["pong"] = "pong"
    names: frozenset[str] = frozenset()
    pair: tuple[int, str] = (1, "a")


@dataclass
class Point:
    x: int
    y: float


PART = Part(id=UUID(int=5), at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), on=date(2026, 1, 2))
TYPED: list[tuple[Any, Any]] = [
    (Ping, Ping(parts=[PART, PART], extra={"a": [1, 1.5, None, {"b": "é"}]})),
    (Ping | Pong, Pong(names=frozenset({"a", "b"}), pair=(2, "b"))),
    (Annotated[Ping | Pong, Field(discriminator="kind")], Ping()),
    (Point, Point(1, 2.5)),
    (list[Point], [Point(1, 2.0), Point(3, 4.0)]),
    (dict[str, int], {"a": 1}),
    (dict, {"a": [1, {"b": None}]}),
    (str, "\\u0000 is not NUL"),
    (int | str, "1"),
    (int | str, 1),
    (Part, PART),
]


@pytest.mark.requirement("content:typed")
@pytest.mark.parametrize(("kind", "value"), TYPED, ids=range(len(TYPED)))
def test_a_message_of_any_type_that_pydantic_knows_comes_back_as_that_type(kind: Any, value: Any) -> None:
    codec: Codec[Any] = Codec(kind, max_bytes=LARGEST)
    back = codec.decode(codec.encode(value))

    assert back == value
    assert type(back) is type(value)


class Forgetful(BaseModel):
    text: str
    secret: str = Field(default="", exclude=True)
    _private: int = PrivateAttr(default=0)


def forgetful() -> Forgetful:
    message = Forgetful(text="x")
    message._private = 7
    return message


REFUSED: list[tuple[Any, Any, str | None]] = [
    (Ping, Pong(), "not of the message type"),
    (Ping, "ping", "not of the message type"),
    (Ping, None, "not of the message type"),
    (Ping, Ping(extra={"a": "\0"}), "NUL"),
    (Ping, Ping(extra={"a": "\ud800"}), "surrogate"),
    (Ping, Ping(extra={"a": math.nan}), None),
    (Ping, Ping(extra={"a": math.inf}), None),
    (Ping, Ping(extra={"a": 2**64}), "64 bits"),
    (Ping, Ping(extra={"a": object()}), "cannot be written as JSON"),
    (Ping, Ping(extra={"a": nested(80)}), "64 levels"),
    (Ping, Ping(extra={"a": nested(900)}), None),
    (dict, {"a": math.inf}, None),
    (dict, {"a": -math.inf}, None),
    (dict, {1: "a"}, "changed"),
    (dict, {"a": (1, 2)}, "changed"),
    (float, math.nan, None),
    (float, math.inf, None),
    (float | None, math.nan, None),
    (int, 2**63, "64 bits"),
    (bytes, b"\xff", "cannot be written as JSON"),
    (str, "a\0b", "NUL"),
    (str, "\ud800", None),
    (str, "x" * LARGEST, "at most 262144"),
    (Forgetful, Forgetful(text="x", secret="y"), "changed"),
    (Forgetful, forgetful(), "changed"),
    (int, "5", "come back changed"),
    (Ping, {"kind": "ping"}, "come back changed"),
]


@pytest.mark.requirement("content:typed")
@pytest.mark.parametrize(("kind", "value", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_a_message_that_its_type_would_change_is_refused(kind: Any, value: Any, reason: str | None) -> None:
    with pytest.raises(InvalidMessageError, match=reason):
        Codec[Any](kind, max_bytes=LARGEST).encode(value)


@pytest.mark.requirement("content:typed")
def test_a_model_needs_a_parametrised_sdk_and_what_is_stored_must_be_of_its_type() -> None:
    with pytest.raises(InvalidMessageError, match=r"use AgentMessaging\[Ping\]"):
        Codec[Any](None, max_bytes=LARGEST).encode(Ping())
    with pytest.raises(InvalidMessageError, match="not of this program's message type"):
        Codec[Ping](Ping, max_bytes=LARGEST).decode('{"kind": "pong"}')


def anything(dice: random.Random, depth: int = 0) -> Any:
    """Some JSON value, with text from all of Unicode."""
    match dice.randrange(9 if depth < 4 else 6):
        case 0:
            return dice.choice([None, True, False])
        case 1:
            return dice.randrange(-(2**63), 2**63)
        case 2:
            return dice.uniform(-1, 1) * 10 ** dice.randrange(-300, 300)
        case 3 | 4 | 5:
            signs = (dice.choice([dice.randrange(1, 0xD800), dice.randrange(0xE000, 0x110000)]) for _ in range(9))
            return "".join(map(chr, signs))
        case 6 | 7:
            return [anything(dice, depth + 1) for _ in range(dice.randrange(4))]
        case _:
            return {f"{anything(dice, 9)}": anything(dice, depth + 1) for _ in range(dice.randrange(4))}


@pytest.mark.requirement("content:round-trip")
async def test_content_and_metadata_come_back_through_the_database_as_they_went_in_and_poison_never_enters(
    dsn: str,
) -> None:
    dice = random.Random(7)
    values = [anything(dice) for _ in range(150)]
    values += [nested(MAX_DEPTH), "x" * (LARGEST - 2), "\\u0000", "", {}, [], -0.0, 2**63 - 1, "'; DROP TABLE x; --"]
    async with opened(dsn, "alice", "bob") as sdk:
        for number, value in enumerate(values):
            if value is not None:
                await sdk.async_conversation.send("alice", "bob", value, metadata={"value": anything(dice, 3)})
            if number % 7 == 0:
                poison, _ = dice.choice(POISON)
                with pytest.raises(InvalidMessageError):
                    await sdk.async_conversation.send("alice", "bob", poison)
        back = await sdk.async_conversation.get_unread_messages("bob")
        history = await sdk.async_conversation.get_conversation("alice", "bob")
    expected = [value for value in values if value is not None]
    assert len(back) == len(expected)
    assert all(map(alike, back, expected))
    assert all(map(alike, [message.content for message in history], expected))


@pytest.mark.requirement("content:typed")
async def test_a_typed_message_comes_back_as_its_type_from_a_meeting_in_another_process(dsn: str) -> None:
    async with (
        opened(dsn, "alice", "bob", message_type=Ping) as sdk,
        opened(dsn, message_type=Ping) as elsewhere,
        opened(dsn, message_type=Pong) as foreign,
    ):
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        with pytest.raises(MeetingTimeoutError):
            await elsewhere.meeting.attend_meeting("bob", meeting, 0)
        await sdk.meeting.start_meeting("alice", meeting, Ping(parts=[PART]))
        signal = await elsewhere.meeting.attend_meeting("bob", meeting, 5)

        assert [speech.message for speech in signal.said] == [Ping(parts=[PART])]
        assert [e.content for e in await elsewhere.meeting.get_meeting_history(meeting)][-1] == Ping(parts=[PART])
        with pytest.raises(InvalidMessageError, match="not of this program's message type"):
            await foreign.meeting.get_meeting_history(meeting)
