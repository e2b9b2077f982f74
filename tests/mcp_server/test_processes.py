"""Several server processes on one database are one service: whoever calls one is woken by another, and a meeting
outlasts the restart of any.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from mcp_types import ResourceUpdatedNotification

from tests.mcp_server.hosts import NETWORK, Host, network_host
from tests.mcp_server.members import Member
from tests.mcp_server.readers import Call
from tests.mcp_server.scenario import following
from tests.mcp_server.serving import DRAIN_SECONDS, Served, serving, tokens_of

# The SDK warns of what the current revision no longer has; clients of the 2025 era have nothing else.
pytestmark = pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")

WAIT = 45
PROMPTLY = 20
"""Seconds, where it takes milliseconds, and without a wake-up for ever."""
NO_SWEEP = {"SWEEP_INTERVAL": "3600"}
TURNS = 16
STOPS_AT = 7


@pytest.mark.requirement("mcp:processes:restart")
@pytest.mark.requirement("mcp:processes:meeting")
@pytest.mark.parametrize("moment", ["about to get the turn", "holding the turn"])
async def test_a_meeting_outlasts_the_restart_of_a_process_and_nobody_loses_a_word(dsn: str, moment: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob", "carol", "dave")
    wires = NETWORK if moment == "about to get the turn" else NETWORK[::-1]
    async with serving(dsn) as one, serving(dsn) as two, asyncio.timeout(280):
        restarting: list[asyncio.Task[float]] = []
        alice, bob, carol, dave = members = [
            Member(agent, one if agent in ("alice", "bob") else two, tokens[agent], *wire)
            for agent, wire in zip(tokens, wires, strict=True)
        ]

        async def restart() -> float:
            took = await one.stop()
            await one.start()
            return took

        async def while_alice_is_next(_: Member, _host: Host, call: Call) -> Call:
            if call.tool != "speak" or call.arguments["turn"] < STOPS_AT or restarting:
                return call
            restarting.append(asyncio.create_task(restart()))
            return Call("speak", call.arguments | {"next_speaker": "alice"})

        async def while_alice_speaks(_: Member, host: Host, call: Call) -> Call:
            if call.tool == "speak" and call.arguments["turn"] >= STOPS_AT and not restarting:
                other_work = asyncio.create_task(host.status("check_inbox", wait_seconds=50))
                await held(one, 2)  # and Bob's
                restarting.append(asyncio.create_task(restart()))
                alice.results.append(await other_work)
            return call

        if moment == "about to get the turn":
            carol.before = while_alice_is_next
        else:
            alice.before = while_alice_speaks
        await meet(*members)

        [restarted] = restarting
        took = await restarted
        print(f"{moment}: drained in {took:.2f} s, {TURNS} turns")
        assert took < DRAIN_SECONDS
        for member in (bob, alice) if moment == "holding the turn" else (bob,):
            assert member.connections > 1
            told = {result["status"] for result in member.interrupted}
            # Bob's next turn may come before the drain ends his wait: then that is his answer, and he calls again.
            assert told == {"waiting"} if moment == "holding the turn" else told <= {"waiting"}
        meeting = bob.results[0]["meeting"]
        assert {result["next"] for result in bob.interrupted} <= {f'attend_meeting(meeting="{meeting}")'}
        assert (carol.connections, dave.connections, carol.interrupted, dave.interrupted) == (1, 1, [], [])
        await everything_said_is_known_once(members)


async def held(served: Served, waits: int) -> None:
    """So many waits are held by this process."""
    async with asyncio.timeout(WAIT), httpx2.AsyncClient(timeout=90) as client:
        page = ""
        while f"agent_messaging_held_waits {waits:.1f}" not in page:
            await asyncio.sleep(0.05)
            page = (await client.get(f"{served.address}/metrics")).text


async def meet(alice: Member, *others: Member) -> None:
    """A meeting of these, to its end."""
    for other in others:
        async with connection(other) as host:
            await host.call("list_agents")
    async with asyncio.TaskGroup() as playing:
        async with connection(alice) as chair:
            invited = [other.agent for other in others]
            created = await chair.status("create_meeting", title="T", agents=invited, max_turns=TURNS, turn_seconds=600)
            meeting = created["meeting"]
            for other in others:
                playing.create_task(other.plays(Call("attend_meeting", {"meeting": meeting})))
            while (await chair.status("attend_meeting", meeting=meeting, wait_seconds=0.2))["status"] != "ready":
                pass
        alice.said[1] = "alice opens"
        await alice.plays(Call("start_meeting", {"meeting": meeting, "message": alice.said[1]}))


async def everything_said_is_known_once(members: list[Member]) -> None:
    said = {turn: (member.agent, text) for member in members for turn, text in member.said.items()}
    assert sorted(said) == list(range(1, TURNS + 1))
    for member in members:
        ended = member.results[-1]
        assert (ended["status"], ended["ended"]) == ("meeting_ended", "max_turns")
        others = {(turn, text) for turn, (agent, text) in said.items() if agent != member.agent}
        assert member.heard == others, "told of every word of the others"
        async with connection(member) as host:
            read: list[tuple[int, tuple[str, str]]] = []
            call: Call | None = Call("get_meeting", {"meeting": ended["meeting"], "after": "0"})
            while call is not None:
                page = await host.call(call.tool, **call.arguments)
                structure = await host.status(call.tool, **call.arguments)
                read += [(item["turn"], (item["from"], item["text"])) for item in structure["items"] if "turn" in item]
                call = page.call("get_meeting") if page.names_call("get_meeting") else None
        assert read == sorted(said.items()), "every word once, in order"


def connection(member: Member) -> Any:
    return network_host(member.served.address, member.token, member.agent, transport=member.transport, era=member.era)


@pytest.mark.requirement("mcp:processes:woken")
async def test_whoever_waits_at_one_process_is_woken_by_a_send_at_another(dsn: str) -> None:
    waiters = [f"{transport}-{era}" for transport, era in NETWORK]
    tokens = await tokens_of(dsn, "sender", *waiters)
    async with serving(dsn, **NO_SWEEP) as one, serving(dsn, **NO_SWEEP) as two, AsyncExitStack() as stack:
        sender = await stack.enter_async_context(
            network_host(two.address, tokens["sender"], "sender", transport="http")
        )
        for waiter, (transport, era) in zip(waiters, NETWORK, strict=True):
            host = await stack.enter_async_context(
                network_host(one.address, tokens[waiter], waiter, transport=transport, era=era)
            )
            await host.call("list_agents")
            for number in range(3):
                waiting = asyncio.create_task(host.status("check_inbox", wait_seconds=50))
                await asyncio.sleep(0.2)  # most likely held by then; it is right either way
                began = time.perf_counter()
                await sender.call("send", to=waiter, message=str(number))
                async with asyncio.timeout(PROMPTLY):
                    came = await waiting
                print(f"{waiter}: woken {1000 * (time.perf_counter() - began):.0f} ms after the send was called")
                assert [item["text"] for item in came["items"]] == [str(number)]
                await host.call("check_inbox", after=came["cursor"])

            asking = asyncio.create_task(sender.status("send_and_wait", to=waiter, message="?", wait_seconds=50))
            asked = await host.call("check_inbox", wait_seconds=50)
            await host.call("reply", **asked.call("reply").filled_in(message="!"))
            async with asyncio.timeout(PROMPTLY):
                assert (await asking)["answer"]["text"] == "!"


@pytest.mark.requirement("mcp:processes:updates")
async def test_a_change_at_one_process_is_told_to_those_who_follow_it_at_another(dsn: str) -> None:
    followers = [f"{transport}-{era}" for transport, era in NETWORK]
    tokens = await tokens_of(dsn, "alice", *followers)
    async with (
        serving(dsn, **NO_SWEEP) as one,
        serving(dsn, **NO_SWEEP) as two,
        network_host(one.address, tokens["alice"], "alice", transport="http") as alice,
    ):
        await alice.call("list_agents")
        for follower, (transport, era) in zip(followers, NETWORK, strict=True):
            told = asyncio.Queue[str]()

            async def message(received: Any, told: asyncio.Queue[str] = told) -> None:
                if isinstance(received, ResourceUpdatedNotification):
                    told.put_nowait(str(received.params.uri))

            async with network_host(
                two.address, tokens[follower], follower, transport=transport, era=era, message_handler=message
            ) as host:
                await host.call("list_agents")
                meeting = (await alice.status("create_meeting", title="T", agents=follower))["meeting"]
                pages = ("messaging://inbox", f"messaging://meetings/{meeting}")
                async with following(host, era, pages[0], told), following(host, era, pages[1], told):
                    await alice.call("send", to=follower, message="x")
                    await is_told(told, pages[0])
                    await alice.status("attend_meeting", meeting=meeting, wait_seconds=0)
                    await is_told(told, pages[1])


async def is_told(told: asyncio.Queue[str], uri: str) -> None:
    async with asyncio.timeout(PROMPTLY):
        while await told.get() != uri:
            pass
