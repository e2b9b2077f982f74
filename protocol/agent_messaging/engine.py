"""What the services of one SDK object share: its database, its waits, its writes, and the names of agents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from agent_messaging import tracing
from agent_messaging.clock import Clock
from agent_messaging.config import Config
from agent_messaging.content import Codec
from agent_messaging.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    InvalidArgumentError,
    NotInitializedError,
)
from agent_messaging.lease import Lease
from agent_messaging.measures import Counts, Measures
from agent_messaging.names import Names
from agent_messaging.outbox import Outbox, Takers
from agent_messaging.presence import Presence
from agent_messaging.room import Room
from agent_messaging.waiting import Waiting, Window
from agent_messaging_db import inbox, meetings, presence, server, sync_points
from agent_messaging_db.carrier import Carrier
from agent_messaging_db.conversations import Limits, OutcomeRow
from agent_messaging_db.errors import AddressError, DatabaseUnavailable, SchemaError
from agent_messaging_db.ids import new_id
from agent_messaging_db.migrate import check, migrate
from agent_messaging_db.pool import Connection, Database
from agent_messaging_db.rows import IdentityRow
from agent_messaging_db.sync_points import SyncPoint
from agent_messaging_db.wakeups import PostgresWakeups

M = TypeVar("M")
Result = TypeVar("Result")

DRAIN = 3.0  # seconds for waits to return when the SDK closes
HEARD = 60.0  # seconds for which what an agent was shown counts as the cause of what it sends
TOTAL = 10  # how many times its budget a pair may exchange, questions and answers included
OLDEST_SERVER = 14
FOR_EVER = 1e9  # seconds, and some integers are larger than any float

logger = logging.getLogger("agent_messaging")


class Engine(Generic[M]):
    """The running part of one SDK object; open between `open` and `close`.

    `before_calls` are done at the start of each call of a service (registrations that are to be written). `takers` are
    the handlers of this process, and `hears_settled` is told of each question that this process settles.
    """

    def __init__(self, config: Config, message_type: object | None) -> None:
        self.config = config
        self.process = new_id()
        self.codec: Codec[M] = Codec(message_type, max_bytes=config.max_message_bytes)
        self.before_calls: list[Callable[[], Awaitable[None]]] = []
        self.takers: Takers | None = None
        self.hears_settled: Callable[[OutcomeRow], None] | None = None
        self._address = _Address(config)
        self.database = Database(
            self._address.locate,
            max_size=config.max_pool_size,
            patience=config.database_patience,
            outage=DatabaseUnavailableError,
        )
        self.counts = Counts()
        self.measures = Measures(self.counts, self.database, pool_limit=config.max_pool_size)
        self.clock = Clock()
        self.names = Names(self.database)
        self.room = Room(self.database, limit=config.max_unread)
        self.presence = Presence(self.database, process=self.process)
        self.is_open = False

    async def open(self) -> None:
        """Connect, bring the schema up to date, begin to listen. Raises DatabaseUnavailableError,
        ConfigurationError.
        """
        tracing.look()
        try:
            await self.database.open()
            async with self.database.connection() as connection:
                await _check_server(connection)
                await (migrate(connection) if self.config.auto_migrate else check(connection))
                await self.clock.measure(connection)
                await presence.renew_lease(connection, process=self.process, seconds=self.config.handler_lease)
                wakeups = await self._carrier(connection)
        except (SchemaError, AddressError) as error:
            await self._shut()
            raise ConfigurationError(str(error)) from error
        except BaseException:
            await self._shut()
            raise
        self.wakeups_are_needed = wakeups.is_needed
        self.measures.listen_to(wakeups)
        self.waiting = Waiting(wakeups, self.counts)
        self.outbox = Outbox(
            self.database,
            self.waiting,
            process=self.process,
            counts=self.counts,
            limits=_limits(self.config),
            takers=self.takers,
            settled=self.hears_settled,
        )
        self.lease = Lease(self._address.last, process=self.process, seconds=self.config.handler_lease)
        await self.waiting.start()
        self.lease.start()
        self.is_open = True

    async def _carrier(self, connection: Connection) -> Carrier:
        if (urls := self.config.wakeups_address) is None:
            return PostgresWakeups(self.database, self._address.locate_listener, process=self.process)
        try:
            # Only here: the client is an extra, and nobody pays for it who does not use it.
            from agent_messaging_db.nats_wakeups import NatsWakeups
        except ImportError:
            raise ConfigurationError("WAKEUPS_URL needs the NATS client: pip install 'agent-messaging[nats]'") from None
        return NatsWakeups(urls, installation=await server.installation(connection), process=self.process)

    async def close(self, *, claims_of: Iterable[UUID] = ()) -> None:
        """End the waits, finish the writes, leave the process registry. `claims_of`: agents with a handler
        here.
        """
        self.is_open = False
        if sync_points.hook is not None:
            await sync_points.hook(SyncPoint.CLOSE_BEGUN)
        # What hangs on a connection that carries nothing must not keep the process.
        last = asyncio.get_running_loop().call_later(self.config.database_patience + DRAIN, self.database.terminate)
        try:
            await self._wind_up(claims_of)
        finally:
            last.cancel()
        await self._shut()

    async def _wind_up(self, claims_of: Iterable[UUID]) -> None:
        await self.waiting.close()
        await self.presence.idle(DRAIN)
        with suppress(TimeoutError):  # a database that is away must not keep the process
            async with asyncio.timeout(self.config.database_patience + DRAIN):
                await self.outbox.settled()
        await self.lease.stop()
        with suppress(DatabaseUnavailable):
            async with self.database.connection() as connection:
                await presence.leave(connection, process=self.process, agents=claims_of)

    async def ready(self) -> None:
        """Begin a call; raises NotInitializedError."""
        if not self.is_open:
            raise NotInitializedError(
                "the SDK is not open: use `async with AgentMessaging(...) as sdk`, or call `initialize()` first"
            )
        for before in self.before_calls:
            await before()

    async def read(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run a read, retried over an outage."""

        async def once(connection: Connection, _again: bool) -> Result:
            return await work(connection)

        return await self.database.run(once)

    async def seconds_until(self, moment: datetime) -> float:
        """How long it is until a moment, by the database's clock; 0 if it has passed."""
        now = await self.read(meetings.database_time)
        return max(0.0, (moment - now).total_seconds())

    async def has_unshown_need(
        self, agent: IdentityRow, *, question: UUID | None = None, meeting: UUID | None = None
    ) -> bool:
        """Is there a question, an answer or a turn for the agent that no result has shown it?"""
        async with self.database.connection() as connection:
            return await inbox.has_unshown_need(connection, agent=agent.id, own_question=question, own_meeting=meeting)

    async def _shut(self) -> None:
        await self.database.close()
        self._address.release()


