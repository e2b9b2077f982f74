"""P8: how soon the next speaker knows that it is its turn."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from agent_messaging import AgentMessaging
from benchmarks.floor import BODY
from benchmarks.floor_waking import PingPong
from benchmarks.ground import Ground, Round, opened
from benchmarks.timing import median_ms

MEMBERS = tuple(f"member{number}" for number in range(10))


@asynccontextmanager
async def meetings(ground: Ground) -> AsyncGenerator[Round]:
    what = "speak called to next unblocked, p50, against a durable insert and a NOTIFY there and back (d)"
    three = ground.figure("P8", f"meeting of 3, {what}", "ms", 2.0)
    ten = ground.figure("P8", f"meeting of 10, {what}", "ms", 2.0)
    ping = PingPong()
    await ping.start(ground.dsn)
    try:
        async with opened(ground.dsn) as sdk:
            await sdk.register_organization("bench", "Bench", exist_ok=True)
            for name in MEMBERS:
                await sdk.register_agent(name, "bench", name)
            turns = ground.scale.calls(60)

            async def once() -> None:
                for figure, size in ((three, 3), (ten, 10)):
                    before = await median_ms(ping.round, turns)
                    ours = await hand_over_ms(sdk, MEMBERS[:size], turns=turns)
                    after = await median_ms(ping.round, turns)
                    figure.add((before + after) / 2, ours)

            yield once
    finally:
        await ping.stop()


async def hand_over_ms(sdk: AgentMessaging[Any], members: tuple[str, ...], *, turns: int) -> float:
    """The median from a call of `speak` to the return of the next speaker's wait."""
    host, *others = members
    id = await sdk.meeting.create_meeting(host, others, max_turns=turns + 1)
    spoke_at: list[float] = []
    durations: list[float] = []

    async def go_on(name: str, signal: Any) -> None:
        while signal.reason == "your_turn":
            if spoke_at:
                durations.append(time.perf_counter() - spoke_at[-1])
            spoke_at.append(time.perf_counter())
            signal = await sdk.meeting.speak(name, id, BODY, timeout=60)

    async def take_part(name: str) -> None:
        await go_on(name, await sdk.meeting.attend_meeting(name, id, timeout=60))

    waiting = [asyncio.create_task(take_part(name)) for name in others]
    for name in others:
        await attends(sdk, id, name)
    await go_on(host, await sdk.meeting.start_meeting(host, id, BODY, wait=True))
    await asyncio.gather(*waiting)
    return statistics.median(durations) * 1000


async def attends(sdk: AgentMessaging[Any], id: UUID, name: str) -> None:
    """Wait until it does."""
    changed = asyncio.Event()
    stop = await sdk.as_agent(name).on_meeting_change(id, changed.set)
    while (await sdk.meeting.get_meeting_status(id)).participant_status[name] != "attending":
        await changed.wait()
        changed.clear()
    stop()
