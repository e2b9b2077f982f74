"""The statements on tokens: which have ended is asked all the time, so it must stay cheap however many there are."""

from __future__ import annotations

from uuid import UUID

import pytest

from agent_messaging_db import directory, tokens
from agent_messaging_db.statements import load
from tests.conftest import connect, execute

ORGANIZATION, ALICE = UUID(int=1), UUID(int=2)
MANY = """
INSERT INTO tokens (id, prefix, sha256, agent_id, expires_at)
SELECT gen_random_uuid(), lpad(to_hex(n), 8, '0'), sha256(n::text::bytea), a.id,
       CASE WHEN n % 3 = 0 THEN clock_timestamp() + interval '1 day' END
FROM agents a, generate_series(1, 20000) AS s (n)
"""


async def alice(dsn: str) -> None:
    async with connect(dsn) as connection:
        await directory.insert_organization(connection, id=ORGANIZATION, external_id="acme", name="Acme")
        await directory.insert_agent(
            connection, id=ALICE, external_id="alice", organization_id=ORGANIZATION, name="Alice"
        )


@pytest.mark.requirement("token:ended")
async def test_which_tokens_have_ended_is_read_by_primary_key_alone(dsn: str) -> None:
    await alice(dsn)
    await execute(dsn, MANY, "ANALYZE tokens")
    async with connect(dsn) as connection:
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM tokens LIMIT 100")]
        await connection.execute("UPDATE tokens SET revoked_at = clock_timestamp() WHERE id = $1", ids[0])
        assert await tokens.ended_tokens(connection, ids=ids) == {ids[0]}

        # As the server plans it once it no longer looks at the ids.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        plan = await connection.fetch("EXPLAIN " + load("tokens")["ended_tokens"], ids)
    lines = [row[0] for row in plan]
    assert any("tokens_pkey" in line for line in lines), lines
    assert [line for line in lines if "Seq Scan" in line] == []


@pytest.mark.requirement("token:prefix")
async def test_a_token_is_found_by_its_prefix_and_stored_once_under_it(dsn: str) -> None:
    await alice(dsn)
    async with connect(dsn) as connection:

        async def insert(number: int, expires_in: float | None = None) -> bool:
            return await tokens.insert_token(
                connection,
                id=UUID(int=number),
                prefix="prefix00",
                sha256=bytes(32),
                agent_id=ALICE,
                name="",
                expires_in=expires_in,
            )

        assert [await insert(1, 90.5), await insert(1), await insert(2)] == [True, False, False]
        row = await tokens.get_token(connection, prefix="prefix00")
        assert row is not None
        assert (row.id, row.agent_external_id, row.organization_external_id) == (UUID(int=1), "alice", "acme")
        assert row.expires_at is not None
        assert (row.expires_at - row.created_at).total_seconds() == 90.5
        assert await tokens.get_token(connection, prefix="prefix01") is None
        assert await tokens.revoke_token(connection, prefix="prefix01") is None
