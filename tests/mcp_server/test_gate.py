"""The gate over HTTP: a few requests of an agent are served at once, the rest queue, and floods are turned away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from agent_messaging_mcp.http import gate
from agent_messaging_mcp.http.gate import MOST_QUEUED, Gate, NoRoom
from agent_messaging_mcp.limits import Door
from agent_messaging_mcp.waits import LEAVE, Waits
from tests.mcp_server.foreign import calling
from tests.mcp_server.serving import serving, tokens_of
from tests.mcp_server.wire import Wire, bearer, head_of, initialize, modern
from tests.protocol.world import eventually

BOUND = 60


def a_gate(at_once: int = 2) -> Gate:
    return Gate(Door(), at_once=at_once, refused=lambda _: None)


class Requests:
    """Requests of agents that stay in their places until they are told to end."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.served: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._one(name))
        await settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settled()

    async def _one(self, name: str) -> None:
        async with self._gate.place(name[0]):
            self.served.append(name)
            await self._ends[name].wait()


async def settled() -> None:
    """Let everything happen that waits for nothing but the event loop."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.requirement("mcp:limits:at-once")
async def test_requests_of_one_agent_are_served_in_turn_and_those_of_others_meanwhile() -> None:
    requests = Requests(a_gate())
    await requests.come("a1", "a2", "a3", "a4", "b1")
    assert requests.served == ["a1", "a2", "b1"]
    await requests.end("a2")
    assert requests.served[3:] == ["a3"]
    await requests.end("b1")
    assert requests.served[4:] == []
    for name in ("a1", "a3", "a4"):
        await requests.end(name)
    assert requests.served[4:] == ["a4"]
    assert not requests._gate._lines, "agents that are gone are remembered"  # pyright: ignore[reportPrivateUsage]


@pytest.mark.requirement("mcp:limits:at-once")
@pytest.mark.parametrize("given_its_place", [False, True])
async def test_a_queued_request_that_is_cancelled_keeps_no_place(given_its_place: bool) -> None:
    narrow = a_gate(at_once=1)
    requests = Requests(narrow)
    async with narrow.place("a") as leave:
        await requests.come("a1", "a2")
        if given_its_place:
            leave()  # and before it has noticed, it is cancelled
        requests.tasks["a1"].cancel()
        await settled()
    await settled()
    assert requests.served == ["a2"]
    await requests.end("a2")
    assert not narrow._lines  # pyright: ignore[reportPrivateUsage]


@pytest.mark.requirement("mcp:limits:at-once")
async def test_one_that_only_waits_lets_the_next_one_in_and_leaves_once() -> None:
    narrow = a_gate(at_once=1)
    async with narrow.place("a") as leave:
        leave()
        leave()
        async with narrow.place("a"):
            requests = Requests(narrow)
            await requests.come("a1")
            assert requests.served == []
        await settled()
        assert requests.served == ["a1"]
        await requests.end("a1")


@pytest.mark.requirement("mcp:limits:at-once")
async def test_a_request_that_takes_long_does_not_keep_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PLACE_SECONDS", 0)
    requests = Requests(a_gate(at_once=1))
    await requests.come("a1", "a2", "a3")

    async def all_served() -> bool:
        return requests.served == ["a1", "a2", "a3"]

    await eventually(all_served)
    for name in requests.served:
        await requests.end(name)
    assert not requests._gate._lines  # pyright: ignore[reportPrivateUsage]


@pytest.mark.requirement("mcp:limits:at-once")
async def test_more_than_may_queue_find_no_room() -> None:
    narrow = a_gate(at_once=1)
    requests = Requests(narrow)
    await requests.come(*(f"a{number}" for number in range(1 + MOST_QUEUED)))
    with pytest.raises(NoRoom):
        async with narrow.place("a"):
            pass
    async with narrow.place("b"):
        pass
    for task in requests.tasks.values():
        task.cancel()
    await asyncio.gather(*requests.tasks.values(), return_exceptions=True)
    async with narrow.place("a"):
        pass


@pytest.mark.requirement("mcp:limits:door")
def test_the_door_closes_to_whoever_goes_on_after_being_refused_and_opens_again() -> None:
    now = 0.0
    door = Door(60, clock=lambda: now)
    for _ in range(60):
        assert door.closed_for("mallory") == 0
        door.refused("mallory")
    assert door.closed_for("mallory") == 1
    assert door.closed_for("mallory") == 1, "looking is not counted"
    assert door.closed_for("alice") == 0
    now = 1.0
    assert door.closed_for("mallory") == 0


async def statuses(wire: Wire, token: str, count: int) -> list[Any]:
    calls = [wire.call(token, "tools/call", {"name": "list_agents", "arguments": {}}) for _ in range(count)]
    return await asyncio.gather(*calls)


@pytest.mark.requirement("mcp:limits:door")
async def test_a_flood_is_turned_away_unread_with_when_to_come_back_and_a_neighbour_is_served(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "mallory")
    async with serving(dsn, AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE="1") as server:
        wire = Wire(server.address)
        mallory = tokens["mallory"]
        for _ in range(40):
            answers: Sequence[Any] = await statuses(wire, mallory, 10)
            if away := [answer for answer in answers if answer.status == 429]:
                break
        else:
            pytest.fail("it may go on for ever")
        assert "after being refused" in away[0].text
        assert int(away[0].headers["retry-after"]) >= 1
        # Nobody has looked at what it carries.
        headers, _ = modern("tools/call", {"name": "list_agents", "arguments": {}})
        async with asyncio.timeout(BOUND):
            while (await wire.request("POST", "/mcp", [bearer(mallory), *headers], b"{")).status != 429:
                await statuses(wire, mallory, 10)
        assert (await wire.tool(tokens["alice"], "list_agents", {}))["structuredContent"]["status"] == "agents"


@pytest.mark.requirement("mcp:limits:at-once")
@pytest.mark.parametrize("kind", ["current", "legacy", "sse"])
async def test_waits_leave_their_places_to_the_calls_behind_them(dsn: str, kind: str) -> None:
    tokens = await tokens_of(dsn, "alice")
    async with serving(dsn, AGENT_MESSAGING_MAX_REQUESTS_AT_ONCE="1") as server, AsyncExitStack() as stack:
        wire = Wire(server.address)
        waiting = [await stack.enter_async_context(calling(wire, tokens["alice"], kind)) for _ in range(3)]
        tasks = [asyncio.create_task(one.tool("check_inbox", {"wait_seconds": 45})) for one in waiting]
        held = "agent_messaging_held_waits 3"

        async def all_held() -> bool:
            return held in (await wire.request("GET", "/metrics")).text

        await eventually(all_held)
        other = await stack.enter_async_context(calling(wire, tokens["alice"], kind))
        async with asyncio.timeout(BOUND):
            assert (await other.tool("list_agents", {}))["result"]["structuredContent"]["status"] == "agents"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.requirement("mcp:limits:at-once")
async def test_a_wait_leaves_its_place_before_it_begins_to_wait() -> None:
    left: list[str] = []
    request = SimpleNamespace(scope={LEAVE: lambda: left.append("left")})
    context: Any = SimpleNamespace(request_context=SimpleNamespace(request=request, params=None))

    async def wait(_seconds: float) -> list[str]:
        return list(left)

    waits = Waits(longest=50, progress_interval=10)
    assert await waits.hold(context, "alice", 0, wait) == [], "it does not wait"
    assert await waits.hold(context, "alice", 5, wait) == ["left"]


@pytest.mark.requirement("mcp:limits:streams")
@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_a_stream_too_many_is_refused_and_one_that_ends_makes_room(dsn: str, path: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn, AGENT_MESSAGING_MAX_OPEN_STREAMS="2") as server, AsyncExitStack() as stack:
        wire = Wire(server.address)

        async def opened(agent: str) -> tuple[int, bytes, asyncio.StreamWriter]:
            headers = [("Host", f"127.0.0.1:{wire.port}"), bearer(tokens[agent])]
            if path == "/mcp":
                given = [*initialize()[0], ("Mcp-Session-Id", await wire.session(tokens[agent]))]
                headers += [(name, str(value)) for name, value in given if name != "Content-Type"]
            reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
            stack.callback(writer.close)
            writer.write(head_of("GET", path, headers))
            async with asyncio.timeout(BOUND):
                head = await reader.readuntil(b"\r\n\r\n")
            return int(head.split()[1]), head, writer

        first = await opened("alice")
        assert [first[0], (await opened("alice"))[0]] == [200, 200]
        status, head, _ = await opened("alice")
        assert status == 429
        assert b"retry-after: " in head
        assert (await opened("bob"))[0] == 200
        first[2].close()

        async def has_room() -> bool:
            return (await opened("alice"))[0] == 200

        await eventually(has_room)


@pytest.mark.requirement("mcp:limits:streams")
async def test_a_subscription_too_many_is_an_error_that_says_so(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice")
    async with serving(dsn, AGENT_MESSAGING_MAX_OPEN_STREAMS="1", AGENT_MESSAGING_MAX_REQUESTS_AT_ONCE="1") as server:
        wire = Wire(server.address)
        wanted = {"notifications": {"resourceSubscriptions": ["messaging://inbox"]}}
        listening = asyncio.create_task(wire.call(tokens["alice"], "subscriptions/listen", wanted))

        async def is_open() -> bool:
            return "agent_messaging_subscriptions_open 1" in (await wire.request("GET", "/metrics")).text

        await eventually(is_open)
        async with asyncio.timeout(BOUND):
            refused = (await wire.call(tokens["alice"], "subscriptions/listen", wanted)).message()["error"]
        assert refused["code"] == -32029
        assert refused["message"] == "1 streams of yours are open, and one agent may have no more."
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
