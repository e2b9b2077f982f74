"""The only way anything here blocks: subscribe, look, take, sleep, look again.

A waiter is a small object in a dictionary: no connection, no lock, no task of its own. What wakes it is a
topic; what it gets comes from the rows. Waking it for nothing costs a look; a wake-up that is lost is made up
for by the sweep.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Protocol, TypeVar
from uuid import UUID

from agent_messaging.alarms import Alarms
from agent_messaging.measures import Counts, WaitEnd
from agent_messaging_db import sync_points
from agent_messaging_db.carrier import Wakeups
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.sync_points import SyncPoint

Found = TypeVar("Found")
Taken = TypeVar("Taken")
Entry = TypeVar("Entry")

FIRST_OUTAGE_PAUSE = 0.05  # after a look that an outage cut: often it was only one connection
OUTAGE_PAUSE = 0.25  # between looks while the database stays away
BEATEN_PAUSE = 0.005  # before looking again where another one was faster


def agent_topic(agent: UUID) -> str:
    """Something for this agent: a message, a question, an answer, an invitation, a turn."""
    return f"a{agent.hex}"


def question_topic(question: UUID) -> str:
    """This question is no longer open."""
    return f"q{question.hex}"


def meeting_topic(meeting: UUID) -> str:
    """This meeting moved on."""
    return f"m{meeting.hex}"


def ending_topic(meeting: UUID) -> str:
    """This meeting has ended."""
    return f"e{meeting.hex}"


def topics_of(kind: str, topics: Iterable[str]) -> list[UUID]:
    """Give the ids of the topics of one kind: 'a', 'q', 'm' or 'e'."""
    return [UUID(hex=topic[1:]) for topic in topics if topic[0] == kind]


class WindowEndedError(Exception):
    """The window of a wait ended with nothing found."""


class Slot(Protocol):
    """What a handler occupies while it works; a handler that waits does not occupy it."""

    def leave(self) -> None: ...
    def enter(self) -> None: ...


handler_slot: ContextVar[Slot | None] = ContextVar("agent_messaging_handler_slot", default=None)


class Window:
    """One call's patience in seconds: 0 looks once."""

    __slots__ = ("_ends_at", "_loop")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + seconds if math.isfinite(seconds) else math.inf

    @property
    def remaining(self) -> float:
        return max(0.0, self._ends_at - self._loop.time())


