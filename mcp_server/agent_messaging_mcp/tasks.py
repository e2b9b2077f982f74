"""The Tasks extension (SEP-2663): a wait longer than calls are held becomes a task, for which any process answers.

Nobody works on a task. `tasks/get` makes the call that goes on waiting once more, without waiting; when it finds
something, or has waited long enough, what it answers becomes the task's result and never changes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_NAME_HEADER, decode_header_value
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, RequestParams
from pydantic import Field

from agent_messaging.errors import AgentMessagingError, TaskNotFoundError
from agent_messaging.tasks import MOST_AT_WORK
from agent_messaging_mcp.calls import Desk, look
from agent_messaging_mcp.errors import outage
from agent_messaging_mcp.offers import Offer, offered
from agent_messaging_mcp.tools import RESUMABLE

if TYPE_CHECKING:
    from agent_messaging.models import Task

ID = "io.modelcontextprotocol/tasks"
GET, UPDATE, CANCEL = "tasks/get", "tasks/update", "tasks/cancel"
METHODS = frozenset({GET, UPDATE, CANCEL})

_CURRENT = frozenset({"2026-07-28"})
_SOON = 30.0
"""Seconds in which an answer is likely, so that asking often pays."""
_POLL_SOON_MS, _POLL_LATER_MS = 1_000, 3_000
POLLS_PER_MINUTE = 2 * MOST_AT_WORK * 60_000 // _POLL_SOON_MS
"""Twice as many as it takes to ask after as many tasks as an agent may have, as often as it is told to."""


class _TaskParams(RequestParams):
    task_id: str


class _UpdateParams(_TaskParams):
    input_responses: dict[str, Any] = Field(default_factory=dict[str, Any])


class Tasks(Extension):
    """For clients that declare it, in the current revision; all others get waits that are held within their calls."""

    identifier = ID

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def methods(self) -> Sequence[MethodBinding]:
        """Give the three requests that a client makes about a task."""
        return [
            MethodBinding(GET, _TaskParams, self._get, _CURRENT),
            MethodBinding(UPDATE, _UpdateParams, self._update, _CURRENT),
            MethodBinding(CANCEL, _TaskParams, self._cancel, _CURRENT),
        ]

    async def offering(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Answer a call whose wait has become a task with the task."""
        offer = Offer()
        with offered(offer):
            result = await call_next(ctx)
        if offer.task is None or not isinstance(result, Mapping):
            return result
        return {"resultType": "task", **_facts(offer.task), "_meta": result["_meta"]}

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: _TaskParams) -> HandlerResult:
        task = await self._task(ctx, params)
        if str(task.state) == "working":
            function = RESUMABLE[task.resume["tool"]]
            found = await look(self._desk, function, task.resume["arguments"], is_last=task.is_due)
            if found is not None:
                result = found.result.model_dump(by_alias=True, mode="json", exclude_none=True)
                task = await self._settled(params.task_id, result)
                if task.result == result:
                    await found.is_told()
        answer: dict[str, Any] = {"resultType": "complete", **_facts(task)}
        return answer if task.result is None else answer | {"result": task.result}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: _UpdateParams) -> HandlerResult:
        await self._task(ctx, params)  # nothing is ever asked of whoever waits, so there is nothing to be told
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: _TaskParams) -> HandlerResult:
        await self._task(ctx, params)
        await self._settled(params.task_id, None)
        return {"resultType": "complete"}

    async def _settled(self, id: str, result: dict[str, Any] | None) -> Task:
        view = await self._desk.view()
        try:
            return await (view.cancel_task(id) if result is None else view.complete_task(id, result))
        except TaskNotFoundError:
            raise _unknown() from None
        except AgentMessagingError as failed:
            raise outage(failed) from None

    async def _task(self, ctx: ServerRequestContext[Any, Any], params: _TaskParams) -> Task:
        require_client_extension(ctx, ID)
        headers: Mapping[str, str] = {} if ctx.request is None else ctx.request.headers
        # The SDK compares names of its own methods only. Over SSE, whatever the revision, there are no such headers.
        if MCP_METHOD_HEADER in headers and decode_header_value(headers.get(MCP_NAME_HEADER, "")) != params.task_id:
            raise MCPError(HEADER_MISMATCH, "The Mcp-Name header is not the task's id.")
        view = await self._desk.view()
        try:
            return await view.task(params.task_id)
        except TaskNotFoundError:
            raise _unknown() from None
        except AgentMessagingError as failed:
            raise outage(failed) from None


def is_declared(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether whoever makes this request takes tasks."""
    capabilities = ctx.session.client_capabilities
    declared = capabilities.extensions if capabilities else None
    return ctx.protocol_version in _CURRENT and declared is not None and ID in declared


def _unknown() -> MCPError:
    return MCPError(INVALID_PARAMS, "There is no such task.")


def _facts(task: Task) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "taskId": task.id,
        "status": str(task.state),
        "createdAt": _time(task.created_at),
        "lastUpdatedAt": _time(task.updated_at),
        "ttlMs": round(task.kept_seconds * 1_000),
        "pollIntervalMs": _POLL_SOON_MS if task.age_seconds < _SOON else _POLL_LATER_MS,
    }
    if str(task.state) == "cancelled":
        facts["statusMessage"] = "The wait was cancelled. What it waited for stands; nothing was marked read."
    return facts


def _time(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
