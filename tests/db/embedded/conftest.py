"""Directories for embedded databases, in which nothing runs after the test."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.db.embedded.clients import (
    Clients,
    end,
    join,
)


@pytest.fixture
def clients() -> Iterator[Clients]:
    started = Clients()
    yield started
    started.end()


@pytest.fixture
async def new_dir(tmp_path: Path, clients: Clients) -> AsyncIterator[Path]:
    """A directory that does not exist yet; whatever runs on it afterwards is stopped."""
    path = tmp_path / "agents"
    yield path
    clients.end()
    await end(path)


@pytest.fixture(scope="session")
def stopped_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that was started once: making one takes most of a first start's time."""
    path = tmp_path_factory.mktemp("stopped") / "agents"

    async def make() -> None:
        await join(path)
        await end(path)

    asyncio.run(make())
    return path


@pytest.fixture
def data_dir(new_dir: Path, stopped_database: Path) -> Path:
    """The directory of a database that does not run; whatever runs on it afterwards is stopped."""
    subprocess.run(["cp", "-a", stopped_database, new_dir], check=True)
    return new_dir
