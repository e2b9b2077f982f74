"""An address that can never be right is said to be wrong, by what is wrong in it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from agent_messaging import AgentMessaging, Config, ConfigurationError


@pytest.mark.requirement("config:address:parameters")
@pytest.mark.parametrize("parameter", ["channel_binding=require", "pgbouncer=true", "connect_timeout=5"])
async def test_a_parameter_that_nobody_knows_is_named(parameter: str, dsn: str) -> None:
    address = f"{dsn}{'&' if '?' in dsn else '?'}{parameter}"
    with pytest.raises(ConfigurationError, match=f"{parameter.partition('=')[0]}.*take it out"):
        async with AgentMessaging[Any](Config(database_url=SecretStr(address))):
            pass


@pytest.mark.requirement("config:address:parameters")
async def test_a_wrong_way_to_use_tls_is_named_and_no_password() -> None:
    address = "postgresql://alice:canary@127.0.0.1:1/none?sslmode=nonsense"
    with pytest.raises(ConfigurationError, match="sslmode") as refused:
        async with AgentMessaging[Any](Config(database_url=SecretStr(address))):
            pass
    assert "canary" not in str(refused.value)
