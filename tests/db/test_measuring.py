"""What the database layer counts, and what it finds waiting, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from agent_messaging_db import depths, presence
from agent_messaging_db.carrier import MOST_ON_THEIR_WAY
from agent_messaging_db.depths import COUNTED, Depths
from agent_messaging_db.errors import Conflict, DatabaseUnavailable
from agent_messaging_db.histogram import Histogram
from agent_messaging_db.pool import Connection, Database
from agent_messaging_db.wakeups import PostgresWakeups
from chaos.proxy import proxied
from tests.conftest import connect, execute
from tests.protocol.world import eventually

BOUND = 60.0
UNREAD = """
    INSERT INTO deliveries (message_id, recipient_id, sender_id, kind, read_at)
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'async', {read} FROM generate_series(1, {count})
"""


@asynccontextmanager
async def opened(dsn: str) -> AsyncGenerator[Database]:
    async def located() -> str:
        return dsn

    database = Database(located, max_size=3, patience=0)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def hearing(database: Database, dsn: str) -> AsyncGenerator[PostgresWakeups]:
    async def located() -> str:
        return dsn

    process = uuid4()
    async with database.connection() as connection:
        await presence.renew_lease(connection, process=process, seconds=600)
    wakeups = PostgresWakeups(database, located, process=process)
    await wakeups.start(heard=lambda _: None, reset=lambda: None)
    try:
        yield wakeups
    finally:
        await wakeups.close()


async def _until(wakeups: PostgresWakeups, heard: int) -> None:
    async def came() -> bool:
        return wakeups.counts.latency.now().count >= heard

    await eventually(came, within=BOUND)


@pytest.mark.requirement("measures:histogram")
def test_a_histogram_counts_values_up_to_each_bound_and_beyond_the_last() -> None:
    histogram = Histogram((1, 2, 5))
    for value in (0, 1, 1.5, 2, 3, 5, 7):
        histogram.observe(value)
    now = histogram.now()
    assert (now.counts, now.count, now.total) == ((2, 2, 2, 1), 7, 19.5)
    histogram.observe(1)
    assert now.count == 7, "what was taken stays as it was"


@pytest.mark.requirement("measures:wake-latency")
async def test_the_latency_of_wake_ups_is_that_of_hearing_ones_own(dsn: str) -> None:
    async with opened(dsn) as database, hearing(database, dsn) as here, hearing(database, dsn) as there:
        here.publish(["a1", "a2"])
        await _until(here, 1)
        here.publish(["a1"])
        await _until(here, 2)

        async def counted() -> bool:
            return here.counts.published == 3

        await eventually(counted, within=BOUND)  # it may come back before it counts as sent
        assert here.counts.heard == 0
        assert 0 < here.counts.latency.now().total < BOUND

        async def heard() -> bool:
            return there.counts.heard == 3

        await eventually(heard, within=BOUND)
        assert there.counts.latency.now().count == 0, "those of others say nothing: their clocks are not ours"


@pytest.mark.requirement("measures:wake-latency")
async def test_nothing_piles_up_where_wake_ups_do_not_come_back(dsn: str) -> None:
    async with proxied(dsn) as proxy, opened(dsn) as database, hearing(database, proxy.dsn) as here:
        proxy.freeze()
        for number in range(MOST_ON_THEIR_WAY * 2):
            before = here.counts.published
            here.publish([f"a{number}"])

            async def sent(before: int = before) -> bool:
                return here.counts.published > before

            await eventually(sent, within=BOUND)
        assert len(here._on_their_way) <= MOST_ON_THEIR_WAY


@pytest.mark.requirement("measures:reconnects")
async def test_each_connection_of_the_listener_is_counted(dsn: str) -> None:
    async with opened(dsn) as database, hearing(database, dsn) as here, hearing(database, dsn):
        assert here.counts.connections == 1
        await execute(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'agent-messaging listener' AND datname = current_database()",
        )

        async def again() -> bool:
            return here.counts.connections == 2

        await eventually(again, within=BOUND)
        here.publish(["a1"])
        await _until(here, 1)


@pytest.mark.requirement("measures:database-errors")
async def test_failures_are_counted_by_their_kind_and_a_refused_row_is_none(dsn: str) -> None:
    async with opened(dsn) as database:
        with pytest.raises(DatabaseUnavailable):
            async with database.connection() as connection:
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(asyncpg.UndefinedTableError):
            async with database.connection() as connection:
                await connection.execute("SELECT * FROM nowhere")
        insert = "INSERT INTO organizations (id, external_id, name) VALUES (gen_random_uuid(), 'a', 'a')"
        with pytest.raises(Conflict):
            async with database.connection() as connection:
                await connection.execute(f"{insert}; {insert}")
        assert (database.errors.outage, database.errors.deadlock, database.errors.other) == (1, 0, 1)


@pytest.mark.requirement("measures:database-errors")
async def test_a_deadlock_that_was_resolved_by_trying_again_is_counted(dsn: str) -> None:
    await execute(dsn, "CREATE TABLE two (id int PRIMARY KEY)", "INSERT INTO two VALUES (1), (2)")
    both = asyncio.Barrier(2)
    met = 0

    async with opened(dsn) as database:

        async def locks(first: int, second: int) -> None:
            async def work(connection: Connection, _again: bool) -> None:
                nonlocal met
                async with connection.transaction():
                    await connection.execute("SELECT FROM two WHERE id = $1 FOR UPDATE", first)
                    if met < 2:
                        met += 1
                        await both.wait()
                    await connection.execute("SELECT FROM two WHERE id = $1 FOR UPDATE", second)

            await database.run(work)

        async with asyncio.timeout(BOUND):
            await asyncio.gather(locks(1, 2), locks(2, 1))
        assert database.errors.deadlock >= 1
        assert (database.errors.outage, database.errors.other) == (0, 0)


@pytest.mark.requirement("measures:pool")
async def test_a_borrowed_connection_is_in_use_and_one_given_back_is_not(dsn: str) -> None:
    async with opened(dsn) as database:
        assert (database.size, database.in_use) == (1, 0)
        async with database.connection(), database.connection():
            assert (database.size, database.in_use) == (2, 2)
        assert (database.size, database.in_use) == (2, 0)
    assert (database.size, database.in_use) == (0, 0)


@pytest.mark.requirement("measures:depths")
async def test_depths_are_exact_while_they_are_small_and_leave_out_what_is_done(dsn: str) -> None:
    async with connect(dsn) as connection:
        assert await depths.depths(connection) == Depths(0, 0, 0)
        await connection.execute(UNREAD.format(count=7, read="NULL"))
        await connection.execute(UNREAD.format(count=500, read="now()"))
        await connection.execute(
            "INSERT INTO questions (id, pair_id, session_id, asker_id, answerer_id, reply_by, state)"
            " SELECT gen_random_uuid(), 1, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now(), state"
            " FROM unnest(ARRAY['open', 'open', 'expired', 'cancelled']) AS state"
        )
        await connection.execute("INSERT INTO organizations (id, external_id, name) SELECT gen_random_uuid(), 'o', 'o'")
        await connection.execute(
            "INSERT INTO agents (id, external_id, organization_id, name) SELECT gen_random_uuid(), 'a', id, 'a'"
            " FROM organizations"
        )
        await connection.execute(
            "INSERT INTO meetings (id, host_id, phase, reason, ended_at, offer_timeout, deadline, max_turns)"
            " SELECT gen_random_uuid(), a.id, phase, reason, CASE phase WHEN 'ended' THEN now() END, 1, now(), 1"
            " FROM agents a, (VALUES ('created', NULL), ('ended', 'deadline')) AS m (phase, reason)"
        )
        assert await depths.depths(connection) == Depths(unread_deliveries=7, open_questions=2, live_meetings=1)


@pytest.mark.requirement("measures:depths")
async def test_large_depths_are_estimated_and_never_below_what_was_counted(dsn: str) -> None:
    async with connect(dsn) as connection:
        await connection.execute(UNREAD.format(count=COUNTED * 2, read="NULL"))
        assert (await depths.depths(connection)).unread_deliveries >= COUNTED
        await connection.execute("ANALYZE deliveries")
        assert (await depths.depths(connection)).unread_deliveries == pytest.approx(COUNTED * 2, rel=0.2)


@pytest.mark.requirement("measures:depths")
async def test_no_depth_is_found_by_reading_a_table(dsn: str) -> None:
    async with connect(dsn) as connection:
        await connection.execute(UNREAD.format(count=3_000, read="now()"))
        await connection.execute(UNREAD.format(count=30, read="NULL"))
        await connection.execute("ANALYZE")
        plan = await connection.fetch(f"EXPLAIN {depths._SQL['depths'].replace('$1', str(COUNTED))}")
        text = "\n".join(row[0] for row in plan)
        assert " unread_deliveries" in text, text
        assert "Seq Scan on deliveries" not in text
