"""What the doctor says of the way wake-ups come, poolers included."""

from __future__ import annotations

from typing import Any

import pytest

from agent_messaging_db import diagnosis
from agent_messaging_db.diagnosis import Pooling
from agent_messaging_mcp.doctor.findings import Check, Result
from agent_messaging_mcp.doctor.wakeups import pooler_finding
from chaos.proxy import proxied
from tests.bus import running
from tests.db.pooler import pooled
from tests.mcp_server.doctor.examining import (
    NOWHERE,
    SECRET,
    Examine,
    told,
)


@pytest.mark.requirement("doctor:wakeups")
async def test_listening_to_another_database_is_told_and_fails_where_a_server_is_meant(
    dsn: str, server: str, examined: Examine
) -> None:
    found = await examined(DATABASE_URL=dsn, LISTEN_DATABASE_URL=server)
    told(found[Check.WAKEUPS], Result.WARNING, "another database", "a second late", "Let LISTEN_DATABASE_URL lead to")
    found = await examined(AGENT_MESSAGING_ALLOWED_HOSTS="agents.example")
    told(found[Check.WAKEUPS], Result.FAILING, "another database", "/readyz", "Let LISTEN_DATABASE_URL lead to")


@pytest.mark.requirement("doctor:wakeups")
async def test_an_unreachable_way_to_listen_is_told_by_its_variable(dsn: str, examined: Examine) -> None:
    found = await examined(DATABASE_URL=dsn, LISTEN_DATABASE_URL=NOWHERE)
    told(found[Check.DATABASE], Result.OK)
    told(found[Check.WAKEUPS], Result.FAILING, "nobody can listen: 127.0.0.1:1", "LISTEN_DATABASE_URL")


@pytest.mark.requirement("doctor:wakeups")
async def test_a_way_that_carries_no_notifications_although_it_is_direct_is_told(dsn: str, examined: Examine) -> None:
    async with proxied(dsn, deaf=True) as proxy:
        found = await examined(DATABASE_URL=dsn, LISTEN_DATABASE_URL=proxy.dsn)
    told(found[Check.WAKEUPS], Result.WARNING, "do not arrive: waits still end", "nothing between")


@pytest.mark.requirement("doctor:wakeups")
async def test_a_connection_that_dies_while_nothing_is_said_is_told(
    dsn: str, examined: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = diagnosis.Ear.hear
    heard: list[float | None] = []
    async with proxied(dsn) as proxy:

        async def hear_and_freeze(ear: diagnosis.Ear, *arguments: Any, **options: Any) -> float | None:
            heard.append(await hear(ear, *arguments, **options))
            if len(heard) == 5:
                proxy.freeze()
            return heard[-1]

        monkeypatch.setattr(diagnosis.Ear, "hear", hear_and_freeze)
        found = await examined(DATABASE_URL=dsn, LISTEN_DATABASE_URL=proxy.dsn)
    told(found[Check.WAKEUPS], Result.WARNING, "some are lost (1 of 6)", "a firewall")


@pytest.mark.requirement("doctor:pooler")
async def test_a_transaction_mode_pooler_is_detected_and_fine_once_listening_has_a_way_of_its_own(
    dsn: str, examined: Examine
) -> None:
    async with pooled(dsn) as pooler:
        found = await examined(DATABASE_URL=pooler.dsn)
        told(found[Check.WAKEUPS], Result.WARNING, "a pooler on the way swallows LISTEN", "LISTEN_DATABASE_URL=")
        told(found[Check.POOLER], Result.WARNING, "transaction mode", "swallows LISTEN", "LISTEN_DATABASE_URL=")

        found = await examined(DATABASE_URL=pooler.dsn, LISTEN_DATABASE_URL=dsn)
        told(found[Check.WAKEUPS], Result.OK, "arrive after")
        told(found[Check.POOLER], Result.OK, "transaction mode", "keeps track of prepared statements")
        assert {finding.result for finding in found.values()} == {Result.OK}, found


@pytest.mark.requirement("doctor:pooler")
@pytest.mark.parametrize("size", [1, 3])
async def test_a_pooler_that_does_not_keep_track_of_statements_is_told_with_what_it_needs(
    size: int, dsn: str, examined: Examine
) -> None:
    async with pooled(dsn, size=size, keeps_statements=False) as pooler:
        found = await examined(DATABASE_URL=pooler.dsn, LISTEN_DATABASE_URL=dsn)
    told(found[Check.POOLER], Result.WARNING, "does not keep track of prepared statements", "max_prepared_statements")
    assert {finding.result for check, finding in found.items() if check is not Check.POOLER} == {Result.OK}, found


@pytest.mark.requirement("doctor:pooler")
def test_what_keeps_a_server_process_for_each_connection_is_no_trouble() -> None:
    finding = pooler_finding(Pooling(False, False, False), address="DATABASE_URL", listens_apart=False)
    told(finding, Result.OK, "session mode")


@pytest.mark.requirement("doctor:nats")
async def test_wake_ups_over_nats_are_tried_where_they_are_configured(dsn: str, examined: Examine) -> None:
    with running() as bus:
        found = await examined(DATABASE_URL=dsn, WAKEUPS_URL=f"nats://am:{SECRET}@127.0.0.1:{bus.port}")
        told(found[Check.CONFIGURATION], Result.OK, f"WAKEUPS_URL: 127.0.0.1:{bus.port}")
        told(found[Check.WAKEUPS], Result.OK, "arrive over NATS after")
        bus.stop()
        found = await examined(DATABASE_URL=dsn, WAKEUPS_URL=f"nats://am:{SECRET}@127.0.0.1:{bus.port}")
        told(found[Check.WAKEUPS], Result.WARNING, "no NATS server was reached", "Look at WAKEUPS_URL")
