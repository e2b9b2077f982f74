"""What one agent may ask of one process: so many calls and so many open waits; and no other feels it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from agent_messaging_mcp.limits import Open, Rate, TooManyOpen
from tests.conftest import connect
from tests.mcp_server.foreign import Caller, calling
from tests.mcp_server.serving import serving, serving_many, tokens_of
from tests.mcp_server.wire import Wire, bearer, head_of, initialize, legacy, modern


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


@pytest.fixture(scope="module")
def wire(module_dsn: str) -> Iterator[Wire]:
    """A server with the limits that it has by itself."""
    with serving_many(module_dsn) as served:
        yield Wire(served.address)


@pytest.fixture(scope="module")
def single(module_dsn: str) -> Iterator[Wire]:
    """A server that lets each agent have one wait."""
    with serving_many(module_dsn, AGENT_MESSAGING_MAX_OPEN_WAITS="1") as served:
        yield Wire(served.address)


@pytest.fixture(scope="module")
def limited(module_dsn: str) -> Iterator[Wire]:
    """A server that allows two calls a minute, so that no call is allowed again while a test looks."""
    with serving_many(module_dsn, AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE="2") as served:
        yield Wire(served.address)


COUNTED: list[list[tuple[str, dict[str, Any]]]] = [
    [("tools/call", {"name": "list_agents", "arguments": {}}), ("tools/list", {})],
    [("tools/call", {"name": "check_inbox", "arguments": {}}), ("resources/read", {"uri": "messaging://nothing"})],
    [
        ("tools/call", {"name": "get_meeting", "arguments": {"meeting": "m9zz"}}),
        ("prompts/get", {"name": "answer_inbox"}),
    ],
]


@pytest.mark.requirement("mcp:limits:rate")
@pytest.mark.parametrize("kind", ["current", "legacy", "sse"])
async def test_whoever_calls_too_often_is_told_when_to_go_on_and_nobody_else_is(
    module_dsn: str, limited: Wire, kind: str
) -> None:
    agents = [f"{kind}-{number}" for number in range(len(COUNTED))]
    tokens = await tokens_of(module_dsn, *agents, f"{kind}-neighbour")
    async with calling(limited, tokens[f"{kind}-neighbour"], kind) as neighbour:
        for agent, counted in zip(agents, COUNTED, strict=True):
            async with calling(limited, tokens[agent], kind) as caller:
                for method, params in counted:
                    assert "Too many" not in str(await caller.call(method, params))
                await refused_for_now(caller)
            # Whoever connects anew is still told who it is.
            headers, body = initialize()
            assert (await limited.request("POST", "/mcp", [bearer(tokens[agent]), *headers], body)).status == 200
        for _ in range(2):
            told = await neighbour.tool("check_inbox", {})
            assert told["result"]["structuredContent"]["status"] == "empty", "the neighbour feels nothing"
    async with connect(module_dsn) as connection:
        sent = "SELECT count(*) FROM messages m JOIN agents a ON a.id = m.sender_id WHERE a.external_id = ANY ($1)"
        assert await connection.fetchval(sent, agents) == 0


async def refused_for_now(caller: Caller) -> None:
    """Everything that is counted is refused, in words that say when it will not be."""
    refused = (await caller.tool("send", {"to": "bob", "message": "x"}))["result"]
    assert not refused.get("isError")
    told = refused["structuredContent"]
    assert told["status"] == "not_now"
    assert told["now"].startswith("Not sent: you have made 2 calls within a minute")
    assert 1 <= told["seconds_left"] <= 30
    assert refused["content"][0]["text"].startswith(told["now"])
    for method, params in (
        ("resources/read", {"uri": "messaging://inbox"}),
        ("tools/list", {}),
        ("prompts/list", {}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "join_meeting"},
                                 "argument": {"name": "meeting", "value": ""}}),
    ):  # fmt: skip
        error = (await caller.call(method, params))["error"]
        assert error["code"] == -32029
        assert error["message"].startswith("Too many requests.")
        assert 1 <= error["data"]["retryAfterSeconds"] <= 30


@pytest.mark.requirement("mcp:limits:rate")
async def test_whoever_waits_as_long_as_a_refusal_says_goes_on(dsn: str) -> None:
    token = (await tokens_of(dsn, "alice"))["alice"]
    async with serving(dsn, AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE="60") as served:
        wire = Wire(served.address)
        with anyio.fail_after(90):
            while (told := (await wire.tool(token, "check_inbox", {}))["structuredContent"])["status"] != "not_now":
                assert told["status"] == "empty"
            await asyncio.sleep(told["seconds_left"])
            assert (await wire.tool(token, "check_inbox", {}))["structuredContent"]["status"] == "empty"


@pytest.mark.requirement("mcp:limits:waits")
def test_waits_are_counted_for_each_agent_for_as_long_as_they_are_open() -> None:
    waits = Open(2)
    with waits.one("alice"), waits.one("alice"):
        with pytest.raises(TooManyOpen), waits.one("alice"):
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
async def test_sixteen_waits_and_nothing_is_begun_for_the_seventeenth(module_dsn: str, wire: Wire, kind: str) -> None:
    me, peer, third = (f"{kind}-{name}" for name in ("alice", "bob", "carol"))
    tokens = await tokens_of(module_dsn, me, peer, third)
    async with (
        calling(wire, tokens[me], kind) as alice,
        calling(wire, tokens[peer], kind) as bob,
        connect(module_dsn) as database,
    ):

        async def told(caller: Any, tool: str, **arguments: Any) -> dict[str, Any]:
            result = (await caller.tool(tool, arguments))["result"]
            assert not result.get("isError"), result
            return result["structuredContent"]

        await told(bob, "list_agents")
        meeting = (await told(alice, "create_meeting", title="T", agents=[peer]))["meeting"]
        waiting = [asyncio.create_task(told(alice, "check_inbox", from_agent=peer, wait_seconds=50)) for _ in range(20)]
        done: set[asyncio.Task[dict[str, Any]]] = set()
        with anyio.fail_after(90):
            while len(done) < 4:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0.05)
        assert {task.result()["status"] for task in done} == {"not_now"}
        assert len(done) == 4, "sixteen are open"

        state = "SELECT (phase, last_seq)::text FROM meetings ORDER BY number DESC LIMIT 1"
        recorded = await database.fetchval("SELECT count(*) FROM messages")
        version = await database.fetchval(state)
        for tool, arguments in (
            ("send_and_wait", {"to": peer, "message": "?"}),
            ("attend_meeting", {"meeting": meeting}),
            ("start_meeting", {"meeting": meeting, "message": "x", "force": True}),
            ("speak", {"meeting": meeting, "turn": 1, "message": "x"}),
            ("check_inbox", {"from_agent": peer}),
        ):
            refused = await told(alice, tool, **arguments, wait_seconds=50)
            assert refused["status"] == "not_now"
            assert "16 waits of yours are open" in refused["now"]
            assert "wait_seconds=0" in refused["now"]
        assert await database.fetchval("SELECT count(*) FROM messages") == recorded
        assert await database.fetchval(state) == version

        # What does not wait is done, and others may wait.
        assert (await told(alice, "send_and_wait", to=peer, message="?", wait_seconds=0))["status"] == "waiting"
        async with calling(wire, tokens[third], kind) as carol:
            assert (await told(carol, "check_inbox", wait_seconds=0.2))["status"] == "waiting"
        await told(bob, "send", to=me, message="Here.")
        with anyio.fail_after(90):
            ended = [await task for task in waiting if task not in done]
        assert {result["status"] for result in ended} == {"items"}
        assert (await told(alice, "attend_meeting", meeting=meeting, wait_seconds=0.2))["status"] == "waiting"


@pytest.mark.requirement("mcp:limits:waits")
@pytest.mark.parametrize("kind", ["current", "legacy"])
async def test_a_wait_whose_client_has_gone_counts_no_more(module_dsn: str, single: Wire, kind: str) -> None:
    agent, wire = f"{kind}-gone", single
    token = (await tokens_of(module_dsn, agent))[agent]
    async with connect(module_dsn) as database:

        async def waits() -> int:
            sql = "SELECT count(*) FROM attachments t JOIN agents a ON a.id = t.agent_id WHERE kind = 'wait'"
            return await database.fetchval(f"{sql} AND a.external_id = $1", agent)

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
            with anyio.fail_after(90):
                while not await waits():  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.02)
                assert await looked() == "not_now"
                writer.close()
                while await looked() == "not_now":  # noqa: ASYNC110 - it is the next call that shows it
                    await asyncio.sleep(0.05)
                while await waits():  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.02)
