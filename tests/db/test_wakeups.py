"""Wake-ups between processes: carried soon and together, and a connection that carries nothing is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent_messaging_db import carrier, presence, wakeups
from agent_messaging_db.carrier import MAX_PAYLOAD, Carrier
from agent_messaging_db.nats_wakeups import NatsWakeups
from agent_messaging_db.wakeups import PostgresWakeups
from chaos.proxy import proxied
from tests.bus import running
from tests.conftest import execute
from tests.db.pooler import pooled
from tests.db.ways import BOUND, ByNats, ByPostgres, Process, Way, started, topic
from tests.protocol.world import eventually


@pytest.fixture(params=["postgres", "nats"])
def way(request: pytest.FixtureRequest) -> Generator[Way]:
    """Each way that wake-ups take."""
    if request.param == "postgres":
        yield ByPostgres(request.getfixturevalue("dsn"))
        return
    with running() as bus:
        yield ByNats(bus)


@asynccontextmanager
async def process(dsn: str, listen: str | None = None) -> AsyncGenerator[Process]:
    """One over PostgreSQL."""
    async with ByPostgres(dsn).carrier(listen=listen or dsn) as wakeups, started(wakeups) as running:
        yield running


@pytest.mark.requirement("wakeups:others")
async def test_the_topics_of_others_are_heard_and_ones_own_are_not(way: Way) -> None:
    one, two, three = topic("a", 1), topic("q", 2), topic("m", 3)
    async with way.process() as here, way.process() as there:
        here.wakeups.publish([one, two])
        there.wakeups.publish([three])
        await there.until_topics(2)
        await here.until_topics(1)

        assert (sorted(there.topics), here.topics) == ([one, two], [three])
        assert here.wakeups.hears


@pytest.mark.requirement("wakeups:coalesced")
async def test_what_is_published_together_travels_together_in_payloads_that_postgresql_takes(way: Way) -> None:
    payloads: list[str] = []
    topics = [topic("a", number) for number in range(2_000)]
    async with way.process() as here, way.process() as there:
        async with way.overheard(payloads):
            for one in topics:
                here.wakeups.publish([one])
            await there.until_topics(len(topics))
        carrying = [payload for payload in payloads if not payload.endswith(":")]

        assert sorted(there.topics) == topics
        assert all(len(payload) <= MAX_PAYLOAD for payload in carrying)
        # As few as hold them, but for one more where the server made the publisher try again.
        fewest = -(-len(topics) // ((MAX_PAYLOAD - 33) // 34))
        assert len(carrying) <= fewest + 1


@pytest.mark.requirement("wakeups:frozen")
async def test_a_frozen_connection_is_noticed_and_replaced_and_everybody_looks_again(way: Way) -> None:
    async with way.relay() as relay, way.process(relay) as here, way.process() as there:
        assert (relay.connections, here.resets) == (1, 1)
        relay.freeze()
        there.wakeups.publish([topic("a", 1)])
        await here.until_resets(2)
        assert relay.connections > 1
        there.wakeups.publish([topic("a", 2)])
        await here.until_topics(1)
        assert here.topics == [topic("a", 2)]


@pytest.mark.requirement("wakeups:lost-connection")
async def test_a_connection_that_the_server_ends_is_replaced_and_everybody_looks_again(way: Way) -> None:
    async with way.process() as here, way.process() as there:
        await way.end_connections()
        await here.until_resets(2)
        await there.until_resets(2)
        there.wakeups.publish([topic("a", 1)])
        await here.until_topics(1)


async def hears(here: Process) -> bool:
    return here.wakeups.hears


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


@pytest.mark.requirement("wakeups:tested-again")
async def test_a_connection_whose_first_test_came_to_nothing_is_tested_again_before_anybody_is_told(
    way: Way, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is too busy, or while the pool that carries the test is frozen."""
    with monkeypatch.context() as busy:
        busy.setattr(carrier, "SELF_TEST", 0)
        async with way.process() as here:
            assert not here.wakeups.hears
            busy.undo()
            await eventually(lambda: hears(here))
            assert (here.resets, caplog.messages) == (1, [])


@pytest.mark.requirement("wakeups:outage")
async def test_publishing_without_a_database_raises_nothing_and_is_carried_when_it_is_back(way: Way) -> None:
    async with way.process() as here, way.process() as there:
        async with way.without_sending(here):
            here.wakeups.publish([topic("a", 1)])
            await asyncio.sleep(0)  # the publisher tries, and has nothing to send it with
            await asyncio.sleep(0)
        here.wakeups.publish([topic("a", 2)])
        if isinstance(way, ByNats):
            # Whoever was away with the bus looks again; what is told before he is back is told to nobody.
            await there.until_resets(2)
            there.topics.append(topic("a", 1))
        await there.until_topics(2)
        assert {topic("a", 1), topic("a", 2)} <= set(there.topics)


