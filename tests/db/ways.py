"""The ways that wake-ups take, for tests that hold on each of them: PostgreSQL, and a NATS server of their own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg

from agent_messaging_db import presence
from agent_messaging_db.carrier import Carrier
from agent_messaging_db.nats_wakeups import NatsWakeups, subject_of
from agent_messaging_db.pool import Database
from agent_messaging_db.wakeups import CHANNEL, PostgresWakeups
from chaos.proxy import Proxy, proxied
from tests.bus import Bus, Relay, relayed
from tests.conftest import connect, execute

BOUND = 60.0


def topic(letter: str, number: int) -> str:
    """A topic as they are: a letter and an id."""
    return f"{letter}{UUID(int=number).hex}"


class Process:
    """One process's wake-ups, and what came of them."""

    def __init__(self, wakeups: Carrier) -> None:
        self.wakeups = wakeups
        self.topics: list[str] = []
        self.resets = 0
        self.changed = asyncio.Event()

    def heard(self, topics: Iterable[str]) -> None:
        self.topics += topics
        self.changed.set()

    def reset(self) -> None:
        self.resets += 1
        self.changed.set()

    async def until_topics(self, count: int) -> None:
        async with asyncio.timeout(BOUND):
            while len(self.topics) < count:
                self.changed.clear()
                await self.changed.wait()

    async def until_resets(self, count: int) -> None:
        async with asyncio.timeout(BOUND):
            while self.resets < count:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def started(wakeups: Carrier) -> AsyncGenerator[Process]:
    process = Process(wakeups)
    await wakeups.start(heard=process.heard, reset=process.reset)
    try:
        yield process
    finally:
        await wakeups.close()


class Way(ABC):
    """One way, and what can happen to it."""

    @abstractmethod
    @asynccontextmanager
    def process(self, by: Any = None) -> AsyncGenerator[Process]:
        """A process; `by` is a relay between it and what carries its wake-ups."""

    @abstractmethod
    @asynccontextmanager
    def relay(self) -> AsyncGenerator[Proxy | Relay]:
        """Something between a process and what carries its wake-ups, which can freeze."""

    @abstractmethod
    async def end_connections(self) -> None:
        """The server ends the connections of all who listen."""

    @abstractmethod
    @asynccontextmanager
    def overheard(self, payloads: list[str]) -> AsyncGenerator[None]:
        """Collects what travels."""

    @abstractmethod
    @asynccontextmanager
    def without_sending(self, process: Process) -> AsyncGenerator[None]:
        """Within it there is no way to the others."""

    @abstractmethod
    @asynccontextmanager
    def carrier(self, kind: type[Carrier] | None = None) -> AsyncGenerator[Carrier]:
        """Wake-ups that nobody has started."""


class ByPostgres(Way):
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._databases: dict[Carrier, Database] = {}

    @asynccontextmanager
    async def carrier(self, kind: type[Carrier] | None = None, listen: str = "") -> AsyncGenerator[Carrier]:
        database = Database(lambda: located(self._dsn), max_size=2, patience=1)
        await database.open()
        process = uuid4()
        # As every process, it is in the registry before it listens.
        async with database.connection() as connection:
            await presence.renew_lease(connection, process=process, seconds=600)
        wakeups = (kind or PostgresWakeups)(database, lambda: located(listen or self._dsn), process=process)  # type: ignore[call-arg]
        self._databases[wakeups] = database
        try:
            yield wakeups
        finally:
            await database.close()

    @asynccontextmanager
    async def process(self, by: Proxy | None = None) -> AsyncGenerator[Process]:
        async with self.carrier(listen=by.dsn if by else "") as wakeups, started(wakeups) as process:
            yield process

    def relay(self) -> Any:
        return proxied(self._dsn)

    async def end_connections(self) -> None:
        await execute(
            self._dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'agent-messaging listener' AND datname = current_database()",
        )

    @asynccontextmanager
    async def overheard(self, payloads: list[str]) -> AsyncGenerator[None]:
        async with connect(self._dsn) as listener:
            await listener.add_listener(CHANNEL, lambda *arguments: payloads.append(str(arguments[-1])))
            yield
            await listener.fetchval("SELECT 1")

    @asynccontextmanager
    async def without_sending(self, process: Process) -> AsyncGenerator[None]:
        database = self._databases[process.wakeups]
        await database.close()
        yield
        await database.open()


class ByNats(Way):
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.installation = uuid4()

    @asynccontextmanager
    async def carrier(self, kind: type[Carrier] | None = None, url: str = "") -> AsyncGenerator[Carrier]:
        yield (kind or NatsWakeups)(url or self._bus.url, installation=self.installation, process=uuid4())  # type: ignore[call-arg]

    @asynccontextmanager
    async def process(self, by: Relay | None = None) -> AsyncGenerator[Process]:
        async with self.carrier(url=by.url if by else "") as wakeups, started(wakeups) as process:
            yield process

    def relay(self) -> Any:
        return relayed(self._bus.port)

    async def end_connections(self) -> None:
        self._bus.stop()
        self._bus.start()

    @asynccontextmanager
    async def overheard(self, payloads: list[str]) -> AsyncGenerator[None]:
        async def take(message: Msg) -> None:
            payloads.append(message.data.decode())

        client = Client()
        await client.connect(self._bus.url)
        await client.subscribe(subject_of(self.installation), cb=take)
        await client.flush()
        yield
        await client.drain()

    @asynccontextmanager
    async def without_sending(self, process: Process) -> AsyncGenerator[None]:
        self._bus.stop()
        yield
        self._bus.start()


async def located(dsn: str) -> str:
    return dsn
