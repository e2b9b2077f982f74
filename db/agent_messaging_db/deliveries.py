"""Statements on deliveries to handlers: claiming, finishing, trying again, giving up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import MessageKind
from agent_messaging_db.statements import load

_SQL = load("deliveries")


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A delivery that this process handles now. `exhausted`: it has had all its attempts and is to be given
    up.
    """

    id: UUID
    sender_id: UUID
    recipient_id: UUID
    kind: MessageKind
    content: str | None
    metadata: str | None
    session_id: UUID | None
    meeting_id: UUID | None
    hop: int
    attempt: int
    exhausted: bool
    reply_by: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery to give up; `attempt` fences (None: nobody has a claim on it)."""

    message_id: UUID
    attempt: int | None
    error: str


async def claim(
    connection: Connection, *, wanted: Sequence[tuple[UUID, int]], process: UUID, max_attempts: int
) -> list[ClaimRow]:
    """Claim up to a number of deliveries for each agent."""
    agents, free = [agent for agent, _ in wanted], [number for _, number in wanted]
    return [ClaimRow(**row) for row in await connection.fetch(_SQL["claim"], agents, free, process, max_attempts)]


async def finish(connection: Connection, *, done: Sequence[tuple[UUID, int]], process: UUID) -> None:
    await connection.execute(_SQL["finish"], [m for m, _ in done], [attempt for _, attempt in done], process)


async def retry_later(
    connection: Connection, *, message: UUID, attempt: int, seconds: float, error: str, process: UUID
) -> float | None:
    """Say in how many seconds it is due; None if it is no longer this process's."""
    return await connection.fetchval(_SQL["retry_later"], message, attempt, seconds, error, process)


async def give_back(connection: Connection, *, messages: Iterable[UUID], process: UUID) -> None:
    await connection.execute(_SQL["give_back"], list(messages), process)


async def claims(connection: Connection, *, agents: Iterable[UUID], process: UUID) -> list[tuple[UUID, int]]:
    """Give the messages, and the attempts, that a process has claimed for the handlers of these agents."""
    return [(row[0], row[1]) for row in await connection.fetch(_SQL["claims"], list(agents), process)]


async def let_go(connection: Connection, *, claims: Sequence[tuple[UUID, int]], process: UUID) -> None:
    await connection.execute(_SQL["let_go"], [m for m, _ in claims], [attempt for _, attempt in claims], process)


async def dead_letter(
    connection: Connection, *, letters: Sequence[DeadLetter], process: UUID
) -> list[tuple[UUID, UUID, UUID | None]]:
    """Give up; says for each its message, recipient, and the question that was settled by it."""
    rows = await connection.fetch(
        _SQL["dead_letter"],
        [letter.message_id for letter in letters],
        process,
        [letter.attempt for letter in letters],
        [letter.error for letter in letters],
    )
    return [(row["message_id"], row["recipient_id"], row["question_id"]) for row in rows]


async def agents_with_work(connection: Connection, *, agents: Iterable[UUID]) -> list[UUID]:
    return [row[0] for row in await connection.fetch(_SQL["agents_with_work"], list(agents))]
