"""Wake-ups over NATS: what only they have, such as a server that is away while the database is there."""

from __future__ import annotations

import logging
from pathlib import Path
from uuid import uuid4

import pytest
from nats.aio.client import Client

from agent_messaging_db.nats_wakeups import NatsWakeups, address_of, subject_of
from tests.bus import Bus, running
from tests.certificates import authority, issued
from tests.db.ways import ByNats, Process, started, topic
from tests.protocol.world import eventually

SECRET = "s3cr3t/@:%"
ESCAPED = "s3cr3t%2F%40%3A%25"


async def hears(process: Process) -> None:
    """It does before long."""

    async def is_so() -> bool:
        return process.wakeups.hears

    await eventually(is_so)


async def said(caplog: pytest.LogCaptureFixture) -> bool:
    return any("connecting again" in record.getMessage() for record in caplog.records)


@pytest.mark.requirement("nats:away")
async def test_a_server_that_is_away_keeps_nobody_from_starting_and_is_joined_when_it_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "agent_messaging.wakeups")
    with running() as bus:
        bus.stop()
        async with ByNats(bus).process() as here:
            assert not here.wakeups.hears
            here.wakeups.publish([topic("a", 1)])
            bus.start()
            await here.until_resets(1)
            await hears(here)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([words for words in warnings if "connecting again" in words]) <= 2  # one for each time that it goes


@pytest.mark.requirement("nats:installations")
async def test_installations_that_share_a_server_do_not_hear_each_other() -> None:
    with running() as bus:
        mine, theirs = ByNats(bus), ByNats(bus)
        async with mine.process() as here, mine.process() as there, theirs.process() as elsewhere:
            elsewhere.wakeups.publish([topic("a", 1)])
            here.wakeups.publish([topic("a", 2)])
            await there.until_topics(1)
            elsewhere.wakeups.publish([topic("a", 3)])
            here.wakeups.publish([topic("a", 4)])
            await there.until_topics(2)
            assert (there.topics, elsewhere.topics) == ([topic("a", 2), topic("a", 4)], [])


@pytest.mark.requirement("nats:subject")
def test_a_subject_is_made_of_a_random_id_alone() -> None:
    installation = uuid4()
    assert subject_of(installation) == f"agent_messaging.{installation.hex}.wakeups"


@pytest.mark.requirement("nats:foreign")
async def test_what_is_no_topic_is_ignored_whoever_says_it() -> None:
    with running() as bus:
        way = ByNats(bus)
        async with way.process() as here, way.process() as there:
            client = Client()
            await client.connect(bus.url)
            sender = uuid4().hex
            for data in (
                b"",
                b":",
                b"\xff\xfe",
                f"{sender}:a1".encode(),
                f"{sender}:{topic('a', 1)},".encode(),
                f"{sender}:{topic('a', 1)},*".encode(),
                f"{sender}:>".encode(),
                f"{sender}:{topic('a', 1)}\n".encode(),
                f"{sender}:{topic('A', 1).upper()}".encode(),
                f"{sender}:".encode() + b",".join([topic("a", 1).encode()] * 10_000),
                b"x" * 500_000,
            ):
                await client.publish(subject_of(way.installation), data)
            await client.publish(subject_of(way.installation), f"{sender}:{topic('a', 5)}".encode())
            await here.until_topics(1)
            there.wakeups.publish([topic("a", 6)])
            await here.until_topics(2)
            assert here.topics == [topic("a", 5), topic("a", 6)]
            await client.close()


@pytest.mark.requirement("nats:credentials")
@pytest.mark.parametrize(
    ("lines", "credentials"),
    [
        ([f'authorization {{ user: "am", password: "{SECRET}" }}'], f"am:{ESCAPED}@"),
        ([f'authorization {{ token: "{SECRET}" }}'], f"{ESCAPED}@"),
    ],
    ids=["user and password", "token"],
)
async def test_credentials_of_the_address_let_in_and_are_in_no_log_nor_representation(
    lines: list[str], credentials: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running(credentials=credentials, config=lines) as bus:
        async with ByNats(bus).process() as here:
            await hears(here)
        wrong = Bus(bus.directory, port=bus.port, credentials=credentials.replace("s3cr3t", "s3cr3t-not"))
        async with ByNats(wrong).process() as kept_out:
            assert not kept_out.wakeups.hears
            await eventually(lambda: said(caplog))
    told = [record.getMessage() + str(record.exc_info) for record in caplog.records]
    assert any("connecting again" in words for words in told)
    assert not any("s3cr3t" in words for words in told)
    assert "s3cr3t" not in repr(address_of(bus.url))


@pytest.mark.requirement("nats:permissions")
async def test_an_account_that_may_not_publish_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    allowed = '{ publish: "other.>", subscribe: ">" }'
    lines = [f'authorization {{ users: [ {{ user: "am", password: "pw", permissions: {allowed} }} ] }}']
    with running(credentials="am:pw@", config=lines) as bus:
        async with ByNats(bus).process() as here:

            async def told() -> bool:
                return any("may this account publish" in words for words in caplog.messages)

            await eventually(told)
            assert not here.wakeups.hears


@pytest.mark.requirement("nats:tls")
async def test_tls_is_spoken_where_the_server_asks_for_it_and_a_stranger_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, strangers = authority(tmp_path / "ours"), authority(tmp_path / "strangers")
    certificate = issued(ours, tmp_path / "server")
    lines = [f'tls {{ cert_file: "{certificate.certificate}", key_file: "{certificate.key}" }}']
    with running(config=lines) as bus:
        url = bus.url.replace("nats://", "tls://")
        monkeypatch.setenv("SSL_CERT_FILE", str(strangers.certificate))
        async with started(NatsWakeups(url, installation=uuid4(), process=uuid4())) as here:
            assert here.resets == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(ours.certificate))
        async with started(NatsWakeups(url, installation=uuid4(), process=uuid4())) as here:
            await hears(here)


@pytest.mark.requirement("nats:servers")
async def test_of_several_servers_one_that_answers_is_enough() -> None:
    with (
        running() as gone,
        running(credentials="am:pw@", config=['authorization { user: "am", password: "pw" }']) as bus,
    ):
        gone.stop()
        urls = f"{gone.url}, {bus.url}"
        async with started(NatsWakeups(urls, installation=uuid4(), process=uuid4())) as here:
            await hears(here)
