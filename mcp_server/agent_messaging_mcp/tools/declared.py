"""How a tool is declared: its function, and what a model and a host are told about it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, ToolAnnotations

from agent_messaging_mcp.arguments import published
from agent_messaging_mcp.calls import Desk, Function, overdrawn, perform

CONTEXT_ARGUMENT = "call_"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool before it is bound to a server. Its function's first parameter is `call_`, the others are its
    arguments.
    """

    function: Function
    description: str
    annotations: ToolAnnotations

    @property
    def name(self) -> str:
        return self.function.__name__

    def bound(self, desk: Desk) -> Tool:
        """The tool as `desk` serves it."""
        tool = published(
            self.function,
            name=self.name,
            description=self.description,
            annotations=self.annotations,
            context_argument=CONTEXT_ARGUMENT,
            count=desk.numbers.called,
            overdrawn=partial(overdrawn, desk, self.name),
        )

        def run(*, call_: Context[Any, Any], **arguments: Any) -> Awaitable[CallToolResult]:
            return perform(desk, self.function, call_, arguments)

        tool.fn = run
        return tool
