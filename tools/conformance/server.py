"""The server that `agent-messaging serve` is, with the fixtures on it, for clients that know nothing of tokens.

`python -m tools.conformance.server` serves on a free port of the loopback address, says on standard error which, and
keeps its messages where the environment says, as every other server does.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import Any

from mcp.shared.exceptions import MCPDeprecationWarning
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_messaging import AgentMessaging
from agent_messaging_mcp import logs
from agent_messaging_mcp.http import app, serving
from agent_messaging_mcp.service import Service, opened
from agent_messaging_mcp.settings import Settings
from tools.conformance import fixtures

AGENT = "conformance"
_TOKEN_SECONDS = 3_600


class Introduction:
    """Adds the suite's token to requests that bring none, and does nothing else."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._header = (b"authorization", f"Bearer {token}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not any(name == b"authorization" for name, _ in scope["headers"]):
            scope = {**scope, "headers": [*scope["headers"], self._header]}
        await self._app(scope, receive, send)


async def token() -> str:
    """A token of the suite's agent, which is registered if it is missing."""
    async with AgentMessaging[Any]() as messaging:
        await messaging.register_organization(AGENT, "Conformance", exist_ok=True)
        await messaging.register_agent(AGENT, AGENT, "Conformance suite", exist_ok=True)
        return (await messaging.tokens.create(AGENT, expires_in=_TOKEN_SECONDS)).token


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    serving.end_at_signals()
    logs.configure("warning", "text")
    # The suite tries what is deprecated, too.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    server = app.build(Settings(), Service(opened()))
    fixtures.add_to(server.mcp, server.desk)
    server.app = Introduction(server.app, asyncio.run(token()))
    with serving.listen("127.0.0.1", 0) as listening:
        print(f"Listening: http://127.0.0.1:{listening.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
        serving.run(server, listening)


if __name__ == "__main__":
    main()
