"""One round: waits are blocked, a fault is made, what they wait for happens meanwhile, and each is timed to its end."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent_messaging import AgentMessagingError
from chaos.recovery_faults import SPREAD, Fault, Strike
from chaos.recovery_group import PEER, Group, Kind, Waiter
from chaos.recovery_lines import Broken

LONGEST = 30.0
"""Seconds after which a wait that has not ended counts as one that never does."""
_BLOCKED_WITHIN = 60.0
_AGAIN = 0.05


class EndedEarly(Exception):
    """A wait ended before anything happened that it waited for."""


@dataclass
class Timed:
    """One wait: how many calls it took, and how long after the fault it ended; `inf` if it did not."""

    waiter: Waiter
    seconds: float = math.inf
    calls: int = 0
    ended_at: float = math.inf
    held: asyncio.Event = field(default_factory=asyncio.Event)


async def one_round(
    group: Group, fault: Fault, waiters: Sequence[Waiter], rng: random.Random, name: str
) -> tuple[Strike, list[Timed]]:
    """Block `waiters`, make the fault, and time them."""
    strike = Strike(fault, group, waiters)
    for waiter in waiters:
        if waiter.kind is Kind.TURN:
            waiter.meeting = await group.sdk.meeting.create_meeting(PEER, [waiter.agent], 600)
            waiter.handle = (await group.sdk.meeting.get_meeting_status(waiter.meeting)).handle
    timed = [Timed(waiter) for waiter in waiters]
    waiting = [asyncio.create_task(_wait(one, f"{name} {one.waiter.agent}")) for one in timed]
    events: list[asyncio.Task[None]] = []
    try:
        await _all_held(timed, waiting)
        await group.all_listening()
        delays = [rng.choice((0.0, rng.uniform(0, SPREAD[fault]))) for _ in timed]
        events = [
            asyncio.create_task(_happen(group, one.waiter, strike, after))
            for one, after in zip(timed, delays, strict=True)
        ]
        await strike.make()
        await asyncio.wait(waiting, timeout=LONGEST)
        await asyncio.gather(*events)
    finally:
        for task in (*waiting, *events):
            task.cancel()
        await asyncio.gather(*waiting, *events, return_exceptions=True)
    for one in timed:
        one.seconds = max(0.0, one.ended_at - strike.at)
    return strike, timed


async def _wait(one: Timed, name: str) -> None:
    """Wait as a client does: whatever ends a call without what was waited for, it calls again."""
    while True:
        one.calls += 1
        try:
            found = await one.waiter.call(name, held=one.held.set)
        except Broken:
            await one.waiter.move_on()
        else:
            if found:
                one.ended_at = time.monotonic()
                return
        if one.calls > 1:  # a client that hammers a server in trouble measures its own impatience
            await asyncio.sleep(_AGAIN)


async def _all_held(timed: Sequence[Timed], waiting: Sequence[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(_BLOCKED_WITHIN):
        for one in timed:
            await one.held.wait()
    if early := [one.waiter.agent for one, task in zip(timed, waiting, strict=True) if task.done()]:
        raise EndedEarly(", ".join(early))


async def _happen(group: Group, waiter: Waiter, strike: Strike, after: float) -> None:
    """What the waiter waits for happens, so long after the fault began, or as soon as the database is back."""
    await strike.began.wait()
    await asyncio.sleep(after)
    async with asyncio.timeout(LONGEST):
        while True:
            try:
                await _once(group, waiter)
                return
            except AgentMessagingError:
                await asyncio.sleep(_AGAIN)


async def _once(group: Group, waiter: Waiter) -> None:
    sdk = group.sdk
    match waiter.kind:
        case Kind.ANSWER:
            await sdk.sync_conversation.reply(PEER, waiter.agent, "It is so.")
        case Kind.MESSAGE:
            await sdk.async_conversation.send(PEER, waiter.agent, "Look.")
        case Kind.TURN:
            assert waiter.meeting is not None
            await sdk.meeting.start_meeting(PEER, waiter.meeting, "Welcome.", waiter.agent)
