"""One server for all clients of a directory: it comes with the first, goes after the last, survives their deaths."""

# Nothing else runs on the event loop of these tests.
# ruff: noqa: ASYNC220, ASYNC240

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from agent_messaging_db import embedded
from agent_messaging_db.embedded import ServerState, reaper
from tests.db.embedded.clients import (
    LINGER,
    Clients,
    ask,
    join,
    line_of,
    pid_of,
    until,
    until_stopped,
    write,
)


async def test_a_second_client_joins_the_server_of_the_first(new_dir: Path) -> None:
    first = await join(new_dir)
    pid = pid_of(new_dir)
    second = await join(new_dir)
    assert second.dsn == first.dsn
    assert pid_of(new_dir) == pid
    assert second.data_dir == new_dir.resolve()
    assert await ask(second.dsn, "SELECT current_database()") == "agent_messaging"


async def test_it_is_durable_reachable_from_this_machine_only_and_speaks_utf8(data_dir: Path) -> None:
    server = await join(data_dir)
    expected = {
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "max_connections": "200",
        "server_encoding": "UTF8",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
    }
    for name, value in expected.items():
        assert await ask(server.dsn, f"SHOW {name}") == value, name
    assert await ask(server.dsn, "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules") == ["peer"]
    assert stat.S_IMODE((data_dir / "18" / "data").stat().st_mode) == 0o700


async def test_the_server_stays_for_the_second_client_and_stops_after_the_last(data_dir: Path) -> None:
    first = await join(data_dir)
    second = await join(data_dir)
    first.release()
    first.release()
    await asyncio.sleep(4 * LINGER)
    assert await ask(second.dsn, "SELECT 1") == 1
    second.release()
    await until_stopped(data_dir)


async def test_the_server_stops_when_its_last_client_is_killed(data_dir: Path, clients: Clients) -> None:
    client = clients.start(data_dir)
    await write(line_of(client), 1)
    assert pid_of(data_dir)
    client.kill()
    await until_stopped(data_dir)
    server = await join(data_dir)
    assert await ask(server.dsn, "SELECT value FROM kept") == 1


async def test_a_program_run_by_a_client_does_not_keep_the_server(data_dir: Path, clients: Clients) -> None:
    server = await join(data_dir)
    bystander = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        server.release()
        await until_stopped(data_dir)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_killed_server_comes_back_with_its_data(data_dir: Path) -> None:
    server = await join(data_dir)
    for value in range(3):
        await write(server.dsn, value)
        os.kill(pid_of(data_dir), signal.SIGKILL)
        server = await join(data_dir)
        assert await ask(server.dsn, "SELECT max(value) FROM kept") == value


async def test_a_stale_pid_never_gets_a_signal(data_dir: Path) -> None:
    server = await join(data_dir)
    await write(server.dsn, 1)
    pid_file = data_dir / "18" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    owner = pid_file.stat()
    os.kill(pid_of(data_dir), signal.SIGKILL)
    await until_stopped(data_dir)
    # Of the same account as the server: PostgreSQL itself would take it for one.
    unrelated = subprocess.Popen(["sleep", "60"], user=owner.st_uid)
    try:
        pid_file.write_text("\n".join([str(unrelated.pid), *lines[1:]]) + "\n")
        embedded.stop(data_dir)
        server = await join(data_dir)
        assert await ask(server.dsn, "SELECT value FROM kept") == 1
        assert pid_of(data_dir) != unrelated.pid
        server.release()
        embedded.stop(data_dir)
        assert embedded.status(data_dir).state is ServerState.STOPPED
        assert unrelated.poll() is None
    finally:
        unrelated.kill()
        unrelated.wait()


async def test_arrivals_while_the_server_is_being_stopped_get_a_server(data_dir: Path) -> None:
    found_another = 0
    # Early and late, and ever later until one has come too late for the server that was there.
    for milliseconds in itertools.chain(range(0, 40, 5), (40 * 2**doubled for doubled in range(8))):
        if found_another and milliseconds >= 40:
            break
        first = await join(data_dir, linger=0)
        before = pid_of(data_dir)
        first.release()
        # From here on the reaper is at work.
        await asyncio.sleep(milliseconds / 1000)
        second = await join(data_dir, linger=0)
        assert await ask(second.dsn, "SELECT 1") == 1
        found_another += pid_of(data_dir) != before
        second.release()
        await until_stopped(data_dir)
    assert found_another


async def test_a_killed_reaper_is_replaced_by_the_next_client(data_dir: Path) -> None:
    first = await join(data_dir)
    [pid] = reapers_of(data_dir)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: reaper.is_free(str(data_dir / "reaper.lock")))
    second = await join(data_dir)
    first.release()
    second.release()
    await until_stopped(data_dir)


def reapers_of(data_dir: Path) -> list[int]:
    wanted = f"reaper.py {data_dir / '18'} "
    if (processes := Path("/proc")).is_dir():
        lines: list[str] = []
        for process in processes.glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                lines.append(f"{process.parent.name} {process.read_text().replace(chr(0), ' ')}")
    else:
        listing = subprocess.run(["ps", "-axwwo", "pid=,command="], capture_output=True, text=True, check=True)
        lines = listing.stdout.splitlines()
    return [int(line.split()[0]) for line in lines if wanted in line]


async def test_a_share_that_is_ready_when_its_taker_leaves_is_given_up(data_dir: Path) -> None:
    task = asyncio.create_task(embedded.ensure(data_dir, linger=LINGER))
    await until(lambda: not reaper.is_free(str(data_dir / "start.lock")))
    # The thread gets ready, and the loop, which is blocked, does not learn it.
    for _ in range(1000):
        if embedded.status(data_dir).state is ServerState.RUNNING:
            break
        time.sleep(0.01)  # noqa: ASYNC251
    time.sleep(0.3)  # noqa: ASYNC251
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_stopped(data_dir)
