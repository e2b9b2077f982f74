"""What the conformance suite calls to be given tasks: waits of the server's own kind, kept and settled as its own are.

A task here is a wait that goes on, so what "computes" waits for the time to pass; what it comes to is told like what
comes of any wait. Nothing is asked of whoever waits, and an outage is the error of one look: a task never fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.mcpserver import Context, require_client_extension
from mcp_types import CallToolResult, InputRequiredResult

from agent_messaging_mcp import offers, tasks
from agent_messaging_mcp.calls import Call, Desk
from agent_messaging_mcp.rendering import rendered
from agent_messaging_mcp.results import Refusal, Result, Resume
from agent_messaging_mcp.tools import RESUMABLE
from tools.conformance import inputs

_FAILS_AFTER = 1.0
_GREETS_AFTER = 1.0


async def greet(name: str) -> str:
    """Says hello, and never waits."""
    return f"Hello, {name}!"


async def computed(call_: Call, label: str, wait_seconds: float) -> Result:
    """Goes on computing until its time has passed."""
    resume = Resume(computed.__name__, {"label": label})
    return Result(status="computed", happened=f"Computed {label}.", do="carry on.", resume=resume)


async def failed(call_: Call, wait_seconds: float) -> Refusal:
    """Finds that it has failed."""
    return Refusal("This job intentionally fails. Now: carry on.")


async def greeted(call_: Call, name: str, wait_seconds: float) -> Result:
    """Goes on greeting until its time has passed."""
    resume = Resume(greeted.__name__, {"name": name})
    return Result(status="greeted", happened=f"Hello, {name}!", do="carry on.", resume=resume)


def tools(desk: Desk) -> tuple[Callable[..., Any], ...]:
    """The tools that wait, on `desk`."""

    async def waited(
        seconds: float, function: Callable[..., Awaitable[Result | Refusal]], **arguments: Any
    ) -> CallToolResult:
        view = await desk.view()
        offer = offers.current()
        if offer is not None and seconds > 0:
            offer.task = await view.begin_task({"tool": function.__name__, "arguments": arguments}, seconds=seconds)
        return rendered(await function(Call(desk, None, view), **arguments, wait_seconds=0))

    async def slow_compute(seconds: float, label: str = "") -> CallToolResult:
        """Takes its time."""
        return await waited(seconds, computed, label=label)

    async def failing_job(ctx: Context[Any, Any]) -> CallToolResult:
        """Fails after a while; for clients that take tasks alone."""
        require_client_extension(ctx.request_context, tasks.ID)
        return await waited(_FAILS_AFTER, failed)

    async def test_tool_with_task(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Needs a name, and takes its time to greet."""
        name = inputs.said(ctx, "user_name", "name")
        if not name:
            return inputs.needs(user_name=inputs.person("What is your name?", inputs.NAME))
        return await waited(_GREETS_AFTER, greeted, name=name)

    return greet, slow_compute, failing_job, test_tool_with_task


NAMES = ("greet", "slow_compute", "failing_job", "test_tool_with_task")
"""What `tools` gives."""

RESUMED = {function.__name__: function for function in (computed, failed, greeted)}
"""What the tasks of those tools look for."""


def go_on() -> None:
    """Let this process answer for the tasks."""
    RESUMABLE.update(RESUMED)
