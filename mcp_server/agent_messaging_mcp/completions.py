"""Completions of agents and meetings, for hosts that help a person fill in a prompt or a resource."""

from __future__ import annotations

from typing import Any

from mcp import MCPError
from mcp.server import MCPServer
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from agent_messaging.errors import AgentMessagingError
from agent_messaging_mcp.calls import Desk

_MOST = 100


def add_to(server: MCPServer[Any], desk: Desk) -> None:
    """Complete from what the caller may see, and nothing else."""

    @server.completion()
    async def complete(
        _ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        _context: CompletionContext | None,
    ) -> Completion | None:
        try:
            values = await _values(desk, argument)
        except (AgentMessagingError, MCPError):
            return None  # a help, not an answer: without a database there is nothing to offer
        return Completion(values=values[:_MOST], has_more=len(values) > _MOST)


async def _values(desk: Desk, argument: CompletionArgument) -> list[str]:
    view = await desk.view()
    match argument.name:
        case "agent" | "agents":
            # `agents` is a list in text: the last name is the one being written.
            before, comma, begun = argument.value.rpartition(",")
            found = await view.agents(limit=1_000)
            others = [agent.external_id for agent in found if agent.external_id != view.external_id]
            begun = begun.strip()
            return [f"{before}{comma}{name}" for name in others if name.startswith(begun)]
        case "meeting":
            return [
                status.handle for status in await view.meetings(_MOST + 1) if status.handle.startswith(argument.value)
            ]
        case _:
            return []
