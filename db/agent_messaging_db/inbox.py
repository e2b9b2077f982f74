"""Statements on inboxes: what is unread, taking it, acknowledging it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import MeetingPhase, MessageKind, MessageRow, QuestionState
from agent_messaging_db.statements import load

_SQL = load("inbox")


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One delivery as an inbox shows it; `seconds_left` is what a question has left to be answered."""

    id: UUID
    sender_id: UUID
    recipient_id: UUID
    kind: MessageKind
    content: str | None
    metadata: str | None
    seq: int | None
    meeting_id: UUID | None
    reply_to: UUID | None
    late: bool
    hop: int
    created_at: datetime
    position: int
    read_at: datetime | None
    shown_at: datetime | None
    dead_at: datetime | None
    attempt: int
    question_id: UUID | None
    question_number: int | None
    question_state: QuestionState | None
    reply_by: datetime | None
    meeting_number: int | None
    meeting_title: str | None
    meeting_phase: MeetingPhase | None
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A turn that an agent has in a meeting."""

    meeting_id: UUID
    meeting_number: int
    meeting_title: str | None
    turn: int
    floor_at: datetime
    host_id: UUID
    shown: bool
    seconds_left: float | None


async def count_unread(connection: Connection, *, agents: Iterable[UUID], limit: int) -> dict[UUID, int]:
    rows = await connection.fetch(_SQL["count_unread"], list(agents), limit)
    return {row["agent_id"]: row["unread"] for row in rows}


async def has_anything(connection: Connection, *, agent: UUID) -> bool:
    """May a page of the agent's inbox hold anything?"""
    return await connection.fetchval(_SQL["has_anything"], agent)


async def have_unread(
    connection: Connection, *, ways: Sequence[tuple[UUID, UUID]], kinds: Sequence[MessageKind]
) -> set[tuple[UUID, UUID]]:
    """Of these recipients and senders, those with an unread message from the one to the other."""
    recipients, senders = [recipient for recipient, _ in ways], [sender for _, sender in ways]
    rows = await connection.fetch(_SQL["have_unread"], recipients, senders, kinds)
    return {(row["recipient_id"], row["sender_id"]) for row in rows}


async def page(
    connection: Connection, *, agent: UUID, sender: UUID | None, limit: int, after: int = 0
) -> list[ItemRow]:
    """Give what is unread after a position, oldest first."""
    return [ItemRow(**row) for row in await connection.fetch(_SQL["page"], agent, sender, limit, after)]


async def count_page(connection: Connection, *, agent: UUID, sender: UUID | None, limit: int) -> int:
    return await connection.fetchval(_SQL["count_page"], agent, sender, limit)


async def owed_questions(connection: Connection, *, agent: UUID, sender: UUID | None, limit: int) -> list[ItemRow]:
    return [ItemRow(**row) for row in await connection.fetch(_SQL["owed_questions"], agent, sender, limit)]


async def turns(connection: Connection, *, agent: UUID) -> list[TurnRow]:
    return [TurnRow(**row) for row in await connection.fetch(_SQL["turns"], agent)]


async def take(
    connection: Connection, *, agent: UUID, sender: UUID | None, limit: int, kinds: Sequence[MessageKind]
) -> list[MessageRow]:
    """Mark read and give; to be run in a transaction that commits once this has returned."""
    return [MessageRow(**row) for row in await connection.fetch(_SQL["take"], agent, sender, limit, list(kinds))]


async def peek(
    connection: Connection, *, agent: UUID, sender: UUID | None, limit: int, kinds: Sequence[MessageKind]
) -> list[MessageRow]:
    return [MessageRow(**row) for row in await connection.fetch(_SQL["peek"], agent, sender, limit, list(kinds))]


async def mark_read(connection: Connection, *, deliveries: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    """Acknowledge (message, recipient) pairs; gives the messages that were unread until now."""
    rows = await connection.fetch(_SQL["mark_read"], [m for m, _ in deliveries], [r for _, r in deliveries])
    return {row[0] for row in rows}


async def mark_taken(connection: Connection, *, messages: Iterable[UUID]) -> None:
    """Acknowledge (message, recipient) pairs that a wait has given to its caller."""
    await connection.execute(_SQL["mark_taken"], list(messages))


async def mark_unread(connection: Connection, *, messages: Iterable[UUID]) -> None:
    await connection.execute(_SQL["mark_unread"], list(messages))


async def mark_poison(connection: Connection, *, messages: Iterable[UUID], error: str) -> None:
    await connection.execute(_SQL["mark_poison"], list(messages), error)


async def mark_shown(connection: Connection, *, agent: UUID, messages: Iterable[UUID]) -> None:
    await connection.execute(_SQL["mark_shown"], agent, list(messages))


async def mark_turns_shown(connection: Connection, *, agent: UUID, turns: Iterable[tuple[UUID, datetime]]) -> None:
    """`turns`: meetings, and since when the agent has the floor."""
    pairs = list(turns)
    await connection.execute(_SQL["mark_turns_shown"], agent, [m for m, _ in pairs], [t for _, t in pairs])


async def has_unshown_need(
    connection: Connection, *, agent: UUID, own_question: UUID | None, own_meeting: UUID | None
) -> bool:
    return await connection.fetchval(_SQL["unshown_need"], agent, own_question, own_meeting)


async def insert_cursor(connection: Connection, *, agent: UUID, messages: Sequence[UUID]) -> int:
    return await connection.fetchval(_SQL["insert_cursor"], agent, list(messages))


async def get_cursor(connection: Connection, *, number: int, agent: UUID) -> list[UUID] | None:
    return await connection.fetchval(_SQL["get_cursor"], number, agent)