def _limits(config: Config) -> Limits:
    budget = config.exchange_budget or None
    return Limits(
        most_hops=config.max_hops or None,
        heard_seconds=HEARD,
        budget=budget,
        total_budget=None if budget is None else TOTAL * budget,
        window_seconds=config.exchange_window,
    )


async def _check_server(connection: Connection) -> None:
    version, synchronous_commit = await server.about(connection)
    if version < OLDEST_SERVER:
        raise ConfigurationError(f"PostgreSQL {version} is too old: agent-messaging needs {OLDEST_SERVER} or newer")
    if synchronous_commit == "off":
        raise ConfigurationError(
            "synchronous_commit is off in the database, so what it accepts can be lost; turn it on, at least for this "
            "role: ALTER ROLE ... SET synchronous_commit = on"
        )


def window(timeout: float | None, default: float) -> Window:
    """Make the window of a call from its `timeout` in seconds; raises InvalidArgumentError."""
    seconds = default if timeout is None else timeout
    if not isinstance(seconds, int | float) or not seconds >= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(f"timeout is a number of seconds, 0 or more, not {str(seconds)[:40]!r}")
    return Window(float(min(seconds, FOR_EVER)))


def whole(value: object, name: str, *, least: int = 0, most: int = 2**63 - 1) -> int:
    """Give a whole number back; raises InvalidArgumentError if it is none from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidArgumentError(f"{name} is a whole number, {least} or more, not {str(value)[:40]!r}")
    return value


class _Address:
    """Where the database is; brings the embedded one back if it has gone."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._dsn: str | None = config.dsn
        self._embedded: Any = None

    async def locate(self) -> str:
        if (dsn := self._config.dsn) is not None:
            return dsn
        # Only here, so that nobody pays for it who brings a database.
        from agent_messaging_db import embedded

        try:
            server = await embedded.ensure(self._config.data_dir)
        except embedded.EmbeddedDatabaseError as error:
            raise DatabaseUnavailable(str(error)) from error
        if self._embedded is not None:
            self._embedded.release()
        self._embedded = server
        self._dsn = server.dsn
        return server.dsn

    async def locate_listener(self) -> str:
        return self._config.listen_dsn or await self.locate()

    def last(self) -> str:
        """Give the address used last, from any thread."""
        if self._dsn is None:
            raise RuntimeError("the database was never located")
        return self._dsn

    def release(self) -> None:
        if self._embedded is not None:
            self._embedded.release()
            self._embedded = None
