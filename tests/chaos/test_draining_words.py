"""What a server says of a speech that it could not record before it ends: never that it was made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp import Client

from agent_messaging import AgentMessaging, MeetingTimeoutError
from agent_messaging_db import sync_points
from agent_messaging_db.sync_points import SyncPoint
from agent_messaging_mcp.identity import always
from agent_messaging_mcp.server import build_server
from agent_messaging_mcp.service import Service, opened_for
from agent_messaging_mcp.settings import Settings
from tests.mcp_server.serving import config_of

BOUND = 30


@pytest.mark.requirement("mcp:processes:restart")
@pytest.mark.parametrize("tool", ["speak", "start_meeting"])
async def test_a_server_that_ends_does_not_claim_words_that_it_may_not_have_recorded(
    dsn: str, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = "bob" if tool == "speak" else "alice"
    service = Service(opened_for(speaker, "default", config_of(dsn)))
    server, desk = build_server(Settings(agent=speaker), service, always(speaker))
    async with AgentMessaging[Any](config_of(dsn)) as sdk, asyncio.timeout(BOUND):
        await sdk.register_organization("default", "default", exist_ok=True)
        for agent in ("alice", "bob"):
            await sdk.register_agent(agent, "default", agent)
        id = await sdk.meeting.create_meeting("alice", ["bob"], 3_600, offer_timeout=3_600)
        for agent in ("alice", "bob"):
            with pytest.raises(MeetingTimeoutError):
                await sdk.meeting.attend_meeting(agent, id, 0)
        if tool == "speak":
            await sdk.meeting.start_meeting("alice", id, "It begins.")
        meeting = (await sdk.meeting.get_meeting_status(id)).handle
        arrived = asyncio.Event()

        async def stop(point: SyncPoint) -> None:
            if point is SyncPoint.MEETING_DECIDED:
                arrived.set()
                await asyncio.Event().wait()

        try:
            async with Client(server) as client:
                words: dict[str, Any] = {"meeting": meeting, "message": "Lost?"}
                if tool == "speak":
                    told = await client.call_tool("attend_meeting", {"meeting": meeting})
                    assert told.structured_content is not None
                    words["turn"] = told.structured_content["turn"]
                monkeypatch.setattr(sync_points, "hook", stop)
                calling = asyncio.create_task(client.call_tool(tool, words))
                await arrived.wait()
                desk.waits.stop()
                result = (await calling).structured_content
                monkeypatch.setattr(sync_points, "hook", None)
        finally:
            await service.close()
        assert "Lost?" not in [entry.content for entry in await sdk.meeting.get_meeting_history(id)]
    assert result is not None
    assert result["status"] == "waiting"
    assert result["next"] == f'attend_meeting(meeting="{meeting}")'
    assert not result["now"].startswith(("Spoken", "Started")), result["now"]
