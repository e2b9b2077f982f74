"""Wake-ups between processes: carried soon and together, and a connection that carries nothing is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from agent_messaging_db import wakeups
from agent_messaging_db.pool import Database
from agent_messaging_db.wakeups import CHANNEL, MAX_PAYLOAD, PostgresWakeups
from chaos.proxy import proxied
from tests.conftest import connect, execute
from tests.db.pooler import pooled
from tests.protocol.world import eventually

BOUND = 60.0


class Process:
    """One process's wake-ups, and what came of them."""

    def __init__(self, dsn: str, listen: str) -> None:
        self.database = Database(lambda: _located(dsn), max_size=2, patience=1)
        self.wakeups = PostgresWakeups(self.database, lambda: _located(listen), process=uuid4())
        self.topics: list[str] = []
        self.resets = 0
        self.changed = asyncio.Event()

    def heard(self, topics: Iterable[str]) -> None:
        self.topics += topics
        self.changed.set()

    def reset(self) -> None:
        self.resets += 1
        self.changed.set()

    async def until_topics(self, count: int) -> None:
        async with asyncio.timeout(BOUND):
            while len(self.topics) < count:
                self.changed.clear()
                await self.changed.wait()

    async def until_resets(self, count: int) -> None:
        async with asyncio.timeout(BOUND):
            while self.resets < count:
                self.changed.clear()
                await self.changed.wait()


async def _located(dsn: str) -> str:
    return dsn


@asynccontextmanager
async def process(dsn: str, listen: str | None = None) -> AsyncGenerator[Process]:
    running = Process(dsn, listen or dsn)
    await running.database.open()
    await running.wakeups.start(heard=running.heard, reset=running.reset)
    try:
        yield running
    finally:
        await running.wakeups.close()
        await running.database.close()


@pytest.mark.requirement("wakeups:others")
async def test_the_topics_of_others_are_heard_and_ones_own_are_not(dsn: str) -> None:
    async with process(dsn) as here, process(dsn) as there:
        here.wakeups.publish(["a1", "q2"])
        there.wakeups.publish(["m3"])
        await there.until_topics(2)
        await here.until_topics(1)

        assert (sorted(there.topics), here.topics) == (["a1", "q2"], ["m3"])
        assert here.wakeups.hears


