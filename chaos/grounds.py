"""The database that is put under fire: the harness's own PostgreSQL, which proves to be its own before every fault."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from agent_messaging_db import embedded, migrate
from agent_messaging_db.embedded.layout import layout_of

_SECONDS = 60
"""What a start, a recovery included, may take."""


class NotOurs(Exception):
    """The database that answers is not the one that was made for this run: nothing was done to it."""


@dataclass
class Ground:
    """One PostgreSQL in a directory of its own, listening on a socket in it, and one database with a random name."""

    directory: Path
    dsn: str
    cookie: str
    server: embedded.EmbeddedServer
    name: str
    restarts: int = field(default=0, init=False)

    @property
    def data(self) -> Path:
        """PostgreSQL's own data directory."""
        return layout_of(self.directory).data

    async def connect(self, **options: Any) -> asyncpg.Connection[Any]:
        """A connection for the harness, proven to lead to the database of this run. Raises NotOurs."""
        settings = {"application_name": "chaos harness"}
        connection = await asyncpg.connect(
            self.dsn, timeout=10, command_timeout=20, server_settings=settings, **options
        )
        try:
            await self.prove(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[asyncpg.Connection[Any]]:
        """The same, closed at the end of the block."""
        connection = await self.connect()
        try:
            yield connection
        finally:
            connection.terminate()

    async def prove(self, connection: asyncpg.Connection[Any]) -> None:
        """Raise NotOurs unless the connection leads to our data directory and to the database with our cookie."""
        # It names its directory as it was told to, relative to itself perhaps; what it reads there tells.
        there: str = await connection.fetchval("SELECT pg_read_file('postmaster.pid')")
        if there.splitlines()[:3] != (self.data / "postmaster.pid").read_text().splitlines()[:3]:
            raise NotOurs(f"its data directory is not {self.data}")
        known = await connection.fetchval("SELECT to_regclass('chaos_cookie') IS NOT NULL")
        if not known or await connection.fetchval("SELECT cookie FROM chaos_cookie") != self.cookie:
            raise NotOurs(f"the database {self.name} does not hold the cookie of this run")

    async def restart(self) -> float:
        """Shut PostgreSQL down as a crash does (`immediate`) and start it again; gives how long it was away.

        Raises NotOurs, and TimeoutError if it does not end.
        """
        async with self.connection():
            postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        began = time.monotonic()
        os.kill(postmaster, signal.SIGQUIT)
        async with asyncio.timeout(_SECONDS):
            while _runs(postmaster):  # noqa: ASYNC110 - another's child has no event to set
                await asyncio.sleep(0.02)
        self.restarts += 1
        former, self.server = self.server, await embedded.ensure(self.directory, linger=0, timeout=_SECONDS)
        former.release()
        return time.monotonic() - began

    def close(self) -> None:
        """Stop PostgreSQL."""
        self.server.release()
        embedded.stop(self.directory)


@asynccontextmanager
async def ground() -> AsyncGenerator[Ground]:
    """A migrated, empty database for as long as the block runs; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="agent-messaging-chaos-") as made:
        directory = Path(made, "postgres")
        server = await embedded.ensure(directory, linger=0, timeout=_SECONDS)
        name, cookie = f"chaos_{secrets.token_hex(6)}", secrets.token_hex(16)
        ours = Ground(directory, _address(server.dsn, name), cookie, server, name)
        try:
            await _prepare(server.dsn, ours)
            yield ours
        finally:
            await asyncio.to_thread(ours.close)


async def _prepare(server_dsn: str, ours: Ground) -> None:
    connection = await asyncpg.connect(server_dsn, timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {ours.name}")
    finally:
        await connection.close()
    connection = await asyncpg.connect(ours.dsn, timeout=10)
    try:
        await connection.execute("CREATE TABLE public.chaos_cookie (cookie text NOT NULL)")
        await connection.execute("INSERT INTO chaos_cookie VALUES ($1)", ours.cookie)
        await migrate.migrate(connection)
        await ours.prove(connection)
    finally:
        await connection.close()


def _address(server_dsn: str, database: str) -> str:
    url = urlsplit(server_dsn)
    return f"{url.scheme}://{url.netloc}/{database}" + (f"?{url.query}" if url.query else "")


def _runs(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return not Path(f"/proc/{pid}/stat").exists() or _state(pid) != "Z"
    return False


def _state(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"
