"""What one agent may ask of one process: so many calls, so many open waits, so large a body; and no other feels it."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from agent_messaging_mcp.limits import OpenWaits, Rate, TooManyWaits
from tests.conftest import connect
from tests.mcp_server.foreign import calling
from tests.mcp_server.serving import serving, tokens_of
from tests.mcp_server.wire import Headers, Wire, bearer, head_of, initialize, legacy, modern

MIB = 1024 * 1024
LIMIT = 4 * MIB


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.requirement("mcp:limits:rate")
def test_a_minutes_calls_at_once_and_then_evenly() -> None:
    clock = Clock()
    rate = Rate(60, clock=clock)
    assert [rate.take("alice") for _ in range(60)] == [0] * 60
    assert rate.take("alice") == 1
    assert rate.take("bob") == 0, "of each agent alone"
    clock.now += 1
    assert [rate.take("alice") for _ in range(2)] == [0, 1]
    clock.now += 0.5
    assert rate.take("alice") == 1
    clock.now += 0.5
    assert rate.take("alice") == 0, "a refused call is not counted"
    clock.now += 10_000
    assert [rate.take("alice") for _ in range(61)] == [*([0] * 60), 1], "never more than a minute's"


@pytest.mark.requirement("mcp:limits:rate")
@pytest.mark.parametrize("per_minute", [1, 7, 600, 100_000])
def test_whoever_waits_as_long_as_told_is_let_in(per_minute: int) -> None:
    clock = Clock()
    rate = Rate(per_minute, clock=clock)
    allowed = sum(rate.take("alice") == 0 for _ in range(per_minute + 10))
    assert allowed == per_minute
    for _ in range(50):
        pause = rate.take("alice")
        assert 0 <= pause <= 60
        if pause:
            clock.now += pause
            assert rate.take("alice") == 0
    began, allowed = clock.now, 0
    while clock.now < began + 60:
        allowed += rate.take("alice") == 0
        clock.now += 20 / per_minute
    assert allowed <= per_minute + per_minute / 60 + 2, "no faster than evenly"


@pytest.mark.requirement("mcp:limits:rate")
def test_agents_by_the_thousand_are_not_remembered_for_ever() -> None:
    clock = Clock()
    rate = Rate(10, clock=clock)
    for number in range(30_000):
        rate.take(f"agent-{number}")
    assert len(rate._buckets) == 10_000  # pyright: ignore[reportPrivateUsage]


@pytest.mark.requirement("mcp:limits:rate")
@pytest.mark.parametrize("kind", ["current", "legacy", "sse"])
async def test_whoever_calls_too_often_is_told_when_to_go_on_and_nobody_else_is(dsn: str, kind: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn, AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE="6") as served:
        wire = Wire(served.address)
        async with calling(wire, tokens["alice"], kind) as alice, calling(wire, tokens["bob"], kind) as bob:
            for method, params in (
                ("tools/call", {"name": "list_agents", "arguments": {}}),
                ("tools/call", {"name": "check_inbox", "arguments": {}}),
                ("tools/call", {"name": "get_meeting", "arguments": {"meeting": "m9zz"}}),
                ("tools/list", {}),
                ("resources/read", {"uri": "messaging://nothing"}),
                ("prompts/get", {"name": "answer_inbox"}),
            ):
                assert "Too many" not in str(await alice.call(method, params))
            refused = (await alice.tool("send", {"to": "bob", "message": "x"}))["result"]
            assert not refused.get("isError")
            told = refused["structuredContent"]
            assert told["status"] == "not_now"
            assert told["now"].startswith("Not sent: you have made 6 calls within a minute")
            assert 1 <= told["seconds_left"] <= 10
            assert refused["content"][0]["text"].startswith(told["now"])
            for method, params in (
                ("resources/read", {"uri": "messaging://inbox"}),
                ("tools/list", {}),
                ("prompts/list", {}),
                ("completion/complete", {"ref": {"type": "ref/prompt", "name": "join_meeting"},
                                         "argument": {"name": "meeting", "value": ""}}),
            ):  # fmt: skip
                error = (await alice.call(method, params))["error"]
                assert error["code"] == -32029
                assert error["message"].startswith("Too many requests.")
                assert 1 <= error["data"]["retryAfterSeconds"] <= 10
            # Whoever connects anew is still told who it is, and the neighbour feels nothing.
            headers, body = initialize()
            assert (await wire.request("POST", "/mcp", [bearer(tokens["alice"]), *headers], body)).status == 200
            for _ in range(6):
                assert (await bob.tool("check_inbox", {}))["result"]["structuredContent"]["status"] == "empty"
            async with asyncio.timeout(30):
                await asyncio.sleep(told["seconds_left"])
                sent = await alice.tool("send", {"to": "bob", "message": "y"})
            assert sent["result"]["structuredContent"]["status"] == "sent"
    async with connect(dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM messages") == 1


@pytest.mark.requirement("mcp:limits:waits")
def test_waits_are_counted_for_each_agent_for_as_long_as_they_are_open() -> None:
    waits = OpenWaits(2)
    with waits.one("alice"), waits.one("alice"):
        with pytest.raises(TooManyWaits), waits.one("alice"):
            pass
        with waits.one("bob"):
            assert waits.total == 3
        assert waits.total == 2
    with pytest.raises(RuntimeError), waits.one("alice"):
        raise RuntimeError
    assert waits.total == 0
    with waits.one("alice"), waits.one("alice"):
        pass


@pytest.mark.requirement("mcp:limits:waits")
@pytest.mark.parametrize("kind", ["current", "legacy"])
async def test_sixteen_waits_and_nothing_is_begun_for_the_seventeenth(dsn: str, kind: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob", "carol")
    async with serving(dsn) as served:
        wire = Wire(served.address)
        async with (
            calling(wire, tokens["alice"], kind) as alice,
            calling(wire, tokens["bob"], kind) as bob,
            connect(dsn) as database,
        ):

            async def told(caller: Any, tool: str, **arguments: Any) -> dict[str, Any]:
                result = (await caller.tool(tool, arguments))["result"]
                assert not result.get("isError"), result
                return result["structuredContent"]

            await told(bob, "list_agents")
            meeting = (await told(alice, "create_meeting", title="T", agents=["bob"]))["meeting"]
            waiting = [
                asyncio.create_task(told(alice, "check_inbox", from_agent="bob", wait_seconds=40)) for _ in range(20)
            ]
            done: set[asyncio.Task[dict[str, Any]]] = set()
            with anyio.fail_after(30):
                while len(done) < 4:
                    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.sleep(0.05)
            assert {task.result()["status"] for task in done} == {"not_now"}
            assert len(done) == 4, "sixteen are open"

            recorded = await database.fetchval("SELECT count(*) FROM messages")
            version = await database.fetchval("SELECT (phase, last_seq)::text FROM meetings")
            for tool, arguments in (
                ("send_and_wait", {"to": "bob", "message": "?"}),
                ("attend_meeting", {"meeting": meeting}),
                ("start_meeting", {"meeting": meeting, "message": "x", "force": True}),
                ("speak", {"meeting": meeting, "turn": 1, "message": "x"}),
                ("check_inbox", {"from_agent": "bob"}),
            ):
                refused = await told(alice, tool, **arguments, wait_seconds=20)
                assert refused["status"] == "not_now"
                assert "16 waits of yours are open" in refused["now"]
                assert "wait_seconds=0" in refused["now"]
            assert await database.fetchval("SELECT count(*) FROM messages") == recorded
            assert await database.fetchval("SELECT (phase, last_seq)::text FROM meetings") == version

            # What does not wait is done, and others may wait.
            assert (await told(alice, "send_and_wait", to="bob", message="?", wait_seconds=0))["status"] == "waiting"
            async with calling(wire, tokens["carol"], kind) as carol:
                assert (await told(carol, "check_inbox", wait_seconds=0.2))["status"] == "waiting"
            await told(bob, "send", to="alice", message="Here.")
            with anyio.fail_after(20):
                ended = [await task for task in waiting if task not in done]
            assert {result["status"] for result in ended} == {"items"}
            assert (await told(alice, "attend_meeting", meeting=meeting, wait_seconds=0.2))["status"] == "waiting"


@pytest.mark.requirement("mcp:limits:waits")
@pytest.mark.parametrize("kind", ["current", "legacy"])
async def test_a_wait_whose_client_has_gone_counts_no_more(dsn: str, kind: str) -> None:
    token = (await tokens_of(dsn, "alice"))["alice"]
    async with serving(dsn, AGENT_MESSAGING_MAX_OPEN_WAITS="1") as served, connect(dsn) as database:
        wire = Wire(served.address)

        async def waits() -> int:
            return await database.fetchval("SELECT count(*) FROM attachments WHERE kind = 'wait'")

        async def looked() -> str:
            return (await wire.tool(token, "check_inbox", {"wait_seconds": 0.1}))["structuredContent"]["status"]

        for _ in range(3):
            params = {"name": "check_inbox", "arguments": {"wait_seconds": 50}}
            if kind == "current":
                headers, body = modern("tools/call", params)
            else:
                headers, body = legacy("tools/call", params)
                headers.append(("Mcp-Session-Id", await wire.session(token)))
            framing = [("Host", f"127.0.0.1:{wire.port}"), ("Content-Length", str(len(body))), bearer(token)]
            _, writer = await asyncio.open_connection("127.0.0.1", wire.port)
            writer.write(head_of("POST", "/mcp", [*framing, *headers]) + body)
            with anyio.fail_after(20):
                while not await waits():  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.02)
                assert await looked() == "not_now"
                writer.close()
                while await looked() == "not_now":  # noqa: ASYNC110 - it is the next call that shows it
                    await asyncio.sleep(0.05)
                while await waits():  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.02)


def framed(path: str, port: int, headers: Headers, body: bytes, *, chunked: bool, too_large: bool = False) -> bytes:
    """A request with this body. One that is too large ends where it must be refused: whoever goes on writing to a
    server that has answered and gone may not get to read the answer.
    """
    framing: Headers = [
        ("Host", f"127.0.0.1:{port}"),
        ("Connection", "close"),
        ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body))),
    ]
    head = head_of("POST", path, [*framing, *headers])
    if not chunked:
        return head if too_large else head + body
    pieces = [body[at : at + MIB] for at in range(0, len(body), MIB)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + chunks + (b"" if too_large else b"0\r\n\r\n")


@pytest.mark.requirement("mcp:limits:body")
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_a_body_of_four_mebibytes_is_taken_and_one_byte_more_is_not(dsn: str, chunked: bool) -> None:
    token = (await tokens_of(dsn, "alice"))["alice"]
    async with serving(dsn) as served:
        wire = Wire(served.address)
        session = await wire.session(token)
        async with wire.sse(token) as sse:
            call = {"name": "list_agents", "arguments": {}}
            headers, body = modern("tools/call", call)
            legacy_headers, hello = initialize()
            in_session = [*legacy_headers, ("Mcp-Session-Id", session)]
            ping = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
            for name, path, given, text, status in (
                ("current", "/mcp", headers, body, 200),
                ("initialize", "/mcp", legacy_headers, hello, 200),
                ("in a session", "/mcp", in_session, ping, 200),
                ("over SSE", sse.path, legacy_headers, ping, 202),
                ("no session", "/messages/", legacy_headers, ping, 400),
                ("no such page", "/nothing", legacy_headers, ping, 404),
                ("no place to post", "/healthz", legacy_headers, ping, 405),
                ("no token", "/mcp", None, body, 401),
            ):
                sent = legacy_headers if given is None else [bearer(token), *given]
                for size, expected in ((LIMIT - 1, status), (LIMIT, status), (LIMIT + 1, 413)):
                    request = framed(path, wire.port, sent, text.ljust(size), chunked=chunked, too_large=size > LIMIT)
                    answer = await wire.raw(request)
                    assert answer.status == expected, (name, size, answer)
            for length in ("4194305", "99999999999999999999"):
                # Refused by what it announces, before anything of it has come.
                head = head_of(
                    "POST", "/mcp", [("Host", f"127.0.0.1:{wire.port}"), ("Content-Length", length), bearer(token)]
                )
                assert (await wire.raw(head)).status == 413


@pytest.mark.requirement("mcp:limits:body")
async def test_the_size_of_a_body_can_be_set(dsn: str) -> None:
    token = (await tokens_of(dsn, "alice"))["alice"]
    async with serving(dsn, AGENT_MESSAGING_MAX_BODY_BYTES="2048") as served:
        wire = Wire(served.address)
        headers, body = modern("tools/call", {"name": "list_agents", "arguments": {}})
        for size, status in ((2048, 200), (2049, 413)):
            given = [bearer(token), *headers]
            request = framed("/mcp", wire.port, given, body.ljust(size), chunked=False, too_large=size > 2048)
            assert (await wire.raw(request)).status == status
