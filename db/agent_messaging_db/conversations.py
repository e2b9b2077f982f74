"""Statements on the messages between two agents: sending, answering, ending, reading back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from agent_messaging_db import silences
from agent_messaging_db.keys import Key
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import MessageKind, MessageRow, QuestionState
from agent_messaging_db.statements import load

_SQL = load("conversations")


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to one recipient. `session_id` proposes a session (None: it belongs to none). `hop`: how many messages
    led to it (None: what the sender was shown is to tell).
    """

    id: UUID
    kind: MessageKind
    sender_id: UUID
    recipient_id: UUID
    content: str
    metadata: str | None
    session_id: UUID | None = None
    reply_seconds: float | None = None
    awaited_by: UUID | None = None
    hop: int | None = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch of messages is held against; None is no limit.

    `most_hops`: how many messages may follow from one another. `budget`: messages of a pair since its last question,
    `total_budget`: of any kind, both within `window_seconds`. `heard_seconds`: how long what an agent was shown counts
    as the cause of what it sends.
    """

    most_hops: int | None = None
    heard_seconds: float = 60.0
    budget: int | None = None
    total_budget: int | None = None
    window_seconds: float = 600.0


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Sending:
    """One operation: messages that are stored together or not at all, under one key."""

    messages: tuple[NewMessage, ...]
    key: Key | None = None

    @property
    def result(self) -> str:
        return ",".join(str(message.id) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Answering:
    """An answer to a question, or a decline of it."""

    question_id: UUID
    id: UUID
    kind: MessageKind
    sender_id: UUID
    content: str
    metadata: str | None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one row of a batch.

    `verdict` is 'sent' | 'answered' | 'late' | 'declined' | 'unknown' | 'refused' | 'replayed' | 'conflict', or
    'silenced' | 'too_far' | 'paused'; `result` what the first call of a replayed key gave; `state` the question's where
    it was refused. `until` when it is silenced (None: until that is lifted) or paused, the latter for `agent_id`; `hop`
    is what was too far.
    """

    verdict: str
    result: str | None = None
    state: QuestionState | None = None
    asker_id: UUID | None = None
    until: datetime | None = None
    agent_id: UUID | None = None
    hop: int | None = None


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """How a question stands, and its answer."""

    id: UUID
    number: int
    session_id: UUID
    asker_id: UUID
    answerer_id: UUID
    state: QuestionState
    reply_by: datetime
    awaited_by: UUID | None
    answer_id: UUID | None
    failure: str | None
    late: bool
    content: str | None
    metadata: str | None
    answered_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session between two agents; `waiting_id` is the agent that waits in it."""

    id: UUID
    low_id: UUID
    high_id: UUID
    type: str
    created_at: datetime
    ended_at: datetime | None
    waiting_id: UUID | None


async def send_messages(
    connection: Connection, *, batch: Sequence[Sending], again: bool, limits: Limits = UNLIMITED
) -> list[Verdict]:
    """Store a batch of operations in one statement, except for those that the limits or a silence refuse.

    Raises Conflict('at_most_eight_open_questions') if one of them asks too much: nothing of the batch was
    stored then.
    """
    rows = [(number, message) for number, sending in enumerate(batch) for message in sending.messages]
    keys = [(number, sending.key, sending.result) for number, sending in enumerate(batch) if sending.key is not None]
    found = await connection.fetch(
        _SQL["send_messages"],
        [number for number, _ in rows],
        [row.id for _, row in rows],
        [row.kind for _, row in rows],
        [row.sender_id for _, row in rows],
        [row.recipient_id for _, row in rows],
        [row.content for _, row in rows],
        [row.metadata for _, row in rows],
        [row.session_id for _, row in rows],
        [row.reply_seconds for _, row in rows],
        [row.awaited_by for _, row in rows],
        [number for number, _, _ in keys],
        [key.agent_id for _, key, _ in keys],
        [key.key for _, key, _ in keys],
        [key.hash for _, key, _ in keys],
        [result for _, _, result in keys],
        again,
        [row.hop for _, row in rows],
        limits.most_hops,
        limits.heard_seconds,
        limits.budget,
        limits.total_budget,
        limits.window_seconds,
    )
    verdicts = [Verdict("sent") for _ in batch]
    for row in found:
        verdicts[row["operation"]] = Verdict(
            row["verdict"],
            row["result"],
            until=silences.bounded(row["until"]),
            agent_id=row["agent_id"],
            hop=row["hop"],
        )
    return verdicts


async def answer_questions(connection: Connection, *, batch: Sequence[Answering], again: bool) -> list[Verdict]:
    """Settle a batch of questions in one statement, each row by itself."""
    keys = [(number, row.key, str(row.id)) for number, row in enumerate(batch, 1) if row.key is not None]
    found = await connection.fetch(
        _SQL["answer_questions"],
        [row.question_id for row in batch],
        [row.id for row in batch],
        [row.kind for row in batch],
        [row.sender_id for row in batch],
        [row.content for row in batch],
        [row.metadata for row in batch],
        [number for number, _, _ in keys],
        [key.agent_id for _, key, _ in keys],
        [key.key for _, key, _ in keys],
        [key.hash for _, key, _ in keys],
        [result for _, _, result in keys],
        again,
    )
    verdicts = {row["ord"]: _answered(row) for row in found}
    return [verdicts[number] for number in range(1, len(batch) + 1)]


def _answered(row: Mapping[str, Any]) -> Verdict:
    until = None
    if row["verdict"] == "silenced" and row["result"] not in (None, "infinity"):
        until = datetime.fromisoformat(row["result"])
    return Verdict(row["verdict"], row["result"], row["state"], row["asker_id"], until=until)


async def get_outcomes(connection: Connection, *, questions: Iterable[UUID]) -> dict[UUID, OutcomeRow]:
    rows = await connection.fetch(_SQL["get_outcomes"], list(questions))
    return {row["id"]: OutcomeRow(**row) for row in rows}


async def await_question(connection: Connection, *, question: UUID, process: UUID) -> None:
    await connection.execute(_SQL["await_question"], question, process)


async def release_questions(connection: Connection, *, questions: Iterable[UUID], process: UUID) -> set[UUID]:
    """Say in whose inbox an answer has appeared by this."""
    ids = list(questions)
    await connection.execute(_SQL["release_questions"], ids, process)
    return {row[0] for row in await connection.fetch(_SQL["release_answers"], ids, process)}


async def find_question_to_answer(connection: Connection, *, answerer: UUID, asker: UUID) -> UUID | None:
    row = await connection.fetchrow(_SQL["find_question_to_answer"], answerer, asker)
    return None if row is None else row["id"]


async def find_identical_question(connection: Connection, *, asker: UUID, answerer: UUID, content: str) -> UUID | None:
    row = await connection.fetchrow(_SQL["find_identical_question"], asker, answerer, content)
    return None if row is None else row["id"]


async def question_by_number(connection: Connection, *, number: int) -> tuple[UUID, UUID, UUID] | None:
    """Give a question's id, asker and answerer."""
    row = await connection.fetchrow(_SQL["question_by_number"], number)
    return None if row is None else (row["id"], row["asker_id"], row["answerer_id"])


