"""How long ago something was, as a model reads it from a server whose host's clock is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mcp_server.serving import serving, tokens_of
from tests.mcp_server.wire import Wire
from tests.protocol.test_clocks import every_clock, set_wrong


@pytest.mark.requirement("clock:told")
@every_clock
async def test_results_and_resources_say_how_long_ago_by_the_databases_clock(empty_dsn: str, seconds: int) -> None:
    dsn = await set_wrong(empty_dsn, seconds)
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn) as server:
        wire = Wire(server.address)
        await wire.tool(tokens["alice"], "send", {"to": "bob", "message": "hello"})
        told: list[Any] = [
            await wire.tool(tokens["bob"], "get_conversation", {"with_agent": "alice"}),
            (await wire.call(tokens["bob"], "resources/read", {"uri": "messaging://conversations/alice"})).text,
        ]
        for text in map(str, told):
            assert "just now" in text or " s ago" in text, text
            assert "60 min ago" not in text
