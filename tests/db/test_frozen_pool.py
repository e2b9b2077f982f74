"""Connections of the pool that carry nothing: what is told of them ends, and the listener goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from agent_messaging_db import frozen, pool
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.frozen import NotedConnection
from agent_messaging_db.pool import Connection, Database
from agent_messaging_db.wakeups import PostgresWakeups
from chaos.proxy import Proxy, proxied
from chaos.proxy_link import Fault
from tests.conftest import connect, execute
from tests.db.pooler import pooled
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


@pytest.fixture
def watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer than an instant is asked about."""
    monkeypatch.setattr(frozen, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(frozen, "LONG", 0.05)


@asynccontextmanager
async def all_idle(database: Database, many: int) -> AsyncGenerator[None]:
    """A pool that has opened so many connections, none of them in use."""
    await database.open()
    async with AsyncExitStack() as stack:
        for _ in range(many):
            await stack.enter_async_context(database.connection())
    try:
        yield
    finally:
        await database.close()


@pytest.mark.requirement("outage:frozen-pool")
@pytest.mark.usefixtures("watched_closely")
async def test_where_only_the_pool_froze_what_hangs_is_made_again_once_on_a_new_connection(dsn: str) -> None:
    tried: list[bool] = []

    async def work(connection: Connection, again: bool) -> int:
        tried.append(again)
        return await connection.fetchval("SELECT 7")

    async with proxied(dsn) as proxy, all_idle(database := located(proxy.dsn), 3):
        proxy.freeze()
        async with asyncio.timeout(BOUND):
            assert await database.run(work) == 7
        assert tried == [False, True], "the other idle ones, frozen too, are not tried one after the other"
        proxy.thaw()


@pytest.mark.requirement("outage:frozen-pool")
@pytest.mark.usefixtures("watched_closely")
@pytest.mark.parametrize("statement", ["LOCK TABLE agents IN SHARE MODE", "SELECT count(*) FROM agents WHERE $1"])
async def test_a_statement_that_the_server_works_on_is_left_alone_and_a_reply_that_froze_is_not_waited_for(
    dsn: str, statement: str
) -> None:
    """The second one waits as it is prepared, and is run after the server has said that this is done."""
    located, asked = asyncio.Semaphore(0), 3
    tried: list[bool] = []

    async def read(connection: Connection, again: bool) -> str:
        tried.append(again)
        async with connection.transaction():
            return await connection.execute(statement, *([True] if "$1" in statement else []))

    async with proxied(dsn) as proxy, connect(dsn) as other:

        async def locate() -> str:
            located.release()
            return proxy.dsn

        async with all_idle(database := Database(locate, max_size=4, patience=10), 1):
            await located.acquire()
            locked = other.transaction()
            await locked.start()
            await other.execute("LOCK TABLE agents")
            reading = asyncio.create_task(database.run(read))
            async with asyncio.timeout(BOUND):
                for _ in range(asked):
                    await located.acquire()
                assert tried == [False]
                proxy.freeze()
                await locked.rollback()
                assert await reading in ("LOCK TABLE", "SELECT 1")
            proxy.thaw()
        assert tried == [False, True]


@pytest.mark.requirement("outage:frozen-pool")
@pytest.mark.usefixtures("watched_closely")
async def test_a_connection_that_froze_as_it_was_opened_is_opened_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def seven(connection: Connection, _again: bool) -> int:
        return await connection.fetchval("SELECT 7")

    async with proxied(dsn) as proxy, all_idle(database := located(proxy.dsn, patience=2 * BOUND), 1):
        monkeypatch.setattr(pool, "CONNECT_TIMEOUT", 2 * BOUND)
        proxy.freeze(new=True)
        await database.doubt()
        opening = asyncio.create_task(database.run(seven))
        await eventually(lambda: withheld(proxy))
        proxy.freezes_new = False
        async with asyncio.timeout(BOUND):
            assert await opening == 7
        proxy.thaw()


@pytest.mark.requirement("outage:frozen-pool")
@pytest.mark.usefixtures("watched_closely")
async def test_where_nobody_can_tell_a_statement_has_as_long_as_a_call_has_patience(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "ANSWER", 0.1)

    async def seven(connection: Connection, _again: bool) -> int:
        return await connection.fetchval("SELECT 7")

    async with proxied(dsn) as proxy, all_idle(database := located(proxy.dsn, patience=0.5), 1):
        proxy.freeze(new=True)
        before = proxy.connections
        async with asyncio.timeout(BOUND):
            with pytest.raises(DatabaseUnavailable):
                await database.run(seven)
        assert proxy.connections > before + 1, "it was asked about more than once"
        proxy.thaw()


@pytest.mark.requirement("outage:frozen-pool")
async def test_a_call_that_is_cancelled_where_only_the_pool_froze_ends(dsn: str) -> None:
    async def seven(connection: Connection, _again: bool) -> int:
        return await connection.fetchval("SELECT 7")

    async with proxied(dsn) as proxy, all_idle(database := located(proxy.dsn), 1):
        proxy.freeze()
        hanging = asyncio.create_task(database.run(seven))
        await eventually(lambda: withheld(proxy))
        hanging.cancel()
        async with asyncio.timeout(BOUND):
            await asyncio.wait([hanging])


async def noted(dsn: str) -> Any:
    return await pool.connect(dsn, connection_class=NotedConnection)


@pytest.mark.requirement("outage:frozen-pool")
async def test_what_was_answered_while_the_server_was_asked_is_not_taken_for_lost(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "LONG", 0)
    connection = await noted(dsn)
    exchange = connection.exchange
    exchange.since = since = monotonic() - 1

    async def read_meanwhile() -> asyncpg.Connection[Any]:
        exchange.since = 0.0
        return await asyncpg.connect(dsn)

    async def not_read() -> asyncpg.Connection[Any]:
        return await asyncpg.connect(dsn)

    assert await frozen.lost([exchange], not_read, patience=BOUND) == [exchange]
    assert await frozen.lost([exchange], read_meanwhile, patience=BOUND) == []
    exchange.since = since
    await connection.close()
    assert await frozen.lost([exchange], not_read, patience=BOUND) == [exchange], "its server process has gone"


@pytest.mark.requirement("outage:frozen-pool")
async def test_behind_a_pooler_nobody_can_tell_so_nobody_is_asked(dsn: str) -> None:
    async with pooled(dsn, size=1) as pooler:
        behind, direct = await noted(pooler.dsn), await noted(dsn)
        assert behind.exchange.backend is None
        assert direct.exchange.backend == await direct.fetchval("SELECT pg_backend_pid()")
        behind.terminate()
        await direct.close()
