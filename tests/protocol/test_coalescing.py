"""Coalesced statements: a lone call goes at once, what piles up goes together, and nobody pays for a neighbour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agent_messaging.coalescing import Coalescer
from agent_messaging_db.errors import Conflict

BOUND = 60.0


class Statement:
    """Doubles numbers, batch by batch; waits at a gate if it is closed, and refuses what it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.bad: dict[int, Exception] = {}

    async def __call__(self, rows: Sequence[int]) -> list[int]:
        self.batches.append(list(rows))
        self.begun.set()
        await self.gate.wait()
        for row in rows:
            if row in self.bad:
                raise self.bad[row]
        return [2 * row for row in rows]

    async def busy(self, coalescer: Coalescer[int, int]) -> asyncio.Task[int]:
        """A call is under way, and stays so until the gate opens."""
        self.gate.clear()
        self.begun.clear()
        task = asyncio.create_task(coalescer(0))
        await self.begun.wait()
        return task


@pytest.mark.requirement("coalescing:lone")
async def test_a_lone_call_goes_out_at_once() -> None:
    statement = Statement()
    coalescer = Coalescer(statement)

    assert [await coalescer(1), await coalescer(2)] == [2, 4]
    assert statement.batches == [[1], [2]]


@pytest.mark.requirement("coalescing:together")
async def test_what_arrives_while_a_statement_is_under_way_goes_out_together_in_order() -> None:
    statement = Statement()
    coalescer = Coalescer(statement, limit=400)
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        await statement.busy(coalescer)
        calls = [group.create_task(coalescer(number)) for number in range(1, 1_001)]
        await asyncio.sleep(0)
        statement.gate.set()

    assert [call.result() for call in calls] == list(range(2, 2_002, 2))
    assert [len(batch) for batch in statement.batches] == [1, 400, 400, 200]
    assert [row for batch in statement.batches for row in batch] == list(range(1_001))


@pytest.mark.requirement("coalescing:apart")
async def test_rows_that_must_not_meet_go_out_one_after_the_other() -> None:
    statement = Statement()
    coalescer = Coalescer(statement, apart=lambda row: row % 10 or None)
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        await statement.busy(coalescer)
        for number in (1, 2, 11, 10, 20, 3, 21):
            group.create_task(coalescer(number))
        await asyncio.sleep(0)
        statement.gate.set()

    assert statement.batches == [[0], [1, 2], [11, 10, 20, 3], [21]]


@pytest.mark.requirement("coalescing:conflict")
async def test_a_row_that_conflicts_harms_only_itself_and_any_other_error_is_everybodys() -> None:
    statement = Statement()
    coalescer = Coalescer(statement)
    statement.bad = {2: Conflict("taken")}
    for failure, expected in [(Conflict("taken"), [2, "taken", 6]), (ConnectionError("lost"), ["lost"] * 3)]:
        statement.bad[2] = failure
        async with asyncio.timeout(BOUND):
            first = await statement.busy(coalescer)
            calls = [asyncio.create_task(coalescer(number)) for number in (1, 2, 3)]
            await asyncio.sleep(0)
            statement.gate.set()
            results = await asyncio.gather(first, *calls, return_exceptions=True)
        assert [str(r) if isinstance(r, Exception) else r for r in results] == [0, *expected]
    assert await coalescer(4) == 8


@pytest.mark.requirement("coalescing:cancel")
async def test_a_call_that_is_cancelled_while_it_queues_is_taken_back() -> None:
    statement = Statement()
    coalescer = Coalescer(statement)
    async with asyncio.timeout(BOUND):
        first = await statement.busy(coalescer)
        queued = asyncio.create_task(coalescer(1))
        await asyncio.sleep(0)
        queued.cancel()
        await asyncio.wait([queued])
        statement.gate.set()
        await first
        await coalescer.settled()

    assert queued.cancelled()
    assert statement.batches == [[0]]


@pytest.mark.requirement("coalescing:cancel")
async def test_a_call_that_is_cancelled_under_way_is_done_all_the_same_and_undone_if_there_is_a_way() -> None:
    statement = Statement()
    undone: list[tuple[int, int]] = []
    coalescer = Coalescer(statement, undo=lambda row, result: undone.append((row, result)))
    async with asyncio.timeout(BOUND):
        call = await statement.busy(coalescer)
        call.cancel()
        await asyncio.wait([call])
        assert undone == []
        statement.gate.set()
        await coalescer.settled()
        await asyncio.sleep(0)

    assert call.cancelled()
    assert undone == [(0, 0)]


@pytest.mark.requirement("coalescing:cancel")
async def test_a_call_that_is_cancelled_just_as_its_result_comes_is_undone_too() -> None:
    undone: list[int] = []
    statement = Statement()
    coalescer = Coalescer(statement, undo=lambda row, _: undone.append(row))
    kept: list[int] = []
    for steps in range(12):
        call = asyncio.create_task(coalescer(steps))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        if not call.cancelled():
            kept.append(steps)
    await coalescer.settled()
    await asyncio.sleep(0)

    assert kept
    assert undone
    assert sorted(kept + undone) == [row for batch in statement.batches for row in batch]


@pytest.mark.requirement("coalescing:soon")
async def test_what_is_wanted_soon_is_done_without_anybody_waiting_and_its_failure_is_nobodys() -> None:
    statement = Statement()
    statement.bad = {1: ConnectionError("lost")}
    coalescer = Coalescer(statement)
    for number in (1, 2):
        coalescer.soon(number)
        await coalescer.settled()

    assert statement.batches == [[1], [2]]
    assert await coalescer(3) == 6
