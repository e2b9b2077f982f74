"""Wake-ups over PostgreSQL, the default: one LISTEN connection, and NOTIFY after commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID

import asyncpg

from agent_messaging_db import presence, sync_points
from agent_messaging_db.carrier import MOST_PENDING, SILENCE, CannotSend, Carrier, until_set
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.pool import Database, connect
from agent_messaging_db.sync_points import SyncPoint

CHANNEL = "agent_messaging"
LOOKING = 0.25
"""Seconds that those who wait have to look at what they may have missed."""


class PostgresWakeups(Carrier):
    """LISTEN and NOTIFY of PostgreSQL.

    The listening connection is direct, outside the pool and never in a transaction: one that sits in a
    transaction would keep the server's queue from being emptied. NOTIFY goes through the pool, in
    transactions of its own: inside a committing transaction it would hold a database-wide lock through the
    flush to disk. `hears` is False where a pooler swallows LISTEN.

    A process that is alone on its database tells nobody: a NOTIFY for each commit would be most of what a lone caller
    waits for. Whoever comes later is in the registry of processes before it listens, and says so when it does; it is
    then told what was kept from it meanwhile.
    """

    deaf = (
        "wake-ups do not arrive over this connection (a transaction-mode pooler?): waits are slower by up to a "
        "second. "
        "Set LISTEN_DATABASE_URL to a direct connection."
    )

    def __init__(self, database: Database, locate: Callable[[], Awaitable[str]], *, process: UUID) -> None:
        super().__init__(process=process)
        self._database = database
        self._locate = locate
        self._connection: asyncpg.Connection[Any] | None = None
        self._process = process
        self._is_alone = False
        self._met = 0
        self._withheld: set[str] = set()
        self._withheld_before: set[str] = set()

    def publish(self, topics: Iterable[str]) -> None:
        if not self._is_alone:
            super().publish(topics)
        elif len(self._withheld) < MOST_PENDING:  # beyond it the newcomer's sweep is soon enough
            self._withheld.update(topics)

    def _meet(self) -> None:
        """There are others, or may be."""
        self._met += 1
        self._is_alone = False
        withheld = self._withheld | self._withheld_before
        self._withheld, self._withheld_before = set(), set()
        if withheld:
            super().publish(withheld)

    async def _look_for_others(self, connection: asyncpg.Connection[Any]) -> None:
        """See that the connection carries something: whether anybody else is there."""
        met = self._met
        others = await presence.has_others(connection, process=self._process, timeout=SILENCE)
        if others or not self.hears:
            self._meet()
        elif met == self._met:  # else somebody has come since the server looked
            self._is_alone = True
            # What was committed longer ago than this, a newcomer finds by the look with which it begins.
            self._withheld, self._withheld_before = set(), self._withheld

    async def _send(self, payloads: Iterable[str]) -> None:
        # Published as everything is: over the connection that listens, a pooler may well carry it back, on the
        # process that both statements happened to get, and nothing that others publish.
        try:
            async with self._database.connection() as connection:
                for payload in payloads:
                    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            raise CannotSend("the database could not be reached") from error

    async def _froze(self) -> None:
        # What froze this connection has most likely frozen those of the pool.
        await self._database.doubt()

    async def close(self) -> None:
        await super().close()
        if self._connection is not None:
            self._connection.terminate()

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
            if self.counts.connections > 1:
                # Who was deaf meanwhile looks first: the test would take a connection from them, or open one more.
                await until_set(lost, LOOKING)
            if not lost.is_set():
                await self._test()
                await self._look_for_others(connection)
            await self._until_lost(lost, lambda: self._look_for_others(connection))
            raise ConnectionError("the server closed the connection")
        finally:
            self._connection = None
            self._meet()  # for as long as nobody can be heard
            # Closing a frozen connection waits for it; there is nothing to say goodbye for.
            connection.terminate()

    def _receive(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if not str(payload).startswith(self._me):
            self._meet()
        self._take(str(payload))
