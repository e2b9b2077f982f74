"""Statements that remove what is old, read and settled: a batch each, one transaction each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.statements import load

_SQL = load("retention")


async def cutoff(connection: Connection, *, seconds: float) -> datetime:
    """The moment so many seconds ago, by the database's clock."""
    return await connection.fetchval(_SQL["cutoff"], seconds)


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """`last` is where the walk goes on, None at its end; `questions` are among the `messages`, as are their
    answers.
    """

    last: UUID | None
    messages: int
    questions: int


async def prune_messages(
    connection: Connection, *, after: UUID, until: UUID, before: datetime, limit: int, only_count: bool
) -> MessageBatch:
    (row,) = await connection.fetch(_SQL["prune_messages"], after, until, before, limit, only_count)
    return MessageBatch(**row)


@dataclass(frozen=True, slots=True)
class MeetingBatch:
    """`last` is where the walk goes on, None at its end."""

    last: int | None
    meetings: int
    events: int


async def prune_meetings(
    connection: Connection, *, after: int, before: datetime, limit: int, only_count: bool
) -> MeetingBatch:
    (row,) = await connection.fetch(_SQL["prune_meetings"], after, before, limit, only_count)
    return MeetingBatch(**row)


@dataclass(frozen=True, slots=True)
class SessionBatch:
    """`last` is where the walk goes on, None at its end."""

    last: UUID | None
    sessions: int


async def prune_sessions(connection: Connection, *, after: UUID, before: datetime, limit: int) -> SessionBatch:
    (row,) = await connection.fetch(_SQL["prune_sessions"], after, before, limit)
    return SessionBatch(**row)
