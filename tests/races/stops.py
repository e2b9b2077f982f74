"""Stops calls at sync points and lets them go, so that a race happens in the order that a test wants."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from agent_messaging_db import sync_points
from agent_messaging_db.sync_points import SyncPoint
from tests.protocol.world import eventually

Result = TypeVar("Result")

BOUND = 30.0
"""Seconds within which everything here happens, on a machine that has four times as much to do as it can."""

PATIENCE = 20 * BOUND
"""The window of every wait here: one that finds at its end what it was not told would hide that it was not told."""

UNCANCELLABLE = frozenset({SyncPoint.WAIT_TOOK})
"""Where no call can be cancelled in production, as nothing is awaited: a cancellation there is too late."""

_actor: ContextVar[str | None] = ContextVar("actor", default=None)


async def soon(look: Callable[[], Awaitable[Result]]) -> Result:
    """What `look` gives once it gives something."""
    return await eventually(look, within=BOUND)


class Stop:
    """One place at which one call stops: the `nth` one from now on of this actor (None: of anybody) that comes by
    while `when()` is true.
    """

    def __init__(self, point: SyncPoint, actor: str | None, nth: int, when: Callable[[], bool]) -> None:
        self.point = point
        self.fired = False
        self._actor = actor
        self._when = when
        self._left = nth
        self._arrived = asyncio.Event()
        self._going = asyncio.Event()

    def is_for(self, point: SyncPoint, actor: str | None) -> bool:
        """Whether this call is the one to stop; every call that comes by is asked once."""
        if self.fired or point is not self.point or self._actor not in (None, actor) or not self._when():
            return False
        self._left -= 1
        return self._left == 0

    async def here(self) -> None:
        """Stop the call until it may go."""
        self.fired = True
        self._arrived.set()
        while not self._going.is_set():
            try:
                await self._going.wait()
            except asyncio.CancelledError:
                if self.point not in UNCANCELLABLE:
                    raise
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()

    async def reached(self) -> None:
        """Wait until the call has come."""
        async with asyncio.timeout(BOUND):
            await self._arrived.wait()

    async def reached_before(self, task: asyncio.Task[Any]) -> bool:
        """Wait until the call has come, or the task is over; says whether the call has come."""
        arrival = asyncio.create_task(self._arrived.wait())
        try:
            async with asyncio.timeout(2 * BOUND):
                await asyncio.wait([arrival, task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
        return self.fired

    def go(self) -> None:
        """Let the call go on."""
        self._going.set()

    @property
    def is_over(self) -> bool:
        """Whether it stops nobody any more."""
        return self.fired and self._going.is_set()


class Stops:
    """Where calls are to stop, and which points were passed, by whom."""

    def __init__(self) -> None:
        self.passed: list[tuple[SyncPoint, str | None]] = []
        self._stops: list[Stop] = []
        self._named: dict[asyncio.Task[Any], str] = {}

    def name(self, actor: str) -> None:
        """Name the tasks that go on in the background (of an SDK object that was opened just now) and have no name."""
        for task in asyncio.all_tasks():
            if task.get_name().startswith("agent-messaging "):
                self._named.setdefault(task, actor)

    def at(
        self, point: SyncPoint, *, actor: str | None = None, nth: int = 1, when: Callable[[], bool] = lambda: True
    ) -> Stop:
        """Stop the next call at this point, or the `nth` one; of any actor, or of one; from some event on."""
        stop = Stop(point, actor, nth, when)
        self._stops = [earlier for earlier in self._stops if not earlier.is_over] + [stop]
        return stop

    def passed_by(self, actor: str) -> Counter[SyncPoint]:
        """How often each point was passed on behalf of an actor."""
        return Counter(point for point, by in self.passed if by == actor)

    async def __call__(self, point: SyncPoint) -> None:
        actor = _actor.get()
        if actor is None and (task := asyncio.current_task()) is not None:
            actor = self._named.get(task)
        self.passed.append((point, actor))
        for stop in [stop for stop in self._stops if stop.is_for(point, actor)]:
            await stop.here()

    def go(self) -> None:
        """Let everybody go on, and stop nobody any more."""
        for stop in self._stops:
            stop.fired = True
            stop.go()


@contextmanager
def stopping() -> Generator[Stops]:
    """The sync points of this process, for as long as the block runs."""
    assert sync_points.hook is None, "somebody else stops calls at present"
    stops = Stops()
    sync_points.hook = stops
    try:
        yield stops
    finally:
        sync_points.hook = None
        stops.go()


def acting(actor: str, call: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Begin a call in the name of an actor; what is done on its behalf by other tasks is done in its name as well."""
    context = copy_context()
    context.run(_actor.set, actor)
    return asyncio.create_task(call, context=context)