class Watch:
    """Hears of its topics from when it is made until it is stopped: woken or not, and one sleep at a time. Thousands of
    them sleep at once, so it is all that a waiter is.
    """

    __slots__ = ("_alarms", "_future", "_registry", "_topics", "_woken", "alarm")

    def __init__(self, registry: dict[str, tuple[Watch, ...]], alarms: Alarms, topics: Iterable[str]) -> None:
        self.alarm = 0
        self._woken = False
        self._future: asyncio.Future[None] | None = None
        self._registry = registry
        self._alarms = alarms
        self._topics = tuple(topics)
        _enter(registry, self._topics, self)

    def stop(self) -> None:
        """Hear of nothing any more; whoever does not hand it to `until` does this."""
        _leave(self._registry, self._topics, self)

    def wake(self) -> None:
        self._woken = True
        self.rouse()

    def forget(self) -> None:
        self._woken = False

    def sleep(self, seconds: float) -> asyncio.Future[None] | None:
        """Give what is done when it is woken, or in `seconds`; None if there is nothing to wait for. `rise` ends it."""
        if self._woken or seconds <= 0:
            return None
        self._future = asyncio.get_running_loop().create_future()
        if math.isfinite(seconds):
            self._alarms.set(self, min(seconds, 86_400.0))
        return self._future

    def rise(self) -> None:
        self._future = None
        self._alarms.cancel(self)

    def rouse(self) -> None:
        """End the sleep, woken or not."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Waiting:
    """Who waits for what in this process, and the wake-ups between processes."""

    def __init__(self, wakeups: Wakeups, counts: Counts | None = None) -> None:
        self._wakeups = wakeups
        self._counts = counts or Counts()
        self._listeners: dict[str, tuple[Callable[[], None], ...]] = {}
        self._watches: dict[str, tuple[Watch, ...]] = {}
        self._alarms = Alarms()
        self._taps: set[Callable[[Iterable[str]], None]] = set()
        self._closing = False

    async def start(self) -> None:
        await self._wakeups.start(heard=self.wake_here, reset=self._reset)

    async def close(self) -> None:
        """End every wait with WindowEndedError, then stop listening."""
        self._closing = True
        self._reset()
        await self._wakeups.close()

    @property
    def hears(self) -> bool:
        """Whether the wake-ups of other processes arrive; if not, the sweep finds what they would have told."""
        return self._wakeups.hears

    @property
    def topics(self) -> list[str]:
        """What is waited for or listened to in this process."""
        return list(self._listeners.keys() | self._watches.keys())

    def wake(self, topics: Iterable[str]) -> None:
        """Say, after a commit that was or may have been, what it changed: here at once, elsewhere soon."""
        topics = list(topics)
        self.wake_here(topics)
        self._wakeups.publish(topics)

    def wake_here(self, topics: Iterable[str]) -> None:
        topics = list(topics)
        self.wake_waiters(topics)
        for topic in topics:
            for call in self._listeners.get(topic, ()):
                call()
        for tap in tuple(self._taps):
            tap(topics)

    def wake_waiters(self, topics: Iterable[str]) -> None:
        """Have the waits on these topics look again, without telling those who listen for changes."""
        for topic in topics:
            for watch in self._watches.get(topic, ()):
                watch.wake()

    def listen(self, topics: Iterable[str], call: Callable[[], None]) -> Callable[[], None]:
        """Have `call()` called whenever one of the topics is woken, and whenever wake-ups may have been lost;
        gives the way out.
        """
        entered = tuple(topics)
        _enter(self._listeners, entered, call)
        return lambda: _leave(self._listeners, entered, call)

    def tap(self, call: Callable[[Iterable[str]], None]) -> Callable[[], None]:
        """Have `call(topics)` called for every wake-up of any topic; gives the way out."""
        self._taps.add(call)
        return lambda: self._taps.discard(call)

    def watch(self, topics: Iterable[str]) -> Watch:
        """Subscribe before what will be waited for can happen, for an `until` that needs no first look then."""
        return Watch(self._watches, self._alarms, topics)

    async def until(
        self,
        look: Callable[[], Awaitable[Found | None]],
        take: Callable[[Found], Awaitable[Taken | None]],
        *,
        topics: Iterable[str],
        window: Window,
        watch: Watch | None = None,
    ) -> Taken:
        """Wait until `look` finds something and `take` gets it.

        `look` only reads, and may be cancelled anywhere. `take` is one conditional write that gives None when
        somebody was faster; then the same wait goes on. An unreachable database is waited out like anything
        else. Raises WindowEndedError. With a `watch` on the same topics, made before anything could be found, the
        first look comes when it was woken.
        """
        counts, ended = self._counts, WaitEnd.FAILED
        sleeps_first = watch is not None
        watch = watch or self.watch(topics)
        del topics  # a wait may be long, and holds what it needs
        slot = handler_slot.get()
        counts.waits_open += 1
        if slot is not None:
            slot.leave()
        try:
            last = window.remaining <= 0
            outage_pause = FIRST_OUTAGE_PAUSE
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.WAIT_SUBSCRIBED)
            while True:
                pause = math.inf
                try:
                    if sleeps_first and not last:
                        # What a watch was woken for meanwhile, it is woken for at the sleep.
                        sleeps_first, found = False, None
                    else:
                        # What is woken for from here on is seen by the sleep below, so nothing falls between look and
                        # sleep.
                        watch.forget()
                        found = await look()
                    if sync_points.hook is not None:
                        await sync_points.hook(SyncPoint.WAIT_LOOKED)
                    if found is not None:
                        if sync_points.hook is not None:
                            await sync_points.hook(SyncPoint.WAIT_TAKES)
                        if (taken := await take(found)) is not None:
                            if sync_points.hook is not None:
                                await sync_points.hook(SyncPoint.WAIT_TOOK)
                            ended = WaitEnd.FOUND
                            return taken
                        pause = BEATEN_PAUSE
                    outage_pause = FIRST_OUTAGE_PAUSE
                except DatabaseUnavailable:
                    if last:
                        raise
                    pause, outage_pause = outage_pause, min(outage_pause * 2, OUTAGE_PAUSE)
                if last or self._closing:
                    ended = WaitEnd.WINDOW_ENDED
                    raise WindowEndedError
                if sync_points.hook is not None:
                    await sync_points.hook(SyncPoint.WAIT_SLEEPS)
                if (sleep := watch.sleep(min(window.remaining, pause))) is not None:
                    try:
                        await sleep
                    finally:
                        watch.rise()
                last = window.remaining <= 0
        except asyncio.CancelledError:
            ended = WaitEnd.CANCELLED
            raise
        finally:
            watch.stop()
            if slot is not None:
                slot.enter()
            counts.waits_open -= 1
            counts.waits_ended[ended] += 1

    def _reset(self) -> None:
        for watch in {watch for watches in self._watches.values() for watch in watches}:
            watch.wake()
        for call in {call for calls in self._listeners.values() for call in calls}:
            call()


def _enter(registry: dict[str, tuple[Entry, ...]], topics: Iterable[str], entry: Entry) -> None:
    # Tuples, since most topics have one entry, and a set for each of thousands would be most of what they take.
    for topic in topics:
        registry[topic] = (*registry.get(topic, ()), entry)


def _leave(registry: dict[str, tuple[Entry, ...]], topics: Iterable[str], entry: Entry) -> None:
    for topic in topics:
        if left := tuple(other for other in registry.get(topic, ()) if other is not entry):
            registry[topic] = left
        else:
            registry.pop(topic, None)
