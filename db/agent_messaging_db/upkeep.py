"""Statements of the sweep: what changed unnoticed, what is due, what has served its time."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.statements import load

_SQL = load("upkeep")


async def settled_questions(connection: Connection, *, questions: Iterable[UUID]) -> list[UUID]:
    return [row[0] for row in await connection.fetch(_SQL["settled_questions"], list(questions))]


async def agents_with_unread(connection: Connection, *, agents: Iterable[UUID]) -> list[UUID]:
    """Give those of the agents that have something unread or the floor of a meeting."""
    return [row[0] for row in await connection.fetch(_SQL["agents_with_unread"], list(agents))]


async def due_meetings(connection: Connection, *, limit: int) -> list[UUID]:
    return [row[0] for row in await connection.fetch(_SQL["due_meetings"], limit)]


async def forget(connection: Connection) -> None:
    await connection.execute(_SQL["forget"])
