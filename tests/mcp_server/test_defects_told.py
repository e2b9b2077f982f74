"""What a caller is told of a defect of the server: that there is one, and nothing of what is inside."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import MCPError

from agent_messaging.agent_view import AgentView
from tests.mcp_server.hosts import Era, both_eras, host

INSIDE = "SELECT secret FROM /srv/agents/deliveries.py"


@pytest.mark.requirement("mcp:errors:defect")
@both_eras
async def test_a_defect_is_told_without_its_words(dsn: str, era: Era, monkeypatch: pytest.MonkeyPatch) -> None:
    async def defective(*_: Any, **__: Any) -> None:
        raise KeyError(INSIDE) from ValueError(INSIDE)

    async with host(dsn, "alice", era=era) as alice, host(dsn, "bob") as bob:
        await bob.call("list_agents")
        monkeypatch.setattr(AgentView, "conversation", defective)
        with pytest.raises(MCPError) as told:
            await alice.result("get_conversation", with_agent="bob")
        said = f"{told.value.error.message} {told.value.error.data}"
        assert "inside the server" in said
        assert "Try again later." in said
        for words in ("SELECT", "/srv", "KeyError", "Traceback", ".py"):
            assert words not in said, said
        assert (await alice.status("send", to="bob", message="hello"))["status"] == "sent", "everything else works"
