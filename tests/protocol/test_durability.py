"""What is acknowledged is written: a database that may lose what it took is not used."""

from __future__ import annotations

import pytest

from agent_messaging import AgentMessaging, ConfigurationError
from tests.conftest import connect, execute
from tests.protocol.world import config


@pytest.mark.requirement("storage:durable")
async def test_a_database_that_may_lose_what_it_accepted_is_refused(dsn: str) -> None:
    async with connect(dsn) as connection:
        database = await connection.fetchval("SELECT current_database()")
    await execute(dsn, f"ALTER DATABASE {database} SET synchronous_commit = off")
    with pytest.raises(ConfigurationError, match="synchronous_commit is off"):
        async with AgentMessaging(config(dsn)):
            pass
    await execute(dsn, f"ALTER DATABASE {database} SET synchronous_commit = local")
    async with AgentMessaging(config(dsn)) as sdk:
        assert (await sdk.health()).database
