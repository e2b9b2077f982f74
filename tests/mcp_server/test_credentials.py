"""What is open with a credential ends with it, whatever else is out of order."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest

from agent_messaging_mcp.http.credentials import Credential, Credentials
from agent_messaging_mcp.service import Service, opened
from tests.mcp_server.serving import config_of

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def credential(**facts: object) -> Credential:
    return Credential.model_validate({"subject": "alice", **facts})


@pytest.mark.requirement("mcp:edge:expiry-in-an-outage")
async def test_a_jwt_ends_by_the_clock_while_the_database_is_away() -> None:
    service = Service(opened(config_of(NOWHERE)))
    credentials = Credentials(service, None)
    expired, revocable = asyncio.Event(), asyncio.Event()
    looking = asyncio.create_task(credentials.look_for_ever())
    try:
        with (
            credentials.while_good(credential(token_id=uuid4()), revocable.set),
            credentials.while_good(credential(ends_at=time.time() + 0.1), expired.set),
        ):
            async with asyncio.timeout(90):
                await expired.wait()
        assert not revocable.is_set()
    finally:
        looking.cancel()
        await service.close()
