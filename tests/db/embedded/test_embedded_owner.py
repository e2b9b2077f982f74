"""What the owner of an embedded database does to it by hand."""

# Nothing else runs on the event loop of these tests.
# ruff: noqa: ASYNC221, ASYNC240

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
from pathlib import Path

import asyncpg
import pytest

from agent_messaging_db import embedded
from agent_messaging_db.embedded import EmbeddedDatabaseError, ServerState, binaries
from agent_messaging_db.embedded.layout import Layout
from agent_messaging_db.embedded.locks import Mode, try_lock
from tests.db.embedded.clients import (
    PATIENCE,
    ask,
    join,
    pid_of,
    until,
    write,
)


async def test_its_owner_can_stop_it_and_a_client_that_goes_on_starts_it_again(data_dir: Path) -> None:
    server = await join(data_dir)
    connection = await asyncpg.connect(server.dsn)
    await asyncio.to_thread(embedded.stop, data_dir)
    assert embedded.status(data_dir).state is ServerState.STOPPED
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()
    again = await join(data_dir)
    assert await ask(again.dsn, "SELECT 1") == 1


def test_asking_about_a_server_or_stopping_it_makes_nothing(tmp_path: Path) -> None:
    assert embedded.status(tmp_path / "none").state is ServerState.NEVER_STARTED
    embedded.stop(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def start_by_hand(data_dir: Path) -> None:
    """Start the server as its owner might, without any of our locks."""
    data = data_dir / "18" / "data"
    account = binaries.server_account(data)
    command = [binaries.programs_for(account) / "pg_ctl", "start", "--silent", "-D", binaries.here(account)]
    log = os.open(data_dir / "by-hand.log", os.O_WRONLY | os.O_CREAT)
    try:
        assert binaries.run(command, cwd=data, account=account, timeout=PATIENCE, log=log).returncode == 0
    finally:
        os.close(log)


async def test_a_server_that_was_started_by_hand_is_joined(data_dir: Path) -> None:
    start_by_hand(data_dir)
    pid = pid_of(data_dir)
    server = await join(data_dir)
    assert await ask(server.dsn, "SELECT 1") == 1
    assert pid_of(data_dir) == pid


async def test_a_server_that_does_not_answer_is_neither_replaced_nor_killed(data_dir: Path) -> None:
    start_by_hand(data_dir)
    pid = pid_of(data_dir)
    # With nobody there, it would be stopped as soon as it answers again.
    present = try_lock(Layout(data_dir).clients_lock, Mode.SHARED)
    assert present is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedDatabaseError, match="is not answering"):
            await join(data_dir, timeout=1)
        assert embedded.status(data_dir).state is ServerState.NOT_ANSWERING
    finally:
        os.kill(pid, signal.SIGCONT)
    try:
        await until(lambda: embedded.status(data_dir).state is ServerState.RUNNING)
        assert pid_of(data_dir) == pid
    finally:
        present.close()


async def test_a_backup_can_be_restored(data_dir: Path, tmp_path: Path) -> None:
    server = await join(data_dir)
    await write(server.dsn, 7)
    file = tmp_path / "a backup"
    await embedded.backup(data_dir, file)
    await ask(server.dsn, "DROP TABLE kept")
    restore = [binaries.locate() / "pg_restore", f"--dbname={server.dsn}", file]
    subprocess.run(restore, check=True, timeout=PATIENCE)
    assert await ask(server.dsn, "SELECT value FROM kept") == 7
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(EmbeddedDatabaseError, match="back up"):
        await embedded.backup(data_dir, tmp_path / "missing" / "backup")
    assert [path.name for path in tmp_path.iterdir()] in (["a backup", "agents"], ["agents", "a backup"])


async def test_a_backup_takes_the_place_of_no_device_directory_or_link(data_dir: Path, tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    for taken in (pipe, tmp_path):
        with pytest.raises(EmbeddedDatabaseError, match="a backup is a file"):
            await embedded.backup(data_dir, taken)
    assert pipe.is_fifo()
    link.symlink_to(file)
    await embedded.backup(data_dir, link)
    assert link.is_symlink()
    assert file.read_bytes().startswith(b"PGDMP")
