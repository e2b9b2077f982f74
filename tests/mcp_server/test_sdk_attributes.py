"""What this server needs of the SDK that it does not promise, by name: two private attributes for updates to clients
of the 2025 protocol, and that the Streamable HTTP transport is to be had without its app.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver.context import Context
from mcp.server.transport_security import RequestBodyLimitMiddleware

from agent_messaging_mcp.calls import Agendas, Desk
from agent_messaging_mcp.identity import always
from agent_messaging_mcp.limits import Rate
from agent_messaging_mcp.metrics import Numbers
from agent_messaging_mcp.server import build_server
from agent_messaging_mcp.service import Service
from agent_messaging_mcp.settings import Settings
from agent_messaging_mcp.updates import Updates
from agent_messaging_mcp.waits import Waits


async def unreachable(_stack: AsyncExitStack) -> Any:
    raise OSError("no database")


@pytest.mark.requirement("mcp:updates:sdk-attributes")
async def test_the_server_has_its_low_level_server() -> None:
    low_level = MCPServer("test", version="1")._lowlevel_server
    assert callable(low_level.add_request_handler)
    assert callable(low_level.run)
    assert callable(low_level.create_initialization_options)


@pytest.mark.requirement("mcp:updates:sdk-attributes")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_session_has_its_connection(mode: Any) -> None:
    server = MCPServer("test", version="1")
    seen: list[Any] = []

    @server.tool()
    async def look(ctx: Context[Any, Any]) -> str:
        seen.append(ctx.session._connection)
        return "looked"

    async with Client(server, mode=mode) as client:
        await client.call_tool("look", {})
        await client.call_tool("look", {})
    assert callable(seen[0].notify)
    assert isinstance(seen[0].exit_stack, AsyncExitStack)
    assert (seen[0] is seen[1]) == (mode == "legacy")


@pytest.mark.requirement("mcp:updates:sdk-attributes")
async def test_without_the_low_level_server_the_current_era_is_still_served() -> None:
    class Bare:
        """An SDK of the future."""

    desk = Desk(Service(unreachable), Waits(longest=50, progress_interval=10), Agendas(), Rate(600), Numbers())
    Updates(desk).add_to(Bare())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.requirement("mcp:updates:both-eras")
async def test_both_eras_are_told_that_they_may_subscribe(mode: Any) -> None:
    service = Service(unreachable)
    server, _ = build_server(Settings(agent="alice"), service, always("alice"))
    async with Client(server, mode=mode) as client:
        assert client.server_capabilities.resources is not None
        assert client.server_capabilities.resources.subscribe is True
    await service.close()


@pytest.mark.requirement("mcp:limits:body")
async def test_the_transport_is_served_behind_nothing_but_a_limit_of_bodies() -> None:
    server = MCPServer("test", version="1")
    app = server.streamable_http_app()
    limit = server.session_manager.asgi_app
    assert type(limit) is RequestBodyLimitMiddleware, "there is more in front of it now, which `_transports` leaves out"
    assert limit.app == server.session_manager._handle_request
    assert [getattr(route, "path", None) for route in app.routes] == ["/mcp"]
    assert not app.user_middleware