async def question_parties(connection: Connection, *, question: UUID) -> tuple[int, UUID, UUID] | None:
    """Give a question's number, asker and answerer."""
    row = await connection.fetchrow(_SQL["question_parties"], question)
    return None if row is None else (row["number"], row["asker_id"], row["answerer_id"])


async def open_questions(connection: Connection, *, one: UUID, other: UUID) -> list[UUID]:
    """Give what two agents have asked each other and is not settled."""
    return [row["id"] for row in await connection.fetch(_SQL["open_questions"], one, other)]


async def end_sessions(connection: Connection, *, one: UUID, other: UUID) -> tuple[int, list[UUID]]:
    """Say how many sessions ended and which questions were settled by it."""
    row = await connection.fetchrow(_SQL["end_sessions"], one, other)
    return (0, []) if row is None else (row["ended"], row["cancelled"])


async def expire_questions(connection: Connection, *, limit: int) -> list[tuple[UUID, UUID]]:
    """Expire what is due; gives the questions and who asked them."""
    return [(row["id"], row["asker_id"]) for row in await connection.fetch(_SQL["expire_questions"], limit)]


async def live_sessions(connection: Connection, *, one: UUID, other: UUID) -> list[SessionRow]:
    return [SessionRow(**row) for row in await connection.fetch(_SQL["live_sessions"], one, other)]


async def conversation_after(
    connection: Connection, *, one: UUID, other: UUID, seq: int, limit: int
) -> list[MessageRow]:
    return [MessageRow(**row) for row in await connection.fetch(_SQL["conversation_after"], one, other, seq, limit)]


async def conversation_latest(connection: Connection, *, one: UUID, other: UUID, limit: int) -> list[MessageRow]:
    """Give the newest messages, in order."""
    rows = await connection.fetch(_SQL["conversation_latest"], one, other, limit)
    return [MessageRow(**row) for row in reversed(rows)]


async def last_seq(connection: Connection, *, one: UUID, other: UUID) -> int:
    return await connection.fetchval(_SQL["last_seq"], one, other) or 0
