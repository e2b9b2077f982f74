"""Hints between processes that something changed: their interface, and what every way of carrying them has in common.

A hint names a topic and carries nothing else; whoever hears it looks at the rows. A lost hint costs the time
until the next sweep, never a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from agent_messaging_db import sync_points
from agent_messaging_db.histogram import Histogram
from agent_messaging_db.sync_points import SyncPoint

HEARTBEAT = 1.0
SILENCE = 1.5
MAX_PAYLOAD = 7_900  # PostgreSQL takes 7,999 bytes
SELF_TEST = 1.0
DEAF_AFTER = 2  # tests in a row without an echo
FIRST_PAUSE = 0.05
TOLD_AFTER = 1.0
MOST_ON_THEIR_WAY = 64
MOST_PENDING = 10_000  # topics that wait for a way to the others; beyond it the sweep has long told
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds

logger = logging.getLogger("agent_messaging.wakeups")


class Wakeups(Protocol):
    """Carries topics to the other processes; never late on purpose, sometimes lost.

    `hears` says whether topics of other processes arrive at present.
    """

    hears: bool

    async def start(self, *, heard: Callable[[Iterable[str]], None], reset: Callable[[], None]) -> None:
        """Begin to listen. `heard` gets the topics of other processes; `reset` says that some may have been
        missed.
        """
        ...

    def publish(self, topics: Iterable[str]) -> None:
        """Tell the other processes, soon; returns at once and never raises."""
        ...

    async def close(self) -> None:
        """Stop listening, after what was published has been sent."""
        ...


@dataclass(slots=True)
class WakeupCounts:
    """What came of the wake-ups of this process. `latency`: the seconds from `publish` until this process heard
    its own, as any other did.
    """

    published: int = 0
    heard: int = 0
    connections: int = 0
    latency: Histogram = field(default_factory=lambda: Histogram(LATENCIES))


class CannotSend(Exception):
    """There is no way to the others at present; says which one is missing."""


class Carrier(ABC):
    """What every kind of wake-ups has: what is published goes out together as soon as the last has gone, and one
    connection listens, is tested by an echo, and is replaced whenever it breaks.

    `deaf` is what an operator reads when the echo has not come twice in a row. `is_needed`: a process that does not
    hear should get no work, as the others have what it lacks.
    """

    is_needed = True
    deaf = ""

    def __init__(self, *, process: UUID) -> None:
        self._me = process.hex
        self._pending: set[str] = set()
        self._pending_since = 0.0
        self._on_their_way: dict[str, float] = {}
        self._kick = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = asyncio.Event()
        self._heard: Callable[[Iterable[str]], None] = _ignore
        self._reset: Callable[[], None] = _nothing
        self._echo = asyncio.Event()
        self._unheard = 0
        self._sent = asyncio.Event()
        self._sent.set()
        self.hears = False
        self.counts = WakeupCounts()

    @abstractmethod
    async def _send(self, payloads: Iterable[str]) -> None:
        """Carry them to every process, this one too; raises CannotSend."""

    @abstractmethod
    async def _listen(self) -> None:
        """Connect, listen, say so, and raise when it is over."""

    async def _froze(self) -> None:  # noqa: B027 - for most there is nothing else to be suspected
        """A connection that seemed open has carried nothing."""

    async def start(self, *, heard: Callable[[Iterable[str]], None], reset: Callable[[], None]) -> None:
        self._heard, self._reset = heard, reset
        # They outlive the call that starts them, and are no part of what it was doing.
        self._tasks = [
            asyncio.create_task(self._listen_for_ever(), name="agent-messaging listener", context=Context()),
            asyncio.create_task(self._publish_for_ever(), name="agent-messaging publisher", context=Context()),
        ]
        # A wait that began before listening is in force would be deaf; whoever is slow to listen must not keep us from
        # starting.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE):
                await self._listening.wait()

    def publish(self, topics: Iterable[str]) -> None:
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.update(topics)
        if self._pending:
            self._sent.clear()
            self._kick.set()

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._sent.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _publish_for_ever(self) -> None:
        is_late = False
        while True:
            await self._kick.wait()
            self._kick.clear()
            topics, self._pending = self._pending, set()
            since = self._pending_since
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.WAKEUPS_GO)
            try:
                await self._send(self._expected(payloads_of(self._me, topics), since))
                self.counts.published += len(topics)
                is_late = False
            except CannotSend as error:
                if not is_late:  # once an outage
                    logger.info("wake-ups are late: %s", error, extra={"topics": len(topics)})
                is_late = True
                self._pending |= topics
                self._pending_since = since
                if len(self._pending) > MOST_PENDING:
                    self._pending.clear()
                self._kick.set()
                await asyncio.sleep(HEARTBEAT / 4)
            if not self._pending:
                self._sent.set()

    async def _listen_for_ever(self) -> None:
        pause = FIRST_PAUSE
        is_away = False
        while True:
            began = time.monotonic()
            try:
                await self._listen()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if isinstance(error, TimeoutError):
                    await self._froze()
                # Whatever broke it, the answer is the same: connect again; nothing but this loop would.
                level = logging.INFO if is_away and not self._listening.is_set() else logging.WARNING
                self._tell(level, "listening for wake-ups stopped (%s); connecting again", type(error).__name__)
                is_away = True
            listened = self._listening.is_set()
            self._listening.clear()
            self.hears = False
            if listened:
                pause = FIRST_PAUSE
                # Everybody who waits in this process is deaf until then. One that never lasts is not hurried after.
                if time.monotonic() - began > HEARTBEAT:
                    continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _tell(self, level: int, *words: str) -> None:
        # Not at once: the first line that a process writes may take it longer than connecting again does.
        asyncio.get_running_loop().call_later(TOLD_AFTER, logger.log, level, *words)

    async def _until_lost(self, lost: asyncio.Event, look: Callable[[], Awaitable[None]]) -> None:
        """Until a connection is lost: see with every heartbeat that it carries something, and whether it hears."""
        while not lost.is_set():
            await until_set(lost, HEARTBEAT)
            if not lost.is_set() and not self.hears:
                await self._test()
            if not lost.is_set():
                await look()

    async def _test(self) -> None:
        """See whether a connection hears; called again as long as it does not. What kept one echo may be a machine that
        was busy, or a pool that was frozen.
        """
        self._echo.clear()
        telling = asyncio.create_task(self._tell_ourselves(), name="agent-messaging self-test")
        telling.add_done_callback(lambda told: told.cancelled() or told.exception())
        try:
            async with asyncio.timeout(SELF_TEST):
                # Not awaited to its end: on a connection of the pool that carries nothing, not even cancelling ends it
                # soon, and meanwhile nobody would notice that this one is lost.
                await asyncio.shield(telling)
                await self._echo.wait()
            self.hears = True
            self._unheard = 0
        except TimeoutError:
            self._unheard += 1
            if self._unheard == DEAF_AFTER:
                logger.warning(self.deaf)
        finally:
            telling.cancel()

    async def _tell_ourselves(self) -> None:
        await self._send([f"{self._me}:"])

    def _take(self, payload: str) -> None:
        sender, _, topics = payload.partition(":")
        if sender == self._me:
            self._echo.set()
            if (since := self._on_their_way.pop(payload, None)) is not None:
                self.counts.latency.observe(time.monotonic() - since)
        elif topics:
            heard = topics.split(",")
            self.counts.heard += len(heard)
            self._heard(heard)

    def _expected(self, payloads: Iterable[str], since: float) -> Iterable[str]:
        for payload in payloads:
            # Where nothing comes back, nothing must pile up.
            if len(self._on_their_way) < MOST_ON_THEIR_WAY:
                self._on_their_way.setdefault(payload, since)
            yield payload


async def until_set(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, for so long at most."""
    # Not wait_for, which before Python 3.12 loses a cancellation that comes together with the event: then closing would
    # wait for this for ever.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def payloads_of(sender: str, topics: Iterable[str]) -> Iterable[str]:
    payload = f"{sender}:"
    for topic in topics:
        if len(payload) + len(topic) + 1 > MAX_PAYLOAD:
            yield payload
            payload = f"{sender}:"
        payload += topic if payload.endswith(":") else f",{topic}"
    yield payload


def _ignore(_: Iterable[str]) -> None:
    return


def _nothing() -> None:
    return
