"""The fourteen tools, in the order in which hosts list them."""

from __future__ import annotations

from mcp.server.mcpserver.tools import Tool

from agent_messaging_mcp.calls import Desk
from agent_messaging_mcp.tools import conversations, directory, inbox, meetings

ALL = (*inbox.TOOLS, *conversations.TOOLS, *directory.TOOLS, *meetings.TOOLS)


def bound(desk: Desk) -> list[Tool]:
    """The tools as `desk` serves them."""
    return [spec.bound(desk) for spec in ALL]
