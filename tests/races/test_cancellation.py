"""Cancellation at every sync point takes nothing with it, for every operation that reads or takes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent_messaging_db.sync_points import SyncPoint
from tests.promises import kept, tries
from tests.protocol import world
from tests.protocol.world import SWEEP_OFF
from tests.races.operations import ALL, Operation, attempt
from tests.races.stops import Stops, stopping


@asynccontextmanager
async def ready(dsn: str, kind: type[Operation]) -> AsyncGenerator[tuple[Operation, Stops]]:
    """An operation that can be tried, between two processes; only the one that is cancelled sweeps."""
    names = [f"{name}-0" for name in ("alice", "bob")]
    with stopping() as stops:
        async with (
            world.opened(dsn, *names, sweep_interval=SWEEP_OFF) as there,
            world.opened(dsn, sweep_interval=0.1, auto_invoke_handlers=False) as here,
        ):
            operation = kind(here, there, 0)
            await operation.begin()
            yield operation, stops


async def passes(operation: Operation, stops: Stops) -> Counter[SyncPoint]:
    """How often the call passes each point if nobody cancels it."""

    async def nobody(_: asyncio.Task[Any]) -> None:
        return

    before = stops.passed_by("caller")
    assert not await attempt(operation, nobody, "caller", stops)
    return stops.passed_by("caller") - before


@pytest.mark.timeout(1800)
@pytest.mark.requirement("inbox:cancelled-read", "question:cancelled", "async:cancelled-wait", "waiting:cancel")
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
async def test_a_call_that_is_cancelled_at_any_point_loses_nothing_and_leaves_nothing_stuck(
    dsn: str, kind: type[Operation]
) -> None:
    tried: Counter[SyncPoint] = Counter()
    cancelled = 0
    async with ready(dsn, kind) as (operation, stops):
        passed = await passes(operation, stops)
        for _ in range(tries(1, 10)):
            for point, times in passed.items():
                for nth in range(1, times + 1):
                    stop = stops.at(point, actor="caller", nth=nth)

                    async def cancel(call: asyncio.Task[Any], stop: Any = stop) -> None:
                        if await stop.reached_before(call):
                            call.cancel()
                        stop.go()

                    try:
                        cancelled += await attempt(operation, cancel, "caller", stops)
                    except Exception as error:
                        raise AssertionError(f"cancelled at {point.name}, time {nth} of {times}: {error!r}") from error
                    tried[point] += stop.fired
    assert kind.points <= tried.keys(), f"never cancelled at {sorted(kind.points - tried.keys())}"
    kept("R3", f"{kind.__name__}: cancelled at every sync point", tried=tried.total(), cancelled=cancelled)
