"""Statements on tasks: waits that go on without the call that began them."""

from __future__ import annotations

from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import TaskRow, TaskState
from agent_messaging_db.statements import load

_SQL = load("tasks")


async def insert_task(
    connection: Connection, *, id: str, agent: UUID, resume: str, waits_seconds: float, kept_seconds: float
) -> None:
    """Store a task that waits `waits_seconds` at most and can be asked after for `kept_seconds` more. The same id
    again changes nothing.
    """
    await connection.execute(_SQL["insert_task"], id, agent, resume, waits_seconds, kept_seconds)


async def count_tasks(connection: Connection, *, agent: UUID, limit: int) -> int:
    """Count the agent's tasks that still wait, no further than `limit`."""
    return await connection.fetchval(_SQL["count_tasks"], agent, limit)


async def get_task(connection: Connection, *, id: str, agent: UUID) -> TaskRow | None:
    """Give a task of this agent; None for anybody else's, and for one that has expired."""
    row = await connection.fetchrow(_SQL["get_task"], id, agent)
    return None if row is None else TaskRow(**row)


async def settle_task(connection: Connection, *, id: str, agent: UUID, state: TaskState, result: str | None) -> None:
    """End a task, unless it has ended."""
    await connection.execute(_SQL["settle_task"], id, agent, state, result)
