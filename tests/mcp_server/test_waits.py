"""What a held wait ends with, and what it keeps while it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from agent_messaging_mcp import waits as module
from agent_messaging_mcp.waits import GONE, ClientGone, Gone, Stopping, Waits


def a_context(gone: Gone | None = None, *, progress: Callable[..., Awaitable[None]] | None = None) -> Any:
    request = SimpleNamespace(scope={} if gone is None else {GONE: gone})
    params = None if progress is None else {"_meta": {"progressToken": "p"}}
    return SimpleNamespace(request_context=SimpleNamespace(request=request, params=params), report_progress=progress)


def some_waits(*, progress_interval: float = 10) -> Waits:
    return Waits(longest=50, progress_interval=progress_interval)


class Held:
    """A wait that has begun, and ends when it is told to."""

    def __init__(self, waits: Waits, context: Any) -> None:
        self._begun = asyncio.Event()
        self._outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.call = asyncio.create_task(waits.hold(context, "alice", 45, self._wait))

    async def _wait(self, _seconds: float) -> str:
        self._begun.set()
        return await self._outcome

    async def begun(self) -> None:
        async with asyncio.timeout(5):
            await self._begun.wait()

    async def found(self, outcome: str | Exception) -> str:
        if isinstance(outcome, Exception):
            self._outcome.set_exception(outcome)
        else:
            self._outcome.set_result(outcome)
        return await self.ended()

    async def ended(self) -> str:
        async with asyncio.timeout(5):
            return await self.call


@pytest.fixture
def no_least_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAST_HOLD", 0)


@pytest.mark.requirement("mcp:waiting:window")
async def test_a_wait_gives_what_it_found_or_raises_what_went_wrong() -> None:
    waits = some_waits()
    for outcome in ("found", TimeoutError("of the wait itself")):
        held = Held(waits, a_context(Gone()))
        await held.begun()
        if isinstance(outcome, str):
            assert await held.found(outcome) == outcome
        else:
            with pytest.raises(TimeoutError, match="of the wait itself"):
                await held.found(outcome)
    assert waits.open.total == 0


@pytest.mark.requirement("mcp:transports:gone")
@pytest.mark.usefixtures("no_least_hold")
async def test_a_wait_that_nobody_reads_any_more_ends() -> None:
    gone = Gone()
    held = Held(some_waits(), a_context(gone))
    await held.begun()
    gone.set()
    with pytest.raises(ClientGone):
        await held.ended()
    late = Gone()
    late.set()
    with pytest.raises(ClientGone):
        await Held(some_waits(), a_context(late)).ended()


@pytest.mark.requirement("mcp:transports:gone")
@pytest.mark.parametrize("outcome", ["found", LookupError("the window has ended")])
async def test_nothing_is_shown_to_nobody_although_something_was_found(outcome: str | Exception) -> None:
    gone = Gone()
    held = Held(some_waits(), a_context(gone))
    await held.begun()
    gone.set()
    with pytest.raises(ClientGone):
        await held.found(outcome)


@pytest.mark.requirement("mcp:processes:restart")
@pytest.mark.usefixtures("no_least_hold")
async def test_stopping_ends_the_waits_that_are_held_and_those_that_come() -> None:
    waits = some_waits()
    held = Held(waits, a_context())
    await held.begun()
    waits.stop()
    with pytest.raises(Stopping):
        await held.ended()
    with pytest.raises(Stopping):
        await Held(waits, a_context()).ended()


@pytest.mark.requirement("mcp:processes:restart")
async def test_what_is_found_before_the_process_goes_is_given() -> None:
    waits = some_waits()
    held = Held(waits, a_context())
    await held.begun()
    waits.stop()
    assert await held.found("the answer") == "the answer"


@pytest.mark.requirement("mcp:waiting:held")
async def test_a_held_wait_has_no_task_of_its_own_and_nothing_is_left_of_it() -> None:
    waits, gone, tasks = some_waits(), Gone(), asyncio.all_tasks()
    held = Held(waits, a_context(gone))
    await held.begun()
    assert asyncio.all_tasks() - tasks == {held.call}
    held.call.cancel()
    await asyncio.wait([held.call])
    assert held.call.cancelled()
    assert gone.tell is None
    assert not waits._held  # pyright: ignore[reportPrivateUsage]


@pytest.mark.requirement("mcp:waiting:progress")
async def test_progress_is_reported_to_whoever_asked_for_it_and_nobody_else_has_a_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timers: list[object] = []

    class Counted(module._Progress):  # pyright: ignore[reportPrivateUsage]
        def __init__(self, *given: Any) -> None:
            timers.append(given)
            super().__init__(*given)

    monkeypatch.setattr(module, "_Progress", Counted)
    reported = asyncio.Event()

    async def report(passed: float, window: float, _words: str) -> None:
        assert (passed, window) == (0.01, 45)
        reported.set()

    waits = some_waits(progress_interval=0.01)
    silent = Held(waits, a_context())
    await silent.begun()
    assert not timers
    told = Held(waits, a_context(progress=report))
    async with asyncio.timeout(5):
        await reported.wait()
    for held in (silent, told):
        assert await held.found("found") == "found"
