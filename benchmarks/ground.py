"""Where everything is measured: a PostgreSQL of the run's own, and how much of each measurement is wanted."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from agent_messaging import AgentMessaging, Config
from agent_messaging_db import embedded, migrate
from benchmarks.figures import Figure
from benchmarks.floor import SCHEMA

Round: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Scale:
    """How much is done: `part` of the usual number of calls, `crowd` callers where the table says 1,000, `waits`
    blocked agents, `messages` in the large database and `inbox` in the large inbox, `clients` blocked over MCP.
    """

    part: float = 1.0
    crowd: int = 1_000
    waits: int = 1_000
    messages: int = 200_000
    inbox: int = 100_000
    clients: int = 200

    def calls(self, usual: int) -> int:
        return max(int(usual * self.part), 2)


USUAL = Scale()
LARGE = Scale(waits=10_000, messages=5_000_000)
SMALLEST = Scale(part=0.02, crowd=20, waits=20, messages=20_000, inbox=3_000, clients=2)


@dataclass(frozen=True)
class Ground:
    """The database of the run. A family puts its figures into `figures` and does one round at a time."""

    dsn: str
    directory: Path
    scale: Scale
    figures: list[Figure]

    def figure(
        self,
        number: str,
        what: str,
        unit: str,
        reach: float | None = None,
        *,
        least: bool = False,
        absolute: bool = False,
    ) -> Figure:
        figure = Figure(number, what, unit, reach, least=least, absolute=absolute)
        self.figures.append(figure)
        return figure

    async def database(self, name: str) -> str:
        """A further database of the same server, with the tables of the product; gives its address."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()
        parts = urlsplit(self.dsn)
        dsn = urlunsplit(parts._replace(path=f"/{name}"))
        await prepare(dsn)
        return dsn


Family: TypeAlias = Callable[[Ground], AbstractAsyncContextManager[Round]]


@asynccontextmanager
async def ground(scale: Scale) -> AsyncGenerator[Ground]:
    """A server that lives as long as the run, with durable commits as any other."""
    with tempfile.TemporaryDirectory(prefix="agent-messaging-bench-") as directory:
        server = await embedded.ensure(Path(directory), linger=0)
        try:
            await prepare(server.dsn)
            connection = await asyncpg.connect(server.dsn)
            await connection.execute(SCHEMA)
            await connection.close()
            yield Ground(server.dsn, Path(directory), scale, [])
        finally:
            server.release()
            embedded.stop(Path(directory))


async def prepare(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await migrate.migrate(connection)
    finally:
        await connection.close()


def opened(dsn: str, **settings: Any) -> AgentMessaging[Any]:
    """The product on this database; to be entered."""
    return AgentMessaging[Any](Config(database_url=dsn, max_unread=10_000_000, **settings))  # pyright: ignore[reportArgumentType]
