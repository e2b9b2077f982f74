"""The connections of a process: opening them, retrying over an outage, and replacing those that carry nothing."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import asyncpg
from asyncpg.exceptions import ClientConfigurationError

from agent_messaging_db import frozen, pooler, sync_points, tracing
from agent_messaging_db.driver_errors import CONFLICT, OUTAGE, TRY_AGAIN
from agent_messaging_db.errors import AddressError, Conflict, DatabaseUnavailable
from agent_messaging_db.frozen import Exchange, NotedConnection
from agent_messaging_db.sync_points import SyncPoint

logger = logging.getLogger("agent_messaging.pool")

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
Result = TypeVar("Result")

CONNECT_TIMEOUT = 10.0
COMMAND_TIMEOUT = 30.0
# The statements are few, and written so that one plan is right for every argument. Planning costs more than running
# most of them, and the server would otherwise plan those over arrays anew each time; compiling them costs more still.
# A plan that is kept is made while the tables may be nearly empty, when reading them from end to end looks cheapest;
# every look here is meant to go by an index.
PLANNING = (
    "SET plan_cache_mode = force_generic_plan; SET jit = off; "
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"
)
_WATCHING = {"application_name": "agent-messaging watch"}
LAST_MOMENT = 0.5  # for what is under way on a connection that is no longer trusted


@dataclass(slots=True)
class DatabaseErrors:
    """How often something failed, tries that were repeated with success among them."""

    outage: int = 0
    deadlock: int = 0
    other: int = 0


async def connect(dsn: str, **options: Any) -> asyncpg.Connection[Any]:
    """Open one connection outside the pool. Raises AddressError for an address that can never be right.

    A pooler that does not keep track of prepared statements would run, under the name of one of ours, what
    another process has given that name. Through such a one no statement has a name; each takes one more round
    trip.
    """
    connection = await _connect(dsn, **options)
    if "statement_cache_size" in options:
        return connection
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            if await pooler.is_direct(connection):
                await connection.execute(PLANNING)
                if type(connection) is NotedConnection:  # to `isinstance`, the driver's connections are all alike
                    connection.exchange.backend = connection.get_server_pid()
                return connection
            if await pooler.keeps_statements(connection):
                return connection
    except BaseException:
        connection.terminate()
        raise
    connection.terminate()
    return await _connect(dsn, statement_cache_size=0, **options)


async def _connect(dsn: str, **options: Any) -> asyncpg.Connection[Any]:
    try:
        return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT, **options)
    except (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError) as unknown:
        # The driver hands what it does not know to the server, which takes it for a setting.
        raise AddressError(
            f"the address of the database has a parameter that neither the driver nor the server knows ({unknown}); "
            "take it out"
        ) from unknown
    except ClientConfigurationError as wrong:
        raise AddressError(f"the address of the database cannot be used: {wrong}") from wrong


class Database:
    """A pool of connections to one database.

    `locate` gives the address anew for every connection that is opened, so an embedded server that died is
    brought back by it. `patience` is how many seconds `run` retries an unreachable database. `outage` is the
    error that an unreachable one raises.
    """

    def __init__(
        self,
        locate: Callable[[], Awaitable[str]],
        *,
        max_size: int,
        patience: float,
        outage: type[DatabaseUnavailable] = DatabaseUnavailable,
    ) -> None:
        self._locate = locate
        self._max_size = max_size
        self._patience = patience
        self._outage = outage
        self._pool: asyncpg.Pool[Any] | None = None
        self._borrowed: dict[Connection, Exchange] = {}
        self._connecting: dict[Exchange, asyncio.Timeout] = {}
        self._watching: asyncio.Task[None] | None = None
        self.errors = DatabaseErrors()

    @property
    def size(self) -> int:
        """How many connections there are."""
        return 0 if self._pool is None else self._pool.get_size()

    @property
    def in_use(self) -> int:
        """How many of them are borrowed, or being opened for somebody."""
        return 0 if self._pool is None else self._pool.get_size() - self._pool.get_idle_size()

    async def open(self) -> None:
        """Open the pool with one connection; raises DatabaseUnavailable."""
        pool = asyncpg.create_pool(
            min_size=0,  # below any other the driver fills it up unasked, and logs a traceback for each try that fails
            max_size=self._max_size,
            connect=self._connect,
            connection_class=NotedConnection,
            reset=_keep_state,
            max_inactive_connection_lifetime=60.0,
        )
        try:
            await pool
            async with pool.acquire():
                pass
        except AddressError:
            raise
        except DatabaseUnavailable as error:
            raise self._located_nowhere(error) from error
        except OUTAGE as error:
            raise self._unavailable(error) from error
        self._pool = pool
        # It outlives the call that opens the pool, and is no part of what that was doing.
        watching = self._watch_for_ever(pool)
        self._watching = asyncio.create_task(watching, name="agent-messaging pool", context=Context())

    async def close(self) -> None:
        """Close the pool; what is still running gets a moment to finish."""
        if (pool := self._pool) is not None:
            self._pool = None
            if self._watching is not None:
                self._watching.cancel()
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except (TimeoutError, *OUTAGE):
                pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Borrow a connection; outages come out as DatabaseUnavailable, violated constraints as Conflict."""
        if self._pool is None:
            raise self._outage("the database is not open")
        connection: Connection | None = None
        exchange = Exchange()
        returned_at = 0.0
        try:
            async with self._pool.acquire() as connection:
                self._borrowed[connection] = exchange = frozen.exchange_of(connection)
                try:
                    yield connection
                finally:
                    # Giving back one on which a statement was cancelled waits for the server too.
                    exchange.since = returned_at = monotonic()
        except DatabaseUnavailable as error:
            raise self._located_nowhere(error) from error
        except CONFLICT as error:
            raise Conflict(error.constraint_name or "") from error
        except OUTAGE as error:
            raise self._unavailable(error) from error
        except TRY_AGAIN:
            self.errors.deadlock += 1
            raise
        except asyncpg.PostgresError:
            self.errors.other += 1
            raise
        finally:
            # Only here: whoever gives a frozen connection back still waits on it.
            if connection is not None:
                self._borrowed.pop(connection, None)
                if exchange.since == returned_at:  # the next one may be using it already
                    exchange.since = 0.0

    async def doubt(self) -> None:
        """Trust no connection that is open now: the way to the database seems to carry nothing any more.

        Idle ones are replaced when they are needed next. What is under way on the others has a moment left, and
        is then ended as by an outage; `run` makes it again.
        """
        if self._pool is not None:
            await self._pool.expire_connections()
            asyncio.get_running_loop().call_later(LAST_MOMENT, self._end, tuple(self._borrowed))

    def terminate(self) -> None:
        """End every connection at once, whatever is under way."""
        if self._pool is not None:
            self._pool.terminate()

    def _end(self, borrowed: Iterable[Connection]) -> None:
        for connection in self._borrowed.keys() & set(borrowed):
            with suppress(asyncpg.InterfaceError):  # it has just been given back
                connection.terminate()

    async def _watch_for_ever(self, pool: asyncpg.Pool[Any]) -> None:
        while True:
            await asyncio.sleep(frozen.LOOK_EVERY)
            under_way = (*self._borrowed.values(), *self._connecting)
            if lost := await frozen.lost(under_way, self._watch_from, patience=self._patience):
                logger.warning(
                    "connections to the database carry nothing any more and are replaced",
                    extra={"connections": len(lost)},
                )
                await pool.expire_connections()  # the idle ones have most likely frozen too
                self._end([connection for connection, exchange in self._borrowed.items() if exchange in lost])
                for exchange in lost:
                    if (limit := self._connecting.pop(exchange, None)) is not None:
                        limit.reschedule(0)

    async def _watch_from(self) -> asyncpg.Connection[Any]:
        return await connect(await self._locate(), statement_cache_size=0, server_settings=_WATCHING)

    async def run(
        self, work: Callable[[Connection, bool], Awaitable[Result]], *, patience: float | None = None
    ) -> Result:
        """Do `work(connection, again)` until it succeeds; `again` says that an earlier try has an unknown
        outcome.

        Deadlocks are retried at once, outages with growing pauses for `patience` seconds. Raises
        DatabaseUnavailable when that is used up, and Conflict. A work that must not be repeated looks at
        `again`.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + (self._patience if patience is None else patience)
        again = False
        pause = 0.05
        deadlocks = 0
        while True:
            try:
                async with self.connection() as connection:
                    if sync_points.hook is not None:
                        await sync_points.hook(SyncPoint.TRY_BEGUN)
                    result = await work(connection, again)
                    if sync_points.hook is not None:
                        await sync_points.hook(SyncPoint.TRY_DONE)
                    return result
            except TRY_AGAIN:
                deadlocks += 1
                if deadlocks > 20:
                    raise
                await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311 - spreads the contenders, no secret
            except DatabaseUnavailable:
                again = True
                if self._pool is None:
                    raise
                if loop.time() + pause > give_up_at:
                    raise
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 2, 1.0)

    def _located_nowhere(self, error: DatabaseUnavailable) -> DatabaseUnavailable:
        self.errors.outage += 1
        return self._outage(str(error))

    def _unavailable(self, error: BaseException) -> DatabaseUnavailable:
        self.errors.outage += 1
        return self._outage(f"the database could not be reached ({type(error).__name__}); try again")

    async def _connect(self, *_: Any, **options: Any) -> asyncpg.Connection[Any]:
        dsn = await self._locate()
        exchange = Exchange()
        exchange.backend, exchange.since = frozen.CONNECTING, monotonic()
        async with asyncio.timeout(None) as self._connecting[exchange]:
            try:
                connection = await connect(dsn, **options)
            finally:
                self._connecting.pop(exchange, None)
        tracing.watch(connection)
        return connection


async def _keep_state(_: asyncpg.Connection[Any]) -> None:
    # No statement here leaves session state behind, so the driver's reset query on every release would be a
    # wasted round trip.
    return
