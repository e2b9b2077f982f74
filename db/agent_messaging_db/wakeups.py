"""Hints between processes that something changed: one LISTEN connection, and NOTIFY after commit, coalesced.

A hint names a topic and carries nothing else; whoever hears it looks at the rows. A lost hint costs the time
until the next sweep, never a message. What a larger installation replaces is the interface `Wakeups`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import asyncpg

from agent_messaging_db import sync_points
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.histogram import Histogram
from agent_messaging_db.pool import Database, connect
from agent_messaging_db.sync_points import SyncPoint

CHANNEL = "agent_messaging"
HEARTBEAT = 1.0
SILENCE = 1.5
MAX_PAYLOAD = 7_900  # PostgreSQL takes 7,999 bytes
SELF_TEST = 1.0
FIRST_PAUSE = 0.05
MOST_ON_THEIR_WAY = 64
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


class PostgresWakeups:
    """LISTEN and NOTIFY of PostgreSQL.

    The listening connection is direct, outside the pool and never in a transaction: one that sits in a
    transaction would keep the server's queue from being emptied. NOTIFY goes through the pool, in
    transactions of its own: inside a committing transaction it would hold a database-wide lock through the
    flush to disk. `hears` is False where a pooler swallows LISTEN.
    """

    def __init__(self, database: Database, locate: Callable[[], Awaitable[str]], *, process: UUID) -> None:
        self._database = database
        self._locate = locate
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
        self._connection: asyncpg.Connection[Any] | None = None
        self._sent = asyncio.Event()
        self._sent.set()
        self.hears = False
        self.counts = WakeupCounts()

    async def start(self, *, heard: Callable[[Iterable[str]], None], reset: Callable[[], None]) -> None:
        self._heard, self._reset = heard, reset
        # They outlive the call that starts them, and are no part of what it was doing.
        self._tasks = [
            asyncio.create_task(self._listen_for_ever(), name="agent-messaging listener", context=Context()),
            asyncio.create_task(self._publish_for_ever(), name="agent-messaging publisher", context=Context()),
        ]
        # A wait that began before LISTEN is in force would be deaf; a database that is slow to listen must
        # not keep us from starting.
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
        if self._connection is not None:
            self._connection.terminate()

    async def _publish_for_ever(self) -> None:
        while True:
            await self._kick.wait()
            self._kick.clear()
            topics, self._pending = self._pending, set()
            since = self._pending_since
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.WAKEUPS_GO)
            try:
                async with self._database.connection() as connection:
                    for payload in _payloads(self._me, topics):
                        self._expect(payload, since)
                        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
                self.counts.published += len(topics)
            except (DatabaseUnavailable, asyncpg.PostgresError):
                logger.info("wake-ups are late: the database could not be reached", extra={"topics": len(topics)})
                self._pending |= topics
                self._pending_since = since
                self._kick.set()
                await asyncio.sleep(HEARTBEAT / 4)
            if not self._pending:
                self._sent.set()

    async def _listen_for_ever(self) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await self._listen()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if isinstance(error, TimeoutError):
                    # What froze this connection has most likely frozen those of the pool.
                    await self._database.doubt()
                # Whatever broke it, the answer is the same: connect again; nothing but this loop would.
                logger.warning("listening for wake-ups stopped (%s); connecting again", type(error).__name__)
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

    async def _listen(self) -> None:
        # Nothing here is worth preparing, and whether a pooler would keep track of it takes a round trip to find out.
        connection = await connect(
            await self._locate(),
            statement_cache_size=0,
            server_settings={"application_name": "agent-messaging listener"},
        )
        self._connection = connection
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.LISTENER_CONNECTED)
            async with asyncio.timeout(SILENCE):
                await connection.add_listener(CHANNEL, self._receive)
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.LISTENER_LISTENS)
            self._listening.set()
            self.counts.connections += 1
            self._on_their_way.clear()
            self._reset()
            await self._test()
            while not lost.is_set():
                # Not wait_for, which before Python 3.12 loses a cancellation that comes together with the event: then
                # closing would wait for this loop for ever.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT):
                        await lost.wait()
                if not lost.is_set():
                    await connection.execute("SELECT 1", timeout=SILENCE)
            raise ConnectionError("the server closed the connection")
        finally:
            self._connection = None
            # Closing a frozen connection waits for it; there is nothing to say goodbye for.
            connection.terminate()

    async def _test(self) -> None:
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
        except TimeoutError:
            logger.warning(
                "wake-ups do not arrive over this connection (a transaction-mode pooler?): waits are slower by up to a "
                "second. "
                "Set LISTEN_DATABASE_URL to a direct connection."
            )
        finally:
            telling.cancel()

    async def _tell_ourselves(self) -> None:
        # Published as everything is: over the connection that listens, a pooler may well carry it back, on the
        # process that both statements happened to get, and nothing that others publish.
        async with self._database.connection() as connection:
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{self._me}:")

    def _receive(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        sender, _, topics = str(payload).partition(":")
        if sender == self._me:
            self._echo.set()
            if (since := self._on_their_way.pop(str(payload), None)) is not None:
                self.counts.latency.observe(time.monotonic() - since)
        elif topics:
            heard = topics.split(",")
            self.counts.heard += len(heard)
            self._heard(heard)

    def _expect(self, payload: str, since: float) -> None:
        # Where nothing comes back, nothing must pile up.
        if len(self._on_their_way) < MOST_ON_THEIR_WAY:
            self._on_their_way.setdefault(payload, since)


def _payloads(sender: str, topics: Iterable[str]) -> Iterable[str]:
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