@pytest.mark.requirement("wakeups:coalesced")
async def test_what_is_published_together_travels_together_in_payloads_that_postgresql_takes(dsn: str) -> None:
    payloads: list[str] = []
    topics = [f"a{UUID(int=number).hex}" for number in range(2_000)]
    async with process(dsn) as here, process(dsn) as there, connect(dsn) as listener:
        await listener.add_listener(CHANNEL, lambda *arguments: payloads.append(str(arguments[-1])))
        for topic in topics:
            here.wakeups.publish([topic])
        await there.until_topics(len(topics))
        await listener.fetchval("SELECT 1")
        carrying = [payload for payload in payloads if not payload.endswith(":")]

        assert sorted(there.topics) == topics
        assert all(len(payload) <= MAX_PAYLOAD for payload in carrying)
        # As few as hold them, but for one more where the server made the publisher try again.
        fewest = -(-len(topics) // ((MAX_PAYLOAD - 33) // 34))
        assert len(carrying) <= fewest + 1


@pytest.mark.requirement("wakeups:frozen")
async def test_a_frozen_connection_is_noticed_and_replaced_and_everybody_looks_again(dsn: str) -> None:
    async with proxied(dsn) as proxy, process(dsn, proxy.dsn) as here, process(dsn) as there:
        assert (proxy.connections, here.resets) == (1, 1)
        proxy.freeze()
        there.wakeups.publish(["a1"])
        await here.until_resets(2)
        assert proxy.connections > 1
        there.wakeups.publish(["a2"])
        await here.until_topics(1)
        assert here.topics == ["a2"]


@pytest.mark.requirement("wakeups:lost-connection")
async def test_a_connection_that_the_server_ends_is_replaced_and_everybody_looks_again(dsn: str) -> None:
    async with process(dsn) as here, process(dsn) as there:
        await execute(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'agent-messaging listener' AND datname = current_database()",
        )
        await here.until_resets(2)
        await there.until_resets(2)
        there.wakeups.publish(["a1"])
        await here.until_topics(1)


async def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return caplog.messages


@pytest.mark.requirement("wakeups:pooler")
async def test_a_connection_that_carries_no_notifications_is_known_for_it(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxied(dsn, deaf=True) as proxy, process(dsn, proxy.dsn) as here:
        await eventually(lambda: told(caplog))
        assert not here.wakeups.hears
        assert "Set LISTEN_DATABASE_URL to a direct connection" in caplog.messages[0]


@pytest.mark.requirement("wakeups:pooler")
@pytest.mark.parametrize("size", [1, 3])
async def test_a_transaction_mode_pooler_is_known_for_what_it_swallows(
    size: int, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with pooled(dsn, size=size) as pooler, process(pooler.dsn) as here:
        await eventually(lambda: told(caplog))
        assert not here.wakeups.hears
        assert "Set LISTEN_DATABASE_URL to a direct connection" in caplog.messages[0]


@pytest.mark.requirement("wakeups:pooler")
async def test_listening_to_another_database_is_known_for_it(
    dsn: str, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(dsn, server) as here:
        await eventually(lambda: told(caplog))
        assert not here.wakeups.hears


@pytest.mark.requirement("wakeups:outage")
async def test_publishing_without_a_database_raises_nothing_and_is_carried_when_it_is_back(dsn: str) -> None:
    async with process(dsn) as here, process(dsn) as there:
        await here.database.close()
        here.wakeups.publish(["a1"])
        await asyncio.sleep(0)  # the publisher tries, and has nothing to send it with
        await asyncio.sleep(0)
        await here.database.open()
        here.wakeups.publish(["a2"])
        await there.until_topics(2)
        assert sorted(there.topics) == ["a1", "a2"]


@pytest.mark.requirement("wakeups:close")
async def test_what_was_published_before_closing_is_still_carried(dsn: str) -> None:
    async with process(dsn) as there:
        async with process(dsn) as here:
            here.wakeups.publish(["a1"])
        await there.until_topics(1)
        assert there.topics == ["a1"]


class Overheard(PostgresWakeups):
    """Tells when the test of the connection has come back."""

    def __init__(self, database: Database, dsn: str) -> None:
        super().__init__(database, lambda: _located(dsn), process=uuid4())
        self.echoed = asyncio.Event()

    def _receive(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        super()._receive(_connection, _pid, _channel, payload)
        self.echoed.set()


@pytest.mark.requirement("wakeups:close")
async def test_closing_comes_to_an_end_even_as_the_test_of_the_connection_comes_back(dsn: str) -> None:
    database = Database(lambda: _located(dsn), max_size=2, patience=1)
    await database.open()
    for steps in list(range(8)) * 8:
        async with asyncio.timeout(BOUND):
            wakeups = Overheard(database, dsn)
            await wakeups.start(heard=lambda _: None, reset=lambda: None)
            await wakeups.echoed.wait()
            for _ in range(steps):
                await asyncio.sleep(0)
            await wakeups.close()
    await database.close()


@pytest.mark.requirement("wakeups:again")
async def test_a_listener_that_lost_its_connection_connects_again_without_a_pause(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "FIRST_PAUSE", 10 * BOUND)
    monkeypatch.setattr(wakeups, "HEARTBEAT", 0.01)  # after which a connection counts as one that lasts
    async with process(dsn) as here:
        await here.until_resets(1)
        await asyncio.sleep(0.05)
        await execute(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'agent-messaging listener' AND datname = current_database()",
        )
        await here.until_resets(2)