@pytest.mark.requirement("wakeups:close")
async def test_what_was_published_before_closing_is_still_carried(way: Way) -> None:
    async with way.process() as there:
        async with way.process() as here:
            here.wakeups.publish([topic("a", 1)])
        await there.until_topics(1)
        assert there.topics == [topic("a", 1)]


def overheard(kind: type[Carrier]) -> Any:
    """The same, but it tells when the test of the connection has come back."""

    class Overheard(kind):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.echoed = asyncio.Event()

        def _take(self, payload: str) -> None:
            super()._take(payload)
            self.echoed.set()

    return Overheard


@pytest.mark.requirement("wakeups:close")
async def test_closing_comes_to_an_end_even_as_the_test_of_the_connection_comes_back(way: Way) -> None:
    kind = overheard(NatsWakeups if isinstance(way, ByNats) else PostgresWakeups)
    for steps in list(range(8)) * 8:
        wakeups: Any
        async with asyncio.timeout(BOUND), way.carrier(kind) as wakeups:
            await wakeups.start(heard=lambda _: None, reset=lambda: None)
            await wakeups.echoed.wait()
            for _ in range(steps):
                await asyncio.sleep(0)
            await wakeups.close()


@pytest.mark.requirement("wakeups:again")
async def test_a_listener_that_lost_its_connection_connects_again_without_a_pause(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrier, "FIRST_PAUSE", 10 * BOUND)
    monkeypatch.setattr(carrier, "HEARTBEAT", 0.01)  # after which a connection counts as one that lasts
    async with ByPostgres(dsn).process() as here:
        await here.until_resets(1)
        await asyncio.sleep(0.05)
        await execute(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'agent-messaging listener' AND datname = current_database()",
        )
        await here.until_resets(2)


async def alone(here: Process) -> None:
    own = here.wakeups
    assert isinstance(own, PostgresWakeups)

    async def found() -> bool:
        return own._is_alone

    await eventually(found, within=BOUND)


@pytest.mark.requirement("wakeups:alone")
async def test_a_process_that_is_alone_tells_nobody_until_another_one_comes(dsn: str) -> None:
    way, payloads = ByPostgres(dsn), list[str]()
    async with way.overheard(payloads), way.process() as here:
        await alone(here)
        here.wakeups.publish([topic("a", 1)])
        here.wakeups.publish([topic("a", 2)])
        async with way.process() as there:
            # It was in the registry before it listened, and hears what was committed as it came.
            await there.until_topics(2)
            here.wakeups.publish([topic("a", 3)])
            await there.until_topics(3)
            assert sorted(there.topics) == [topic("a", number) for number in (1, 2, 3)]
            assert there.resets == 1
    assert sum(topic("a", 1) in payload for payload in payloads) == 1


@pytest.mark.requirement("wakeups:alone")
async def test_what_was_kept_from_nobody_is_forgotten_after_two_looks(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_messaging_db.carrier.HEARTBEAT", 0.01)
    looks = 0
    look = presence.has_others

    async def looked(*arguments: Any, **options: Any) -> bool:
        nonlocal looks
        others = await look(*arguments, **options)
        looks += 1
        return others

    monkeypatch.setattr(presence, "has_others", looked)
    way = ByPostgres(dsn)
    async with way.process() as here:
        await alone(here)
        here.wakeups.publish([topic("a", 1)])
        seen = looks

        async def forgotten() -> bool:
            return looks >= seen + 4

        await eventually(forgotten, within=BOUND)
        async with way.process() as there:
            here.wakeups.publish([topic("a", 2)])
            await there.until_topics(1)
            assert there.topics == [topic("a", 2)]


@pytest.mark.requirement("wakeups:again")
@pytest.mark.parametrize("seconds", [0, 10 * BOUND], ids=["soon", "late"])
async def test_that_a_connection_was_lost_is_told_after_it_is_made_good(
    way: Way, seconds: float, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What formats the first line of a server takes longer to import than connecting takes."""
    monkeypatch.setattr(carrier, "TOLD_AFTER", seconds)
    async with way.process() as here:
        await way.end_connections()
        await here.until_resets(2)
        if not seconds:
            await eventually(lambda: told(caplog))
        assert ("connecting again" in caplog.text) is (not seconds)


@pytest.mark.requirement("wakeups:again")
async def test_whoever_was_deaf_looks_before_the_new_connection_is_tested_and_its_loss_is_noticed_meanwhile(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = ByPostgres(dsn)
    async with way.process() as here:
        await eventually(lambda: hears(here))
        monkeypatch.setattr(wakeups, "LOOKING", 10 * BOUND)
        for times in (2, 3):
            await way.end_connections()
            await here.until_resets(times)
            for number in range(20):
                await execute(dsn, f"SELECT pg_notify('{wakeups.CHANNEL}', 'another:{topic('a', number)}')")
            await here.until_topics(20 * (times - 1))
            assert not here.wakeups.hears
