"""Connections of the pool that carry nothing: what is told of them ends, and the listener goes on."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from agent_messaging_db import pool
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.pool import Connection, Database
from agent_messaging_db.wakeups import PostgresWakeups
from chaos.proxy import Proxy, proxied
from chaos.proxy_link import Fault
from tests.conftest import execute
from tests.protocol.world import eventually

BOUND = 20.0
"""Seconds; without more ado, a command waits 30 for its answer."""


def located(dsn: str, patience: float = 10) -> Database:
    async def locate() -> str:
        return dsn

    return Database(locate, max_size=4, patience=patience)


async def withheld(proxy: Proxy) -> bool:
    return proxy.fired[Fault.WITHHELD] > 0


@pytest.mark.requirement("wakeups:frozen")
async def test_a_frozen_pool_does_not_keep_the_listener_from_noticing_that_it_is_lost(dsn: str) -> None:
    resets: asyncio.Queue[None] = asyncio.Queue()

    async def direct() -> str:
        return dsn

    async with proxied(dsn) as proxy:
        database = located(proxy.dsn)
        await database.open()
        wakeups = PostgresWakeups(database, direct, process=uuid4())

        def listening_again() -> None:  # the test of the connection comes next
            proxy.freeze()
            resets.put_nowait(None)

        await wakeups.start(heard=lambda _: None, reset=listening_again)
        await eventually(lambda: withheld(proxy))
        await resets.get()
        async with asyncio.timeout(BOUND):
            while resets.empty():  # it may be killed before it listens for the first time
                await execute(
                    dsn,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'agent-messaging listener' AND datname = current_database()",
                )
                await asyncio.sleep(0.2)
            await wakeups.close()
        database.terminate()


@pytest.mark.requirement("wakeups:frozen")
async def test_a_way_that_freezes_while_the_listener_connects_is_noticed_as_well(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def seven(connection: Connection, _again: bool) -> int:
        return await connection.fetchval("SELECT 7")

    async with proxied(dsn) as proxy, proxied(dsn) as listening:
        database = located(proxy.dsn)
        await database.open()
        monkeypatch.setattr(pool, "CONNECT_TIMEOUT", 1)
        listening.freeze(new=True)
        proxy.freeze()
        hanging = asyncio.create_task(database.run(seven))

        async def locate() -> str:
            return listening.dsn

        wakeups = PostgresWakeups(database, locate, process=uuid4())
        await wakeups.start(heard=lambda _: None, reset=lambda: None)
        async with asyncio.timeout(BOUND):
            assert await hanging == 7
        await wakeups.close()
        await database.close()


@pytest.mark.requirement("outage:frozen")
async def test_in_doubt_what_hangs_is_made_again_elsewhere_and_what_goes_on_is_left_to_finish(dsn: str) -> None:
    tried: list[bool] = []

    async def work(connection: Connection, again: bool) -> int:
        tried.append(again)
        return await connection.fetchval("SELECT 7")

    async with proxied(dsn) as proxy:
        database = located(proxy.dsn)
        await database.open()
        proxy.freeze()
        hanging = asyncio.create_task(database.run(work))
        await eventually(lambda: withheld(proxy))
        async with asyncio.timeout(BOUND):
            await database.doubt()
            assert await hanging == 7
            assert tried == [False, True]

            await database.doubt()
            assert await database.run(work) == 7, "idle connections are replaced, not ended under somebody"
        assert tried == [False, True, False]
        await database.close()


@pytest.mark.requirement("outage:frozen")
async def test_once_terminated_everything_ends_as_an_outage(dsn: str) -> None:
    async def sleep(connection: Connection, _again: bool) -> None:
        await connection.execute("SELECT pg_sleep(60)")

    database = located(dsn, patience=0)
    await database.open()
    sleeping = asyncio.create_task(database.run(sleep))

    async def asleep() -> bool:
        return database.in_use == 1

    await eventually(asleep)
    database.terminate()
    with pytest.raises(DatabaseUnavailable):
        await sleeping
    with pytest.raises(DatabaseUnavailable):
        await database.run(sleep)
    await database.close()


@pytest.mark.requirement("outage:quiet")
async def test_a_pool_that_lost_its_connections_tries_nothing_unasked_and_logs_no_traceback(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver's floor of connections would be filled up at once, with a traceback for each try that fails."""
    located: list[str] = []

    async def locate() -> str:
        located.append(dsn)
        if len(located) > 1:
            raise ConnectionRefusedError
        return dsn

    database = Database(locate, max_size=4, patience=0)
    await database.open()
    await execute(
        dsn,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )

    async def lost() -> bool:
        return database.size == 0

    await eventually(lost)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(located) == 1

    async def seven(connection: Connection, _again: bool) -> int:
        return await connection.fetchval("SELECT 7")

    with pytest.raises(DatabaseUnavailable):
        await database.run(seven)
    await database.close()
    assert not [record for record in caplog.records if record.exc_info]
