"""Statements of the sweep: what changed unnoticed, what is due, what has served its time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.statements import load

_SQL = load("upkeep")


async def settled_questions(connection: Connection, *, questions: Iterable[UUID]) -> list[UUID]:
    return [row[0] for row in await connection.fetch(_SQL["settled_questions"], list(questions))]


@dataclass(frozen=True, slots=True)
class InboxState:
    """Enough of an inbox to notice that it changed. `unread` is counted no further than asked."""

    agent_id: UUID
    unread: int
    newest: int | None
    turns: int
    since: datetime | None


async def inbox_states(connection: Connection, *, agents: Iterable[UUID], limit: int) -> list[InboxState]:
    return [InboxState(**row) for row in await connection.fetch(_SQL["inbox_states"], list(agents), limit)]


@dataclass(frozen=True, slots=True)
class MeetingState:
    """Enough of a meeting to notice that it moved on, and whether it is over."""

    id: UUID
    version: int
    ended: bool


async def meeting_states(connection: Connection, *, meetings: Iterable[UUID]) -> list[MeetingState]:
    return [MeetingState(**row) for row in await connection.fetch(_SQL["meeting_states"], list(meetings))]


async def due_meetings(connection: Connection, *, limit: int) -> list[UUID]:
    return [row[0] for row in await connection.fetch(_SQL["due_meetings"], limit)]


async def forget(connection: Connection) -> None:
    await connection.execute(_SQL["forget"])
