"""Storms: everybody does everything to everybody at once, and no deadlock or other error of the driver surfaces."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import AgentMessaging, AgentMessagingError, DatabaseUnavailableError
from tests.promises import tries
from tests.protocol import world
from tests.protocol.gathering import attends
from tests.protocol.world import fetch

SDK = AgentMessaging[Any]
Call = Callable[[SDK, random.Random], Awaitable[Any]]

AGENTS = ("alice", "bob", "carol")


def seed() -> int:
    number = int(os.environ.get("AGENT_MESSAGING_SEED") or random.randrange(2**32))
    print(f"replay: AGENT_MESSAGING_SEED={number}")
    return number


def two(dice: random.Random) -> tuple[str, str]:
    one, other = dice.sample(AGENTS, 2)
    return one, other


async def send(sdk: SDK, dice: random.Random) -> None:
    await sdk.async_conversation.send(*two(dice), "so", idempotency_key=dice.choice((None, f"k{dice.randrange(50)}")))


async def send_to_all(sdk: SDK, dice: random.Random) -> None:
    sender, *others = dice.sample(AGENTS, 3)
    await sdk.one_way.send(sender, others, "all")


async def ask(sdk: SDK, dice: random.Random) -> None:
    await sdk.sync_conversation.send_and_wait(*two(dice), "?", 0.05, reply_by=dice.choice((0.02, 5.0)))


async def reply(sdk: SDK, dice: random.Random) -> None:
    await sdk.sync_conversation.reply(*two(dice), "!", decline=dice.random() < 0.2)


async def read(sdk: SDK, dice: random.Random) -> None:
    await sdk.async_conversation.get_unread_messages(dice.choice(AGENTS), limit=dice.choice((None, 3)))


async def acknowledge(sdk: SDK, dice: random.Random) -> None:
    agent = dice.choice(AGENTS)
    messages = await sdk.async_conversation.get_unread(agent, limit=20)
    dice.shuffle(messages)
    await sdk.async_conversation.mark_read(agent, [message.id for message in messages])


async def end(sdk: SDK, dice: random.Random) -> None:
    await sdk.sync_conversation.end_conversation(*two(dice))


CONVERSATIONS: list[Call] = [send, send, send_to_all, ask, ask, reply, reply, read, acknowledge, end]


async def started(sdk: SDK, **limits: Any) -> UUID:
    meeting = await sdk.meeting.create_meeting(AGENTS[0], list(AGENTS), **limits)
    await attends(sdk, meeting, *AGENTS[1:])
    await sdk.meeting.start_meeting(AGENTS[0], meeting, "welcome")
    return meeting


def in_meeting(meeting: UUID) -> list[Call]:
    async def leave(sdk: SDK, dice: random.Random) -> None:
        await sdk.meeting.leave_meeting(dice.choice(AGENTS[1:]), meeting)

    async def attend(sdk: SDK, dice: random.Random) -> None:
        await sdk.meeting.attend_meeting(dice.choice(AGENTS), meeting, timeout=0.02)

    async def speak(sdk: SDK, dice: random.Random) -> None:
        await sdk.meeting.speak(dice.choice(AGENTS), meeting, dice.choice(("so", None)), timeout=0.02)

    async def hand_over(sdk: SDK, dice: random.Random) -> None:
        host, other = two(dice)
        await sdk.meeting.hand_over_host(host, meeting, other)

    return [leave, attend, attend, speak, speak, speak, hand_over]


async def storm(processes: list[SDK], calls: list[Call], number: int, times: int) -> tuple[Counter[str], list[str]]:
    """Eight in each process do `times` things each; gives what came of it, and what must not have surfaced."""
    outcomes: Counter[str] = Counter()
    surfaced: list[str] = []

    async def one(sdk: SDK, dice: random.Random) -> None:
        for _ in range(times):
            call = dice.choice(calls)
            try:
                await call(sdk, dice)
                outcomes[f"{call.__name__} done"] += 1
            except DatabaseUnavailableError as error:
                surfaced.append(repr(error))
            except AgentMessagingError as error:
                outcomes[f"{call.__name__} {type(error).__name__}"] += 1
            except Exception as error:
                surfaced.append(repr(error))

    async with asyncio.timeout(600), asyncio.TaskGroup() as group:
        for place, sdk in enumerate(processes):
            for who in range(8):
                group.create_task(one(sdk, random.Random(f"{number} {place} {who}")))
    return outcomes, surfaced


def deadlocks(processes: list[SDK]) -> int:
    """How often something was repeated because of one."""
    return sum(sdk._engine.database.errors.deadlock for sdk in processes)


def nothing_surfaced(number: int, surfaced: list[str], caplog: pytest.LogCaptureFixture, repeated: int) -> None:
    """Neither as an error of a call, nor in what goes on in the background."""
    failed = [record.getMessage() for record in caplog.records if record.exc_info and "failed" in record.getMessage()]
    failed = [message for message in failed if "the handler of" not in message]
    assert (surfaced, failed) == ([], []), f"seed {number}, {repeated} repeated"


@pytest.mark.timeout(1200)
@pytest.mark.requirement("storm:no-deadlock")
async def test_in_a_storm_of_messages_both_ways_no_deadlock_surfaces(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    number, times = seed(), tries(15, 400)
    async with (
        world.opened(dsn, *AGENTS, sweep_interval=0.05) as here,
        world.opened(dsn, sweep_interval=0.05) as there,
    ):
        for agent in AGENTS:
            await here.async_conversation.get_unread_messages(agent)
        handler_of_carol(there)
        outcomes, surfaced = await storm([here, there], CONVERSATIONS, number, times)
        repeated = deadlocks([here, there])
    assert all(outcomes[f"{call.__name__} done"] for call in CONVERSATIONS), f"seed {number}: {outcomes}"
    sql = "SELECT pair_id FROM messages WHERE pair_id IS NOT NULL GROUP BY 1 HAVING max(seq) <> count(*)"
    assert await fetch(dsn, sql) == [], "numbers are missing, or there twice"
    sql = """SELECT p.id FROM pairs p WHERE p.open_low + p.open_high <>
             (SELECT count(*) FROM questions q WHERE q.pair_id = p.id AND q.state = 'open')"""
    assert await fetch(dsn, sql) == [], "open questions are counted wrong"
    nothing_surfaced(number, surfaced, caplog, repeated)


def handler_of_carol(sdk: SDK) -> None:
    @sdk.register_handler("carol")
    async def handle(message: Any, _: Any) -> Any:
        if message == "so":
            raise ValueError(message)
        return message


@pytest.mark.timeout(1200)
@pytest.mark.requirement("storm:no-deadlock", "meeting:transitions")
async def test_in_a_storm_of_leaving_speaking_and_running_out_of_time_no_deadlock_surfaces(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    number, times = seed(), tries(15, 400)
    async with (
        world.opened(dsn, *AGENTS, sweep_interval=0.05) as here,
        world.opened(dsn, sweep_interval=0.05) as there,
    ):
        limits: dict[str, Any] = {"offer_timeout": 0.03, "turn_duration": 0.03, "max_turns": 100_000}
        meetings = [await started(here, **limits) for _ in range(2)]
        calls = [call for meeting in meetings for call in in_meeting(meeting)]
        outcomes, surfaced = await storm([here, there], calls, number, times)
        repeated = deadlocks([here, there])
    assert all(any(outcome.startswith(f"{call.__name__} ") for outcome in outcomes) for call in calls), outcomes
    assert outcomes["leave done"], f"seed {number}: {outcomes}"
    sql = "SELECT meeting_id FROM meeting_events GROUP BY 1 HAVING max(seq) <> count(*)"
    assert await fetch(dsn, sql) == []
    nothing_surfaced(number, surfaced, caplog, repeated)
