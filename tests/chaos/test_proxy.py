"""The proxy between a client and PostgreSQL: each of its faults, seen from the client and from the rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
import pytest

from chaos.postgres_protocol import Messages
from chaos.proxy import Proxy, proxied
from chaos.proxy_link import Fault, When
from tests.conftest import connect, execute
from tests.protocol.world import eventually

BOUND = 10.0
GONE = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
BEFORE = {f"{where} {what}" for where in ("before", "inside") for what in ("Bind", "Execute", "Sync")}
AFTER = {
    f"{where} {what}"
    for where in ("before", "inside")
    for what in ("BindComplete", "DataRow", "CommandComplete", "ReadyForQuery")
}
both_ways = pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])


@pytest.fixture
async def table(dsn: str) -> str:
    await execute(
        dsn,
        "CREATE TABLE kept (number int PRIMARY KEY)",
        "CREATE FUNCTION keep(number int) RETURNS int LANGUAGE sql"
        " AS 'INSERT INTO kept VALUES (number) RETURNING number'",
    )
    return dsn


async def kept(dsn: str) -> list[int]:
    async with connect(dsn) as connection:
        return [row[0] for row in await connection.fetch("SELECT number FROM kept ORDER BY number")]


async def finds(dsn: str, numbers: list[int]) -> None:
    """A connection that was cut has ended at the server, and these are the rows it left."""

    async def ended() -> bool:
        async with connect(dsn) as connection:
            others = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return others == 0

    await eventually(ended, within=BOUND)
    assert await kept(dsn) == numbers


@asynccontextmanager
async def through(proxy: Proxy, application: str = "") -> AsyncGenerator[asyncpg.Connection[Any]]:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        proxy.dsn, timeout=BOUND, command_timeout=BOUND, server_settings={"application_name": application}
    )
    try:
        yield connection
    finally:
        connection.terminate()


@both_ways
@pytest.mark.requirement("chaos:proxy")
async def test_everything_passes_as_it_is(tcp: bool, dsn: str) -> None:
    async with proxied(dsn, tcp=tcp) as proxy, through(proxy) as one, through(proxy) as two:
        heard: asyncio.Queue[object] = asyncio.Queue()
        await two.add_listener("news", lambda *arguments: heard.put_nowait(arguments[-1]))
        long = "ünï😀" * 100_000
        assert await one.fetchval("SELECT $1::text", long) == long
        assert len(await one.fetch("SELECT generate_series(1, 20000)")) == 20_000
        async with one.transaction():
            await one.execute("SELECT pg_notify('news', 'told')")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await one.fetchval("SELECT 1 / 0")
        async with asyncio.timeout(BOUND):
            assert await heard.get() == "told"
        assert (proxy.connections, proxy.open_connections(), sum(proxy.fired.values())) == (2, 2, 0)


@pytest.mark.requirement("chaos:proxy")
async def test_a_server_that_is_away_is_a_connection_that_closes(dsn: str) -> None:
    async with proxied("postgresql://postgres@127.0.0.1:1/nowhere") as proxy:
        with pytest.raises(GONE):
            await asyncpg.connect(proxy.dsn, timeout=BOUND)


@both_ways
@pytest.mark.requirement("chaos:proxy:freeze")
async def test_a_frozen_connection_carries_nothing_and_goes_on_where_it_stopped(tcp: bool, dsn: str) -> None:
    async with proxied(dsn, tcp=tcp) as proxy, through(proxy, "chosen") as frozen, through(proxy, "other") as other:
        assert proxy.freeze(only="chosen") == 1
        answer = asyncio.create_task(frozen.fetchval("SELECT 7"))
        await eventually(lambda: has(proxy, Fault.WITHHELD))
        assert await other.fetchval("SELECT 8") == 8
        assert not answer.done()
        assert not frozen.is_closed()
        proxy.thaw()
        assert await answer == 7
        assert proxy.fired == {Fault.FREEZE: 1, Fault.WITHHELD: 1}


@pytest.mark.requirement("chaos:proxy:freeze")
async def test_over_a_frozen_connection_the_server_does_not_learn_that_its_client_has_gone(dsn: str) -> None:
    there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'half open'"
    async with connect(dsn) as watching, proxied(dsn) as proxy:
        async with through(proxy, "half open"):
            proxy.freeze()
        async with through(proxy, "new") as new:  # open connections only
            assert await new.fetchval(there) == 1
        proxy.thaw()

        async def gone() -> bool:
            return await watching.fetchval(there) == 0

        await eventually(gone, within=BOUND)


@pytest.mark.requirement("chaos:proxy:freeze")
async def test_new_connections_freeze_as_well_if_told(dsn: str) -> None:
    async with proxied(dsn) as proxy:
        assert proxy.freeze(new=True) == 0
        opening = asyncio.create_task(asyncpg.connect(proxy.dsn, timeout=BOUND))
        await eventually(lambda: has(proxy, Fault.WITHHELD))
        assert not opening.done()
        proxy.thaw()
        connection = await opening
        assert await connection.fetchval("SELECT 7") == 7
        await connection.close()


@both_ways
@pytest.mark.requirement("chaos:proxy:reset")
async def test_a_reset_ends_the_chosen_connections_at_both_ends(tcp: bool, dsn: str) -> None:
    async with proxied(dsn, tcp=tcp) as proxy, through(proxy, "chosen") as chosen, through(proxy, "other") as other:
        pid = await chosen.fetchval("SELECT pg_backend_pid()")
        waiting = asyncio.create_task(chosen.fetchval("SELECT pg_sleep(60)"))
        await eventually(lambda: works(other, pid, "active"))
        assert proxy.reset(only="chosen") == 1
        with pytest.raises(GONE):
            await waiting
        assert await other.fetchval("SELECT 8") == 8
        assert proxy.fired == {Fault.RESET: 1}
        assert proxy.reset(only="chosen") == 0


@both_ways
@pytest.mark.requirement("chaos:proxy:refuse")
async def test_a_proxy_that_refuses_is_a_server_that_is_away_and_comes_back_at_its_address(tcp: bool, dsn: str) -> None:
    async with proxied(dsn, tcp=tcp) as proxy, through(proxy) as lost:
        address = proxy.dsn
        await proxy.refuse()
        assert proxy.fired == {Fault.REFUSE: 1}
        with pytest.raises(GONE):
            await lost.fetchval("SELECT 7")
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            await asyncpg.connect(address, timeout=BOUND)
        await proxy.accept()
        assert proxy.dsn == address
        async with through(proxy) as back:
            assert await back.fetchval("SELECT 7") == 7


@pytest.mark.requirement("chaos:proxy:delay")
async def test_every_piece_comes_later_in_both_directions(dsn: str) -> None:
    async with proxied(dsn) as proxy, through(proxy) as slow:
        loop = asyncio.get_running_loop()
        proxy.delay(0.2)
        began = loop.time()
        assert await slow.fetchval("SELECT 7") == 7
        assert loop.time() - began > 0.3
        assert proxy.fired[Fault.DELAY] >= 2
        proxy.delay(0)
        assert (await slow.fetchval("SELECT 8"), proxy.fired) == (8, proxy.fired.copy())


@pytest.mark.requirement("chaos:proxy:deaf")
async def test_a_deaf_proxy_counts_the_notifications_it_swallows(dsn: str) -> None:
    async with proxied(dsn, deaf=True) as proxy, through(proxy) as connection:
        heard: list[object] = []
        await connection.add_listener("news", lambda *arguments: heard.append(arguments))
        await connection.execute("NOTIFY news; NOTIFY news, 'two'")
        assert (heard, proxy.fired) == ([], {Fault.DEAF: 2})


async def by_function(connection: asyncpg.Connection[Any], number: int) -> None:
    await connection.fetchval("SELECT keep($1)", number)


async def by_transaction(connection: asyncpg.Connection[Any], number: int) -> None:
    async with connection.transaction():
        await connection.fetchval("SELECT count(*) FROM kept")
        await connection.execute("INSERT INTO kept VALUES ($1)", number)


async def by_text(connection: asyncpg.Connection[Any], number: int) -> None:
    await connection.execute(f"INSERT INTO kept VALUES ({int(number)})")  # noqa: S608 - a number


Write: TypeAlias = "Callable[[asyncpg.Connection[Any], int], Awaitable[None]]"
every_write = pytest.mark.parametrize("write", [by_function, by_transaction, by_text])


@every_write
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.requirement("chaos:proxy:cut")
async def test_a_commit_that_is_cut_is_unknown_to_its_client_and_happened_or_not_as_was_asked(
    write: Write, when: When, table: str
) -> None:
    numbers = list(range(8))
    async with proxied(table) as proxy:
        for number in numbers:
            async with through(proxy) as connection:
                await connection.fetch("SELECT count(*) FROM kept")
                proxy.cut_commits(when, matching="keep|INSERT")
                with pytest.raises(GONE):
                    await write(connection, number)
        assert proxy.fired == {Fault.CUT_BEFORE if when == "before" else Fault.CUT_AFTER: len(numbers)}
    await finds(table, [] if when == "before" else numbers)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.requirement("chaos:proxy:cut")
async def test_every_place_around_the_commit_of_a_call_is_cut(when: When, table: str) -> None:
    expected = BEFORE if when == "before" else AFTER
    async with proxied(table) as proxy:
        for number in range(len(expected)):
            async with through(proxy) as connection:
                statement = await connection.prepare("SELECT keep($1)")
                proxy.cut_commits(when, matching="keep")
                with pytest.raises(GONE):
                    await statement.fetch(number)
        assert proxy.cuts == dict.fromkeys(expected, 1)
    await finds(table, [] if when == "before" else list(range(len(expected))))


@pytest.mark.requirement("chaos:proxy:cut")
async def test_what_commits_nothing_is_spared(table: str) -> None:
    async with proxied(table) as proxy, through(proxy) as connection:
        await by_function(connection, 1)
        proxy.cut_commits("after", matching="keep|INSERT")
        with pytest.raises(asyncpg.UniqueViolationError):
            await by_function(connection, 1)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("INSERT INTO kept VALUES (2)")
        await transaction.rollback()
        await connection.fetch("SELECT count(*) FROM kept")
        await connection.prepare("SELECT keep(3)")
        assert proxy.fired == {}
        proxy.spare_commits()
        await by_function(connection, 4)
        proxy.cut_commits("before", times=1, matching="keep")
        with pytest.raises(GONE):
            await by_function(connection, 5)
    async with proxied(table) as proxy, through(proxy) as connection:
        await by_function(connection, 6)
    await finds(table, [1, 4, 6])


@pytest.mark.requirement("chaos:proxy:cut")
async def test_so_many_commits_are_cut_and_no_more(table: str) -> None:
    outcomes: list[bool] = []
    async with proxied(table) as proxy:
        proxy.cut_commits("before", times=3, matching="keep")
        for number in range(5):
            async with through(proxy) as connection:
                try:
                    await by_function(connection, number)
                except GONE:
                    outcomes.append(False)
                else:
                    outcomes.append(True)
    assert outcomes == [False] * 3 + [True] * 2
    await finds(table, [3, 4])


@pytest.mark.requirement("chaos:proxy")
def test_messages_are_found_however_their_bytes_arrive() -> None:
    startup = (8).to_bytes(4) + (80877103).to_bytes(4) + (9).to_bytes(4) + (196608).to_bytes(4) + b"\0"
    stream = startup + b"Q\0\0\0\x09BEG\0\0" + b"S\0\0\0\x04"
    for size in range(1, len(stream) + 1):
        messages = Messages(opening=True)
        found = [message for at in range(0, len(stream), size) for message in messages.feed(stream[at : at + size])]
        assert [message.letter for message in found] == ["", "", "Q", "S"]
        assert b"".join(message.data for message in found) == stream


async def has(proxy: Proxy, fault: Fault) -> bool:
    return proxy.fired[fault] > 0


async def works(connection: asyncpg.Connection[Any], pid: int, state: str) -> bool:
    return await connection.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid) == state
