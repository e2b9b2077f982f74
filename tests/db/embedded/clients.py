"""Processes that use an embedded database, and this process as one of them."""

from __future__ import annotations

import asyncio
import pwd
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg

from agent_messaging_db import embedded
from agent_messaging_db.embedded import EmbeddedServer, ServerState, reaper

LINGER = 0.05  # seconds
"""How long the server of a test stays without clients."""
PATIENCE = 90.0  # seconds

# A client process: joins, tells that it has, and stays until its standard input ends.
CLIENT = """
import asyncio, sys
from pathlib import Path
from agent_messaging_db import embedded
server = asyncio.run(embedded.ensure(Path(sys.argv[1]), linger=float(sys.argv[2])))
print(server.dsn, flush=True)
sys.stdin.read()
"""


class Clients:
    """Client processes, all of them ended with the test."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []

    def start(
        self,
        data_dir: Path,
        *,
        command: tuple[str, ...] = (),
        user: str | None = None,
        file_size_limit: int | None = None,
    ) -> subprocess.Popen[str]:
        def limit() -> None:
            if file_size_limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))

        process = subprocess.Popen(
            command or (sys.executable, "-c", CLIENT, str(data_dir), str(LINGER)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            preexec_fn=limit,
        )
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


_joined: list[EmbeddedServer] = []


async def join(path: Path, *, linger: float = LINGER, timeout: float = 60.0) -> EmbeddedServer:
    """Join as this process; the share ends with the test at the latest."""
    server = await embedded.ensure(path, linger=linger, timeout=timeout)
    _joined.append(server)
    return server


async def end(path: Path) -> None:
    """Stop what runs on `path`, and wait until nothing of it is left, the reaper included."""
    while _joined:
        _joined.pop().release()
    if (path / "18").exists():
        await asyncio.to_thread(embedded.stop, path)
        await until(lambda: reaper.is_free(str(path / "reaper.lock")))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_stopped(path: Path) -> None:
    await until(lambda: embedded.status(path).state is ServerState.STOPPED)


def pid_of(path: Path) -> int:
    found = embedded.status(path)
    assert found.state is ServerState.RUNNING
    assert found.pid is not None
    return found.pid


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def ask(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=PATIENCE)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def write(dsn: str, value: int) -> None:
    connection = await asyncpg.connect(dsn, timeout=PATIENCE)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        await connection.execute("INSERT INTO kept VALUES ($1)", value)
    finally:
        await connection.close()
