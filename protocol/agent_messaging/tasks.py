"""Tasks: waits that go on without the call that began them, for whoever asks after them later."""

from __future__ import annotations

import json
import secrets
from typing import Any

from agent_messaging.engine import Engine
from agent_messaging.errors import InvalidArgumentError, TaskNotFoundError
from agent_messaging.models import Task
from agent_messaging_db import tasks
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import IdentityRow, TaskRow, TaskState

MOST_AT_WORK = 16
"""Tasks of one agent that wait at the same time."""
LONGEST_WAIT = 86_400.0
KEPT_AFTER_END = 3_600.0
"""Seconds that a task can still be asked after when it has waited as long as it may."""

_ID_BYTES = 18


class Tasks:
    """Keeps what is waited for, and what came of it. Nobody works on a task: whoever asks after it looks."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine

    async def may_begin(self, agent_external_id: str) -> bool:
        """Whether the agent may have one more task at work, of 16; raises AgentNotFoundError."""
        agent = await self._agent(agent_external_id)
        at_work = await self._engine.read(
            lambda connection: tasks.count_tasks(connection, agent=agent.id, limit=MOST_AT_WORK)
        )
        return at_work < MOST_AT_WORK

    async def begin(self, agent_external_id: str, resume: dict[str, Any], *, seconds: float) -> Task:
        """Store a task that waits for `seconds` at most, a day at the longest.

        Raises:
            AgentNotFoundError: the agent does not exist. InvalidArgumentError: `seconds` is not above 0.
        """
        agent = await self._agent(agent_external_id)
        if not seconds > 0:
            raise InvalidArgumentError(f"a task waits for more than 0 seconds, not {str(seconds)[:40]}")
        id, call = secrets.token_urlsafe(_ID_BYTES), json.dumps(resume)
        waits = min(seconds, LONGEST_WAIT)

        async def insert(connection: Connection, _again: bool) -> TaskRow | None:
            await tasks.insert_task(
                connection, id=id, agent=agent.id, resume=call, waits_seconds=waits, kept_seconds=KEPT_AFTER_END
            )
            return await tasks.get_task(connection, id=id, agent=agent.id)

        return _known(await self._engine.database.run(insert))

    async def get(self, agent_external_id: str, id: str) -> Task:
        """Give a task of the agent.

        Raises:
            AgentNotFoundError: the agent does not exist.
            TaskNotFoundError: there is none of this id, it is another agent's, or it has expired.
        """
        agent = await self._agent(agent_external_id)
        id = _checked(id)
        return _known(await self._engine.read(lambda connection: tasks.get_task(connection, id=id, agent=agent.id)))

    async def complete(self, agent_external_id: str, id: str, result: dict[str, Any]) -> Task:
        """Settle a task with what came of it, unless it is settled already; gives it as it is now. Raises what
        `get` raises.
        """
        return await self._settle(agent_external_id, id, TaskState.COMPLETED, json.dumps(result))

    async def cancel(self, agent_external_id: str, id: str) -> Task:
        """End a task, unless it is settled already; what it waited for stands. Raises what `get` raises."""
        return await self._settle(agent_external_id, id, TaskState.CANCELLED, None)

    async def _settle(self, agent_external_id: str, id: str, state: TaskState, result: str | None) -> Task:
        agent = await self._agent(agent_external_id)
        id = _checked(id)

        async def settle(connection: Connection, _again: bool) -> TaskRow | None:
            await tasks.settle_task(connection, id=id, agent=agent.id, state=state, result=result)
            return await tasks.get_task(connection, id=id, agent=agent.id)

        return _known(await self._engine.database.run(settle))

    async def _agent(self, external_id: str) -> IdentityRow:
        await self._engine.ready()
        return await self._engine.names.agent(external_id)


def _checked(id: str) -> str:
    # What PostgreSQL would not take is nobody's id.
    if not isinstance(id, str) or len(id) > 2 * _ID_BYTES or not id.isascii() or "\0" in id:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TaskNotFoundError("there is no such task of yours")
    return id


def _known(row: TaskRow | None) -> Task:
    if row is None:
        raise TaskNotFoundError("there is no such task of yours")
    return Task(
        id=row.id,
        resume=json.loads(row.resume),
        state=TaskState(row.state),
        result=None if row.result is None else json.loads(row.result),
        created_at=row.created_at,
        updated_at=row.updated_at,
        is_due=row.is_due,
        kept_seconds=row.kept_seconds,
        age_seconds=row.age_seconds,
    )
