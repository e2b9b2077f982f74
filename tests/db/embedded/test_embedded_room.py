"""A disk that is full, and a log that must not fill it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from agent_messaging_db.embedded import reaper
from tests.db.embedded.clients import (
    PATIENCE,
    Clients,
    ask,
    end,
    join,
    line_of,
)


@dataclass(frozen=True, slots=True)
class Narrow:
    """A place where room runs out, until `widen` gives some back."""

    data_dir: Path
    ballast: Path
    file_size_limit: int | None

    def fill(self, size: int) -> None:
        if self.file_size_limit is None:
            self.ballast.write_bytes(bytes(size))

    def widen(self) -> None:
        self.ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of 80 MB; raises if this account may not mount one."""
    directory = Path(tempfile.mkdtemp(prefix="am-"))
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", directory], capture_output=True, check=True)
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)
    finally:
        directory.rmdir()


def kinds_of_narrow() -> list[str]:
    with contextlib.suppress(OSError, subprocess.CalledProcessError), small_disk():
        return ["small files only", "small disk"]
    return ["small files only"]


@pytest.fixture(params=kinds_of_narrow())
async def narrow(request: pytest.FixtureRequest, new_dir: Path, clients: Clients) -> AsyncIterator[Narrow]:
    if request.param == "small files only":
        yield Narrow(new_dir, new_dir / "ballast", 17 * 1024 * 1024)
        return
    with small_disk() as disk:
        yield Narrow(disk / "agents", disk / "ballast", None)
        clients.end()
        await end(disk / "agents")


async def test_a_first_start_without_room_fails_and_the_next_one_succeeds(narrow: Narrow, clients: Clients) -> None:
    narrow.fill(60 * 1024 * 1024)
    limit = narrow.file_size_limit
    client = clients.start(narrow.data_dir, file_size_limit=limit and limit // 2)
    words, _ = await asyncio.to_thread(client.communicate, timeout=PATIENCE)
    assert client.returncode == 1
    assert "EmbeddedDatabaseError: could not make a database" in words
    assert re.search("File too large" if limit else "No space left on device|Check free disk space", words)
    assert list((narrow.data_dir / "18").glob("data*")) == []
    narrow.widen()
    server = await join(narrow.data_dir)
    assert await ask(server.dsn, "SELECT 1") == 1


async def test_what_was_written_before_room_ran_out_is_kept(narrow: Narrow, clients: Clients) -> None:
    client = clients.start(narrow.data_dir, file_size_limit=narrow.file_size_limit)
    dsn = line_of(client)
    narrow.fill(8 * 1024 * 1024)
    await ask(dsn, "CREATE TABLE filler (number int, text text)")
    written = 0

    async def write_for_ever() -> None:
        nonlocal written
        statement = "INSERT INTO filler SELECT {}, repeat('x', 1000) FROM generate_series(1, 1000)"
        while written < 100:
            await ask(dsn, statement.format(written + 1))
            written += 1

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await write_for_ever()
    assert written > 0
    narrow.widen()
    server = await join(narrow.data_dir)
    assert await ask(server.dsn, "SELECT max(number) FROM filler") == written


async def test_the_log_stays_small_and_keeps_its_end(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_bytes(b"old\n" * 2_000_000 + b"the last words\n")
    reaper.keep_small(str(log))
    assert log.stat().st_size < 1_000_000
    assert log.read_bytes().endswith(b"old\nthe last words\n")
    size = log.stat().st_size
    reaper.keep_small(str(log))
    assert log.stat().st_size == size
