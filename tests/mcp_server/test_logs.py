"""The log: one line an event whatever is in it, in two forms, with ids and without anything that somebody wrote."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from mcp import MCPError

from agent_messaging import ConfigurationError, DatabaseUnavailableError
from agent_messaging_mcp import logs
from agent_messaging_mcp.log_safety import Format, cleaned
from agent_messaging_mcp.results import Refusal, Result
from tests.conftest import connect
from tests.mcp_server.hostile import PAYLOADS
from tests.mcp_server.logging_to import logged

SECRET = "xyzzy"
OURS = logging.getLogger("agent_messaging_mcp.test")
both_forms = pytest.mark.parametrize("form", ["text", "json"])


def raised(error: BaseException) -> BaseException:
    """The error, as it is once it has been raised."""
    try:
        raise error
    except BaseException as caught:
        return caught


def result(**facts: Any) -> Result:
    return Result(status="sent", happened="Sent.", do="carry on.", facts=facts)


@pytest.mark.requirement("logs:one-line")
@both_forms
def test_no_value_breaks_its_line_or_reaches_the_terminal(form: Format) -> None:
    with logged(format=form) as lines:
        for payload in PAYLOADS:
            OURS.warning("came %s", payload, extra={"value": payload})
            with logs.context(agent=payload, request=payload):
                OURS.warning(payload.replace("%", "%%"))
    written = lines.getvalue()
    assert len(written.split("\n")) == 2 * len(PAYLOADS) + 1
    assert [character for character in written if character != "\n" and not character.isprintable()] == []
    assert not set(written) & set("\u202e\u2066\u200b\u3164\u2800")


@pytest.mark.requirement("logs:forms")
def test_as_json_a_line_is_an_object_that_begins_with_the_same_keys() -> None:
    with logged(format="json") as lines:
        OURS.info("first")
        OURS.error("second %d", 2, extra={"topics": 3}, exc_info=raised(KeyError(SECRET)))
    first, second = lines.objects()
    assert list(first) == ["time", "level", "logger", "event"]
    assert list(second)[:4] == list(first)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert (first["level"], first["logger"], first["event"]) == ("info", "agent_messaging_mcp.test", "first")
    assert (second["level"], second["event"], second["topics"]) == ("error", "second 2", 3)


@pytest.mark.requirement("logs:forms")
def test_as_text_a_line_is_time_level_event_and_pairs_that_can_be_told_apart() -> None:
    with logged(format="text") as lines, logs.context(agent="alice", request=7):
        OURS.warning("it is so", extra={"value": 'a b="c" level=ERROR', "empty": ""})
    assert re.fullmatch(
        r"\S+Z WARNING it is so value=\"a b=\\\"c\\\" level=ERROR\" empty=\"\" agent=alice request=7"
        r" logger=agent_messaging_mcp\.test",
        re.sub(r"request=7 agent=alice", "agent=alice request=7", lines.only()),
    ), lines.only()


@pytest.mark.requirement("logs:ids")
def test_ids_are_on_every_line_inside_and_on_none_outside() -> None:
    with logged() as lines:
        with logs.context(transport="stdio"), logs.context(agent="alice", request=1):
            with logs.context(question="q2k9", with_agent="bob"):
                OURS.info("inner")
            OURS.info("outer")
        OURS.info("outside")
    inner, outer, outside = lines.objects()
    ids = {"transport": "stdio", "agent": "alice", "request": "1"}
    assert inner.items() >= (ids | {"question": "q2k9", "with_agent": "bob"}).items()
    assert outer.items() >= ids.items()
    assert "question" not in outer
    assert outside.keys() == {"time", "level", "logger", "event"}


@pytest.mark.requirement("logs:ids")
async def test_requests_that_are_served_at_once_keep_their_ids_apart() -> None:
    together = asyncio.Barrier(2)

    async def serve(agent: str) -> None:
        with logs.context(agent=agent):
            await together.wait()
            OURS.info("%s", agent)

    with logged() as lines:
        async with asyncio.timeout(90):
            await asyncio.gather(serve("alice"), serve("bob"))
    assert sorted((line["event"], line["agent"]) for line in lines.objects()) == [("alice", "alice"), ("bob", "bob")]


@pytest.mark.requirement("logs:errors")
@both_forms
def test_an_error_is_told_on_the_same_line_by_its_kind_and_place(form: Format) -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise ValueError(SECRET) from cause
    except ValueError as error:
        failed = error
    for level in ("INFO", "DEBUG"):
        with logged(level, form) as lines:
            OURS.error("it failed: %r", failed, exc_info=failed)
        line = lines.only()
        assert SECRET not in line
        for told in ("it failed: ValueError", "because", "KeyError", "test_logs.py:"):
            assert told in line
        assert ("traceback" in line) == (level == "DEBUG")


@pytest.mark.requirement("logs:errors")
@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("PostgreSQL 13 is too old"),
        DatabaseUnavailableError("the database could not be reached"),
        OSError(98, "address already in use"),
    ],
)
def test_what_an_operator_has_to_put_right_is_told_in_words(error: Exception) -> None:
    with logged("INFO") as lines:
        OURS.error("it does not start", exc_info=raised(error))
    assert lines.objects()[0]["error_message"] == str(error)


@pytest.mark.requirement("logs:canaries")
async def test_what_the_driver_says_of_values_is_not_repeated(dsn: str) -> None:
    insert = "INSERT INTO organizations (id, external_id, name) VALUES (gen_random_uuid(), $1, 'x')"
    failures: list[Exception] = []
    async with connect(dsn) as connection:
        await connection.execute(insert, SECRET)
        for work in (
            connection.execute(insert, SECRET),
            connection.execute("SELECT $1::integer", SECRET),
            connection.execute(f"SELECT '{SECRET}'::integer"),
        ):
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)) as caught:
                await work
            failures.append(caught.value)
    said = [str(getattr(failure, "detail", None) or failure) for failure in failures]
    assert all(SECRET in words for words in said), "else this would show nothing"
    with logged() as lines:
        for failure in failures:
            OURS.error("failed %r %s", failure, failure, exc_info=failure)
    assert SECRET not in lines.getvalue()
    unique, *_ = lines.objects()
    assert unique["error"] == "UniqueViolationError 23505 organizations_external_id_key"


@pytest.mark.requirement("logs:libraries")
def test_of_libraries_only_what_holds_no_value_is_repeated() -> None:
    theirs = logging.getLogger("mcp.server.sse")
    with logged() as lines:
        theirs.debug(f"Received JSON: {SECRET}")
        theirs.info("sent %s", SECRET)
        theirs.warning(f"Received invalid session ID: {SECRET}")
        theirs.error("dropped %r: malformed", SECRET)
        theirs.error("Failed to parse message", exc_info=raised(ValueError(SECRET)), extra={"body": SECRET})
        logging.getLogger("asyncio").error(f"Task exception was never retrieved\nfuture: {SECRET}")
    assert SECRET not in lines.getvalue()
    assert [line["event"] for line in lines.objects()] == [
        "sent …",
        "Received invalid session ID",
        "dropped …: malformed",
        "Failed to parse message",
        "Task exception was never retrieved",
    ]
    with logged("INFO") as lines:
        theirs.info("started")
        OURS.info("heard")
        OURS.debug("not heard")
    assert [line["event"] for line in lines.objects()] == ["heard"]


@pytest.mark.requirement("logs:uvicorn")
def test_the_listener_writes_in_the_same_form_and_its_access_lines_are_off() -> None:
    access, errors = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn.error")
    access.addHandler(logging.StreamHandler())
    request = ("127.0.0.1:5", "GET", f"/mcp?token={SECRET}", "1.1", 401)
    with logged("INFO") as lines:
        access.info('%s - "%s %s HTTP/%s" %d', *request)
        errors.info("Uvicorn running on %s://%s:%d", "http", "127.0.0.1", 80, extra={"color_message": "\x1b[1m"})
    assert [line["event"] for line in lines.objects()] == ["Uvicorn running on http://127.0.0.1:80"]
    with logged("INFO", access=True) as lines:
        access.info('%s - "%s %s HTTP/%s" %d', *request)
    (line,) = lines.objects()
    assert (line["event"], line["method"], line["path"], line["status"]) == ("access", "GET", "/mcp", 401)
    assert SECRET not in lines.getvalue()
    access.handlers.clear()


@pytest.mark.requirement("logs:one-line")
def test_warnings_threads_and_records_that_do_not_fit_make_lines_too() -> None:
    def fails() -> None:
        raise ValueError(SECRET)

    with logged() as lines:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn(SECRET, stacklevel=1)
        thread = threading.Thread(target=fails, name="lease")
        thread.start()
        thread.join(5)
        OURS.info("%d %s", SECRET)
        OURS.info("100 %")
        sys.excepthook(ValueError, raised(ValueError(SECRET)), None)  # pyright: ignore[reportArgumentType]
    assert SECRET not in lines.getvalue()
    events = [line["event"] for line in lines.objects()]
    assert events[1:] == ["the thread lease ended with an error", "%d %s", "100 %", "the process ends with an error"]


@pytest.mark.requirement("logs:one-line")
def test_a_record_that_cannot_be_written_is_lost_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError(SECRET)

    with logged() as lines:
        OURS.info("%s", Hostile())
        lines.close()
        OURS.info(SECRET)
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.requirement("logs:canaries")
@pytest.mark.parametrize(
    "secret",
    [
        "am_k3f9x2ab_" + "x" * 43,
        f"postgresql://me:{SECRET}@db/messages",
        f"Authorization: Bearer {SECRET}{SECRET}",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
    ],
)
def test_what_has_the_form_of_a_secret_is_blotted_out_wherever_it_stands(secret: str) -> None:
    with logged() as lines:
        OURS.info("came %s", secret, extra={"value": secret})
        logging.getLogger("uvicorn.error").error("came %s", secret)
    assert not {SECRET, "x" * 43, "c2lnbmF0dXJl"} & set(re.split(r"[^A-Za-z0-9]+", lines.getvalue()))
    assert "…" in lines.getvalue()


@pytest.mark.requirement("logs:calls")
def test_a_call_is_one_line_with_its_outcome_its_time_and_its_handles() -> None:
    counted: Counter[tuple[str, str]] = Counter()

    def count(tool: str, status: str) -> None:
        counted[tool, status] += 1

    with logged("INFO") as lines:
        with logs.called("send", count=count) as call:
            call.gave(result(), {"to": ["bob", "carol"], "message": SECRET, "key": SECRET})
        with logs.called("reply", count=count) as call:
            call.gave(Refusal(SECRET), {"question": "q2k9", "to": SECRET, "message": SECRET})
        with suppress(MCPError), logs.called("speak", count=count) as call:
            raise MCPError(-32603, SECRET)
        with suppress(asyncio.CancelledError), logs.called("attend_meeting", count=count) as call:
            raise asyncio.CancelledError
    sent, refused, failed, cancelled = lines.objects()
    assert sent.items() >= {"event": "call", "tool": "send", "status": "sent", "to": "bob,carol"}.items()
    assert isinstance(sent["ms"], int)
    assert [line["status"] for line in (refused, failed, cancelled)] == ["refused", "error", "cancelled"]
    assert refused.keys() == {"time", "level", "logger", "event", "tool", "status", "ms"}
    assert SECRET not in lines.getvalue()
    assert counted == {
        ("send", "sent"): 1,
        ("reply", "refused"): 1,
        ("speak", "error"): 1,
        ("attend_meeting", "cancelled"): 1,
    }


@pytest.mark.requirement("logs:calls")
def test_handles_are_told_from_the_result_or_in_their_own_form_only() -> None:
    given: list[tuple[Result, dict[str, object], dict[str, str]]] = [
        (result(question="q2k9"), {"to": "bob"}, {"question": "q2k9", "to": "bob"}),
        (result(meeting="m7f3"), {"next_speaker": "carol"}, {"meeting": "m7f3", "to": "carol"}),
        (result(), {"meeting": f"m7f3 {SECRET}", "question": SECRET}, {}),
        (result(), {"to": f"{SECRET} {SECRET}", "title": SECRET}, {}),
        (result(), {"from_agent": "bob", "after": "c1ab"}, {"from": "bob"}),
        (replace(result(meeting="m7f3"), status="not_now"), {"meeting": "m2zz", "to": SECRET}, {"meeting": "m7f3"}),
        (result(), {"to": ",".join(f"a{n}" for n in range(9))}, {"to": "a0,a1,a2,a3,a4,+4"}),
    ]
    for given_result, arguments, told in given:
        with logged("INFO") as lines, logs.called("send") as call:
            call.gave(given_result, arguments)
        line = lines.objects()[0]
        assert {key: line[key] for key in line if key in ("question", "meeting", "to", "from")} == told


@pytest.mark.requirement("logs:lean")
def test_the_log_is_written_with_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); from agent_messaging_mcp import logs; logs.configure('INFO', 'json');"
        "import logging; logging.getLogger('agent_messaging_mcp.x').info('hello');"
        "brought = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(brought - sys.stdlib_module_names))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True)
    assert ran.stdout == "['agent_messaging_mcp']\n", "standard output is the protocol's"
    assert json.loads(ran.stderr)["event"] == "hello"


@pytest.mark.requirement("logs:canaries")
@pytest.mark.parametrize(
    "secret",
    [
        f"am_{'a' * 4}_{'x' * 16}",
        f"eyJ{'x' * 8}.",
        f"eyJ{'x' * 8}.{'y' * 8}.{'z' * 8}",
        "://alice:x@",
        "Bearer x",
    ],
)
def test_what_is_written_as_it_is_has_not_even_the_shortest_form_of_a_secret(secret: str) -> None:
    for text in (secret, f"a {secret} b", f"({secret})"):
        assert secret not in cleaned(text)
    for harmless in ("send", "check_inbox", "streamable-http", "q2k9", "a" * 300, "-"):
        assert cleaned(harmless) == harmless
    assert len(cleaned("a" * 301)) == 300
