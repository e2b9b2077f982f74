"""How long calls take, and how many there are in a second."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def durations_ms(one: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    """Of so many calls, one after the other."""
    durations: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await one()
        durations.append((time.perf_counter() - began) * 1000)
    return durations


async def median_ms(one: Callable[[], Awaitable[Any]], times: int) -> float:
    """The median duration of a call, one after the other."""
    return statistics.median(await durations_ms(one, times))


async def medians_ms(
    floor: Callable[[], Awaitable[Any]], ours: Callable[[], Awaitable[Any]], times: int, *, slices: int = 5
) -> tuple[float, float]:
    """The two medians, measured in turns: what disturbs the machine for a while disturbs both."""
    floors: list[float] = []
    own: list[float] = []
    each = max(times // slices, 1)
    for _ in range(slices):
        floors += await durations_ms(floor, each)
        own += await durations_ms(ours, each)
    return statistics.median(floors), statistics.median(own)


async def rate(one: Callable[[int], Awaitable[Any]], *, callers: int, each: int) -> float:
    """Calls per second by so many callers at once."""

    async def caller(number: int) -> None:
        for _ in range(each):
            await one(number)

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return callers * each / (time.perf_counter() - began)


def percentile(durations: list[float], p: int) -> float:
    return sorted(durations)[min(len(durations) * p // 100, len(durations) - 1)]
