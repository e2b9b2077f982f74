"""The harness does nothing to a database that does not prove to be its own; processes it knows by their id."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from pathlib import Path

import pytest

from chaos.grounds import NotOurs, ground
from chaos.processes import Process

LOOP = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nwhile True: time.sleep(0.01)"


async def test_a_fault_needs_a_database_that_proves_to_be_of_this_run(tmp_path: Path) -> None:
    async with ground() as ours:
        async with ours.connection() as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
            started = await connection.fetchval("SELECT pg_postmaster_start_time()")

        stranger = dataclasses.replace(ours, cookie="another")
        with pytest.raises(NotOurs):
            await stranger.restart()
        elsewhere = dataclasses.replace(ours, directory=tmp_path / "elsewhere")
        elsewhere.data.mkdir(parents=True)
        (elsewhere.data / "postmaster.pid").write_text("1\n/elsewhere\n0\n")
        with pytest.raises(NotOurs):
            await elsewhere.restart()
        async with ours.connection() as connection:
            assert await connection.fetchval("SELECT pg_postmaster_start_time()") == started

        await ours.restart()
        assert ours.restarts == 1
        async with ours.connection() as connection:
            assert await connection.fetchval("SELECT pg_postmaster_start_time()") > started
            assert await connection.fetchval("SELECT one FROM kept") == 1
    assert not ours.directory.exists()


def state_of(process: Process) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_process_is_frozen_thawed_and_ended_by_its_id(tmp_path: Path) -> None:
    process = Process("loop", (sys.executable, "-c", LOOP), {}, tmp_path / "log")
    await process.start()
    try:
        process.freeze()
        async with asyncio.timeout(30):
            while state_of(process) != "T":  # noqa: ASYNC110 - the kernel says so nowhere else
                await asyncio.sleep(0.01)
        process.send(signal.SIGTERM)
        assert not await process.ended(within=0.2), "it is frozen"
        process.thaw()
        assert await process.ended(within=30)
        assert process.code in (7, -signal.SIGTERM)  # it may not have come to its handler

        await process.start()
        drain = await process.terminate(within=30)
        assert 0 <= drain.own <= drain.seconds < 30
        await process.start()
        assert process.lives == 3
    finally:
        await process.kill()
    assert not process.is_running
