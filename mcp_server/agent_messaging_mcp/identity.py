"""Who is calling. No tool has an argument for it: the transport knows, and only it is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

Identify: TypeAlias = "Callable[[ServerRequestContext[Any, Any]], str]"
"""Tells the external id of the agent a request acts as. Raises `MCPError` for a caller that it does not
know.
"""

_caller: ContextVar[str] = ContextVar("caller")

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]+")


def always(agent: str) -> Identify:
    """On stdio the agent is fixed at start: whoever holds the pipe holds the database too."""
    return lambda _request: agent


@contextmanager
def acting_as(agent: str) -> Generator[None]:
    """Let a request act as `agent`."""
    before = _caller.set(agent)
    try:
        yield
    finally:
        _caller.reset(before)


def caller() -> str:
    """The external id of the agent that this request acts as."""
    return _caller.get()


def name_of(directory: Path) -> str:
    """The external id that a working directory's name gives: `my project!` is `my-project`."""
    name = _NOT_IN_AN_ID.sub("-", directory.name).strip("._-")
    return name[:128] or "agent"
