"""Agents in a meeting whose models make the literal call that they were told, over and over, whatever becomes of their
servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from mcp import MCPError

from tests.mcp_server.hosts import Era, Host, Transport, network_host
from tests.mcp_server.readers import Call, calls_in, text_of
from tests.mcp_server.serving import Served

RESTARTS = "about to restart"
_PAUSE = 0.1

Before = Callable[["Member", Host, Call], Awaitable[Call]]


async def as_told(_member: Member, _host: Host, call: Call) -> Call:
    return call


@dataclass
class Member:
    """One agent, one way to connect, and all that it is told and says."""

    agent: str
    served: Served
    token: str
    transport: Transport
    era: Era
    before: Before = as_told
    results: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    said: dict[int, str] = field(default_factory=dict[int, str])
    heard: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    connections: int = 0

    async def plays(self, call: Call) -> None:
        """Make this call, and then every call that its result names, until the meeting has ended."""
        next_: Call | None = call
        while next_ is not None:
            self.connections += 1
            try:
                async with network_host(
                    self.served.address, self.token, self.agent, transport=self.transport, era=self.era
                ) as host:
                    while next_ is not None:
                        next_ = await self._made(host, next_)
            except* (MCPError, httpx2.HTTPError, OSError):
                await asyncio.sleep(_PAUSE)

    @property
    def interrupted(self) -> list[dict[str, Any]]:
        """The results of calls that were held when the server stopped."""
        return [result for result in self.results if RESTARTS in result["now"]]

    async def _made(self, host: Host, call: Call) -> Call | None:
        call = await self.before(self, host, call)
        if call.tool == "speak":
            self.said[call.arguments["turn"]] = call.arguments["message"]
        result = await host.result(call.tool, **call.arguments)
        assert not result.is_error, text_of(result)
        structure = result.structured_content
        assert structure is not None
        self.results.append(structure)
        self.heard |= {(speech["turn"], speech["text"]) for speech in structure.get("said", ())}
        if structure["status"] == "meeting_ended":
            return None
        [told] = calls_in(structure["next"])
        if told.tool == "speak":
            told = Call("speak", told.filled_in(message=f"{self.agent} on turn {told.arguments['turn']}"))
        return told
