"""Who is calling. No tool has an argument for it: the transport knows, and only it is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from agent_messaging_mcp.scoped import Scoped

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

Identify: TypeAlias = "Callable[[ServerRequestContext[Any, Any]], str]"
"""Tells the external id of the agent a request acts as. Raises `MCPError` for a caller that it does not
know.
"""

_caller: ContextVar[str] = ContextVar("caller")

WhenOver: TypeAlias = Callable[[Callable[[], None]], Callable[[], None]]

_when_over: ContextVar[WhenOver | None] = ContextVar("when_over", default=None)

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]+")


def always(agent: str) -> Identify:
    """On stdio the agent is fixed at start: whoever holds the pipe holds the database too."""
    return lambda _request: agent


def acting_as(agent: str) -> Scoped[str]:
    """Let a request act as `agent`."""
    return Scoped(_caller, agent)


def caller() -> str:
    """The external id of the agent that this request acts as."""
    return _caller.get()


def allowed_until(over: WhenOver) -> Scoped[WhenOver | None]:
    """Let what a request leaves behind end together with the caller's permission to make it."""
    return Scoped(_when_over, over)


def when_over(end: Callable[[], None]) -> Callable[[], None]:
    """Have `end()` called once when the caller may no longer call (its token is revoked or has expired);
    gives the way out.
    """
    over = _when_over.get()
    return over(end) if over is not None else lambda: None


def name_of(directory: Path) -> str:
    """The external id that a working directory's name gives: `my project!` is `my-project`."""
    name = _NOT_IN_AN_ID.sub("-", directory.name).strip("._-")
    return name[:128] or "agent"
