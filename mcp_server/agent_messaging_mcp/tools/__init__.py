"""The fourteen tools, in the order in which hosts list them."""

from __future__ import annotations

from mcp.server.mcpserver.tools import Tool

from agent_messaging_mcp.calls import Desk, Function
from agent_messaging_mcp.tools import conversations, directory, inbox, meetings

ALL = (*inbox.TOOLS, *conversations.TOOLS, *directory.TOOLS, *meetings.TOOLS)

RESUMABLE: dict[str, Function] = {
    function.__name__: function
    for function in (inbox.check_inbox, conversations.wait_for_answer, meetings.attend_meeting)
}
"""The calls that a task makes while it waits."""


def bound(desk: Desk) -> list[Tool]:
    """The tools as `desk` serves them."""
    return [spec.bound(desk) for spec in ALL]
