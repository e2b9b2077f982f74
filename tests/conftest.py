"""One private PostgreSQL per test run, and a database of its own for each test that asks for one.

`AGENT_MESSAGING_TEST_DATABASE_URL` runs the suite on another PostgreSQL (14 or later); its role must be
allowed to create databases. Fixtures hand out addresses, never open clients: pytest-asyncio tears a fixture
down in another task than it set it up in, which no task group survives.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from agent_messaging_db import embedded, migrate
from agent_messaging_db.embedded import layout, reaper

EXTERNAL_SERVER = os.environ.get("AGENT_MESSAGING_TEST_DATABASE_URL")
SERVER_DIRECTORY = "server"
MEMORY = "/dev/shm"  # noqa: S108 - the run makes a directory of its own in it
ROOM = 4 * 2**30
# Written file by file instead of page by page into the log; servers before 15 know no other way.
COPIED = "" if EXTERNAL_SERVER else " STRATEGY file_copy"

_numbers = itertools.count(1)
_made_here = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give the run a directory of its own, the parent of every `tmp_path`; `--basetemp` names one to keep."""
    if config.option.basetemp is None:  # a worker of pytest-xdist is given a directory inside the run's
        config.stash[_made_here] = Path(place(), f"agent-messaging-tests-{os.urandom(4).hex()}")
        config.option.basetemp = config.stash[_made_here]


def place() -> str:
    """Where the directory of a run is made: in memory where Linux lends enough of it, as a database is some 340 files,
    which some disks take half a second to make; else, or where TMPDIR says so, where temporary files belong.
    """
    if "TMPDIR" not in os.environ and Path(MEMORY).is_dir():
        lent = os.statvfs(MEMORY)
        if lent.f_bavail * lent.f_frsize >= ROOM and not lent.f_flag & os.ST_NOEXEC and os.access(MEMORY, os.W_OK):
            return MEMORY
    return tempfile.gettempdir()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no process and no file behind."""
    if hasattr(config, "workerinput"):
        return
    server_directory = Path(config.option.basetemp, SERVER_DIRECTORY)
    if server_directory.exists():
        embedded.stop(server_directory)
        last_process = str(layout.layout_of(server_directory).reaper_lock)
        ends_at = time.monotonic() + 20
        while not reaper.is_free(last_process) and time.monotonic() < ends_at:
            time.sleep(0.01)
    if (directory := config.stash.get(_made_here, None)) and directory.exists():
        shutil.rmtree(directory)


def dsn_of(server: str, database: str) -> str:
    """The address of another database of the same server."""
    url = urlsplit(server)
    return f"{url.scheme}://{url.netloc}/{database}" + (f"?{url.query}" if url.query else "")


@asynccontextmanager
async def connect(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn, timeout=90, command_timeout=90)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(dsn: str, *statements: str) -> None:
    async with connect(dsn) as connection:
        for statement in statements:
            await connection.execute(statement)


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server of this run, on which a test may create databases."""
    if EXTERNAL_SERVER:
        yield EXTERNAL_SERVER
        return
    directory = tmp_path_factory.getbasetemp()
    if hasattr(pytestconfig, "workerinput"):
        directory = directory.parent
    held = asyncio.run(embedded.ensure(directory / SERVER_DIRECTORY, linger=0))
    try:
        # Only a crash of the machine needs it, and no test has one.
        asyncio.run(execute(held.dsn, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))
        yield held.dsn
    finally:
        held.release()


@pytest.fixture(scope="session")
def database_prefix() -> str:
    """What the names of this process's databases begin with, unlike those of any other run on the server."""
    return f"agent_messaging_test_{os.getpid()}_{os.urandom(3).hex()}"


@pytest.fixture(scope="session")
def template(server: str, database_prefix: str) -> Iterator[str]:
    """The name of a migrated, empty database that nothing ever connects to again."""
    name = f"{database_prefix}_template"

    async def create() -> None:
        await execute(server, f"CREATE DATABASE {name}")
        async with connect(dsn_of(server, name)) as connection:
            await migrate.migrate(connection)

    asyncio.run(create())
    yield name
    asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def dsn(server: str, template: str, database_prefix: str) -> AsyncIterator[str]:
    """The address of a migrated, empty database, dropped after the test whoever is still connected."""
    name = f"{database_prefix}_{next(_numbers)}"
    await execute(server, f"CREATE DATABASE {name} TEMPLATE {template}{COPIED}")
    yield dsn_of(server, name)
    await execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def module_dsn(server: str, template: str, database_prefix: str) -> Iterator[str]:
    """The address of a database that the tests of a module share, migrated and empty for the first of them."""
    name = f"{database_prefix}_{next(_numbers)}"
    asyncio.run(execute(server, f"CREATE DATABASE {name} TEMPLATE {template}{COPIED}"))
    yield dsn_of(server, name)
    asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def empty_dsn(server: str, database_prefix: str) -> AsyncIterator[str]:
    """The address of a database without a single table, dropped after the test."""
    name = f"{database_prefix}_{next(_numbers)}"
    await execute(server, f"CREATE DATABASE {name}{COPIED}")
    yield dsn_of(server, name)
    await execute(server, f"DROP DATABASE {name} WITH (FORCE)")
