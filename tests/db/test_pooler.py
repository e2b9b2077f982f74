"""Telling a pooler from PostgreSQL itself; and that the pooler of these tests does what one in transaction mode
does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from agent_messaging_db import diagnosis, pooler
from chaos.proxy import proxied
from tests.conftest import connect
from tests.db.pooler import Pooler, pooled

BOUND = 60.0


@asynccontextmanager
async def connected(through: Pooler, number: int, **options: Any) -> AsyncGenerator[list[asyncpg.Connection[Any]]]:
    """So many connections of clients of the pooler."""
    async with AsyncExitStack() as stack:
        clients: list[asyncpg.Connection[Any]] = []
        for _ in range(number):
            clients.append(await asyncpg.connect(through.dsn, timeout=BOUND, command_timeout=BOUND, **options))
            stack.push_async_callback(clients[-1].close)
        yield clients


@pytest.mark.requirement("pooler:direct")
async def test_the_server_itself_is_told_from_a_pooler_and_a_proxy_is_not_in_the_way(dsn: str) -> None:
    async with connect(dsn) as connection:
        assert await pooler.is_direct(connection)
    async with proxied(dsn) as proxy, connect(proxy.dsn) as connection:
        assert await pooler.is_direct(connection)
    for keeps in (True, False):
        async with pooled(dsn, keeps_statements=keeps) as through, connected(through, 1) as (client,):
            assert not await pooler.is_direct(client)


@pytest.mark.requirement("pooler:statements")
@pytest.mark.parametrize("keeps", [True, False])
async def test_whether_statements_are_kept_track_of_is_told_and_none_is_left_behind(keeps: bool, dsn: str) -> None:
    async with pooled(dsn, size=1, keeps_statements=keeps) as through, connected(through, 1) as (client,):
        assert await pooler.keeps_statements(client) == keeps
        async with client.transaction():
            left = await client.execute("SELECT 1 FROM pg_prepared_statements WHERE name LIKE 'agent_messaging%'")
        assert left == "SELECT 0"


@pytest.mark.requirement("pooler:modes")
async def test_connections_that_are_lent_out_are_told_from_those_that_are_kept(dsn: str) -> None:
    async with asyncio.timeout(BOUND):
        assert await diagnosis.pooling(dsn) == diagnosis.Pooling(is_direct=True, shares=False, keeps_statements=True)
        for size in (1, 2, 5):
            for keeps in (True, False):
                async with pooled(dsn, size=size, keeps_statements=keeps) as through:
                    found = await diagnosis.pooling(through.dsn)
                    assert found == diagnosis.Pooling(is_direct=False, shares=True, keeps_statements=keeps)


@pytest.mark.requirement("pooler:modes")
async def test_the_pooler_lends_a_server_process_for_one_transaction(dsn: str) -> None:
    pid = "SELECT pg_backend_pid()"
    async with pooled(dsn, size=2) as through, connected(through, 3) as (one, other, third):
        first = await one.fetchval(pid)
        assert await other.fetchval(pid) == first
        async with other.transaction():
            assert await other.fetchval(pid) == first
            second = await one.fetchval(pid)
            assert second != first
            async with third.transaction():
                assert await third.fetchval(pid) == second
                waiting = asyncio.create_task(one.fetchval(pid))
                assert await asyncio.wait([waiting], timeout=0.05) == (set(), {waiting})
            async with asyncio.timeout(BOUND):
                assert await waiting == second


@pytest.mark.requirement("pooler:modes")
async def test_through_the_pooler_a_listener_hears_nothing_of_others(dsn: str) -> None:
    heard: list[object] = []
    # With one process, the notification is handed to the client that has it: the one that published.
    for size in (1, 2):
        async with pooled(dsn, size=size) as through, connected(through, 1) as (listener,), connect(dsn) as publisher:
            await listener.add_listener("news", lambda *arguments: heard.append(arguments))
            await publisher.execute("NOTIFY news")
            async with asyncio.timeout(BOUND):
                while not through.swallowed:  # noqa: ASYNC110 - the pooler has no event to set
                    await asyncio.sleep(0.01)
            await listener.fetchval("SELECT 1")
    assert heard == []


@pytest.mark.requirement("pooler:statements")
async def test_a_pooler_that_keeps_no_track_runs_the_statement_that_another_client_gave_the_name(dsn: str) -> None:
    answers: dict[bool, object] = {}
    for keeps in (True, False):
        async with (
            pooled(dsn, size=2, keeps_statements=keeps) as through,
            connected(through, 3) as (one, other, third),
        ):
            ones = await one.prepare("SELECT 'of one'", name="same")
            assert await ones.fetchval() == "of one"
            async with third.transaction():  # has the process in which that was prepared
                others = await other.prepare("SELECT 'of the other'", name="same")
                assert await others.fetchval() == "of the other"
            answers[keeps] = await others.fetchval()
    assert answers == {True: "of the other", False: "of one"}


@pytest.mark.requirement("pooler:modes")
async def test_a_client_that_leaves_in_a_transaction_takes_nothing_from_the_others(dsn: str) -> None:
    async with pooled(dsn, size=1) as through, connected(through, 1) as (staying,):
        async with connected(through, 1) as (leaving,):
            await leaving.execute("BEGIN")
            await leaving.execute("CREATE TEMPORARY TABLE half_done ()")
            leaving.terminate()
        async with asyncio.timeout(BOUND), connected(through, 1) as (next_one,):
            assert await next_one.fetchval("SELECT to_regclass('half_done')") is None
        assert staying.get_server_pid()


@pytest.mark.requirement("pooler:modes")
async def test_a_statement_that_is_given_up_is_cancelled_through_the_pooler(dsn: str) -> None:
    async with pooled(dsn, size=1) as through, connected(through, 2) as (impatient, other):
        with pytest.raises(TimeoutError):
            await impatient.execute("SELECT pg_sleep(60)", timeout=0.1)
        async with asyncio.timeout(BOUND):
            assert await other.fetchval("SELECT 1") == 1
