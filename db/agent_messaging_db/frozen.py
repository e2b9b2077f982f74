"""What tells a connection that carries nothing any more from one whose server is at work: the server itself, asked
over another connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import wraps
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg

from agent_messaging_db.driver_errors import OUTAGE
from agent_messaging_db.errors import AddressError, DatabaseUnavailable

if TYPE_CHECKING:
    AnyConnection = asyncpg.Connection[Any]
else:
    AnyConnection = asyncpg.Connection

LOOK_EVERY = 0.75
LONG = 1.0
"""Seconds after which a statement is asked about, and for which the server has to have rested."""
ANSWER = 3.0
"""Seconds in which a server that can be reached has taken a connection and answered, busy as it may be."""

# Between preparing a statement and running it a process is "active", and waits for its client. Where the state is null
# or "disabled", the server does not tell us, and nobody is taken to rest.
_RESTING = """
    SELECT asked.pid FROM unnest($1::int[]) AS asked (pid) LEFT JOIN pg_stat_activity AS activity USING (pid)
    WHERE activity.pid IS NULL
        OR (activity.state LIKE 'idle%' OR activity.wait_event = 'ClientRead')
        AND activity.state_change < clock_timestamp() - make_interval(secs => $2)
"""


CONNECTING = 0


class Exchange:
    """What is under way on one connection: `since` when the server's answer is waited for, by the monotonic clock, or
    0 while none is. `backend` is the server's process, None behind a pooler, where it cannot be told, or CONNECTING.
    """

    __slots__ = ("backend", "since")

    def __init__(self) -> None:
        self.backend: int | None = None
        self.since = 0.0


def _noted(method: Any) -> Any:
    @wraps(method)
    async def noted(self: Any, *args: Any, **options: Any) -> Any:
        exchange: Exchange = self.exchange
        exchange.since = monotonic()
        try:
            return await method(self, *args, **options)
        finally:
            exchange.since = 0.0

    return noted


class NotedConnection(AnyConnection):
    """A connection that notes since when it has been waiting."""

    __slots__ = ("exchange",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.exchange = Exchange()

    if not TYPE_CHECKING:
        execute = _noted(asyncpg.Connection.execute)
        executemany = _noted(asyncpg.Connection.executemany)
        fetch = _noted(asyncpg.Connection.fetch)
        fetchrow = _noted(asyncpg.Connection.fetchrow)
        fetchval = _noted(asyncpg.Connection.fetchval)


def exchange_of(connection: Any) -> Exchange:
    """That of a connection of the pool; what the pool lends in its place passes on what it does not know."""
    return connection.exchange


async def lost(
    exchanges: Collection[Exchange], reach: Callable[[], Awaitable[AnyConnection]], *, patience: float
) -> list[Exchange]:
    """Those whose answer will not come: the server has long been doing nothing for them, or a connection that was begun
    long after theirs is there before it. `reach` opens that one, to ask; if it has no answer either, those are lost
    that nobody would wait for any longer.
    """
    before = monotonic() - LONG
    asked = {
        exchange: exchange.since
        for exchange in exchanges
        if exchange.backend is not None and 0 < exchange.since < before
    }
    if not asked:
        return []
    backends = {exchange.backend for exchange in asked if exchange.backend is not None} - {CONNECTING}
    if (resting := await _resting(reach, backends)) is None:
        before = monotonic() - max(LONG, patience)
        found = [exchange for exchange, since in asked.items() if since < before]
    else:
        found = [exchange for exchange in asked if exchange.backend in resting | {CONNECTING}]
    # What has been answered meanwhile had only not been read yet.
    return [exchange for exchange in found if exchange.since == asked[exchange]]


async def _resting(reach: Callable[[], Awaitable[AnyConnection]], backends: Collection[int]) -> set[int] | None:
    """Which of these processes of the server have been doing nothing for long, or have gone; None if nobody tells."""
    connection: AnyConnection | None = None
    try:
        async with asyncio.timeout(ANSWER):
            # None of the pool's, which may have frozen like the rest, and a new one each time: the last may have too.
            connection = await reach()
            return {row[0] for row in await connection.fetch(_RESTING, backends, LONG)}
    except (DatabaseUnavailable, AddressError, asyncpg.PostgresError, *OUTAGE):
        return None
    finally:
        if connection is not None:
            connection.terminate()
