"""A client of the Tasks extension: what the official client needs to be given a task, and to ask after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import mcp_types as types
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from agent_messaging_mcp.tasks import ID


class Created(types.Result):
    """A task in place of a result."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int | None = None


class State(types.Result):
    """How a task stands."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    result_type: Literal["complete"]
    task_id: str
    status: str
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int | None = None
    status_message: str | None = None
    result: dict[str, Any] | None = None


class Named(types.RequestParams):
    task_id: str


class Answered(Named):
    input_responses: dict[str, Any]


class Get(types.Request[Named, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    params: Named
    name_param = "taskId"


class Cancel(types.Request[Named, Literal["tasks/cancel"]]):
    method: Literal["tasks/cancel"] = "tasks/cancel"
    params: Named
    name_param = "taskId"


class Update(types.Request[Answered, Literal["tasks/update"]]):
    method: Literal["tasks/update"] = "tasks/update"
    params: Answered
    name_param = "taskId"


class TakesTasks(ClientExtension):
    """Declares the extension on every request; the tasks themselves are asked after by the tests."""

    identifier = ID

    async def _resolve(self, task: Created, context: ClaimContext) -> types.CallToolResult:
        raise AssertionError(f"nobody resolves task {task.task_id}")

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Created, resolve=self._resolve)]


async def begin(client: Client, tool: str, /, **arguments: Any) -> Created | types.CallToolResult:
    """Call a tool; gives the task that was given in place of a result, or the result."""
    given = await client.session.call_tool(tool, arguments, allow_claimed=True)
    assert isinstance(given, Created | types.CallToolResult)
    return given


async def begun(client: Client, tool: str, /, **arguments: Any) -> Created:
    """Call a tool that gives a task."""
    task = await begin(client, tool, **arguments)
    assert isinstance(task, Created), task
    return task


async def get(client: Client, task: str) -> State:
    return await client.session.send_request(Get(params=Named(task_id=task)), State)


async def cancel(client: Client, task: str) -> None:
    await client.session.send_request(Cancel(params=Named(task_id=task)), types.EmptyResult)


async def update(client: Client, task: str) -> None:
    await client.session.send_request(Update(params=Answered(task_id=task, input_responses={})), types.EmptyResult)
