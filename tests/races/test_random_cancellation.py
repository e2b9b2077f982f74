"""Cancellation at any moment takes nothing with it: every operation that reads or takes, cancelled at random."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import Any

import pytest

from tests.promises import THOROUGH, kept, tries
from tests.protocol import world
from tests.protocol.world import SWEEP_OFF
from tests.races.operations import ALL, Operation, attempt
from tests.races.stops import Stops, stopping

LANES = 4
LONGEST = 250  # turns of the event loop: about twice what the longest of the calls takes


class Lane:
    """One operation after the other, each with agents of its own."""

    def __init__(self, here: Any, there: Any, number: int, seed: int, stops: Stops) -> None:
        self.operations: list[Operation] = [
            kind(here, there, number * len(ALL) + place) for place, kind in enumerate(ALL)
        ]
        self.dice = random.Random(f"{seed} {number}")
        self.number = number
        self.tried: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self._stops = stops

    async def try_one(self) -> None:
        """Make a call, and cancel it some time."""
        operation = self.dice.choice(self.operations)
        name, turns = type(operation).__name__, self.dice.randrange(LONGEST)

        async def cancel(call: asyncio.Task[Any]) -> None:
            for _ in range(turns):
                if call.done():
                    return
                await asyncio.sleep(0)
            call.cancel()

        self.tried[name] += 1
        try:
            self.cancelled[name] += await attempt(operation, cancel, f"caller {self.number}", self._stops)
        except Exception as error:
            raise AssertionError(f"{name}, cancelled after {turns} turns of the event loop: {error!r}") from error


@pytest.mark.timeout(3600)
@pytest.mark.requirement("inbox:cancelled-read", "question:cancelled", "async:cancelled-wait", "inbox:cancelled-wait")
async def test_a_call_that_is_cancelled_at_random_loses_nothing_and_leaves_nothing_stuck(dsn: str) -> None:
    seed = int(os.environ.get("AGENT_MESSAGING_SEED") or random.randrange(2**32))
    print(f"replay: AGENT_MESSAGING_SEED={seed}")
    left = tries(300, 10_000)
    names = [f"{name}-{number}" for name in ("alice", "bob") for number in range(LANES * len(ALL))]
    with stopping() as stops:
        async with (
            world.opened(dsn, *names, sweep_interval=SWEEP_OFF, max_unread=10_000_000) as there,
            world.opened(dsn, sweep_interval=0.1, auto_invoke_handlers=False) as here,
        ):
            lanes = [Lane(here, there, number, seed, stops) for number in range(LANES)]
            for lane in lanes:
                for operation in lane.operations:
                    await operation.begin()

            async def run(lane: Lane) -> None:
                nonlocal left
                while left > 0:
                    left -= 1
                    await lane.try_one()

            async with asyncio.TaskGroup() as group:
                for lane in lanes:
                    group.create_task(run(lane))
    tried, cancelled = Counter[str](), Counter[str]()
    for lane in lanes:
        tried += lane.tried
        cancelled += lane.cancelled
    # In a few tries a kind of call may by chance have ended before each of its cancellations.
    never = [kind.__name__ for kind in ALL if not cancelled[kind.__name__]] if THOROUGH else []
    assert cancelled.total() > tried.total() / 10, f"seed {seed}: {cancelled} of {tried}"
    assert not never, f"seed {seed}: never cancelled: {never}"
    what = "calls that read or take, cancelled at random"
    kept("R3", what, tried=tried.total(), cancelled=cancelled.total(), seed=seed)
