"""Statements on the messages between two agents: sending, answering, ending, reading back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from agent_messaging_db import silences
from agent_messaging_db.keys import Key
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import MessageKind, MessageRow, QuestionState
from agent_messaging_db.statements import load

_SQL = load("conversations")
_STATES = {
    "answered": QuestionState.ANSWERED,
    "late": QuestionState.ANSWERED,
    "declined": QuestionState.DECLINED,
}


class NewMessage(NamedTuple):
    """A message to one recipient.

    `hop`: how many messages led to it (None: what the sender was shown is to tell). `taken`: the sending process has a
    handler with room for it.
    """

    id: UUID
    kind: MessageKind
    sender_id: UUID
    recipient_id: UUID
    content: str
    metadata: str | None
    reply_seconds: float | None = None
    awaited_by: UUID | None = None
    hop: int | None = 0
    taken: bool | None = None


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


class Sending(NamedTuple):
    """One operation: messages that are stored together or not at all, under one key."""

    messages: tuple[NewMessage, ...]
    key: Key | None = None

    @property
    def result(self) -> str:
        return ",".join(str(message.id) for message in self.messages)


class Answering(NamedTuple):
    """An answer to a question, or a decline of it."""

    question_id: UUID
    id: UUID
    kind: MessageKind
    sender_id: UUID
    content: str
    metadata: str | None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that was stored as claimed by the process that sent it, and what only the rows know of it."""

    message_id: UUID
    session_id: UUID | None
    reply_by: datetime | None
    hop: int


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
class Verdict:
    """What became of one row of a batch.

    `verdict` is 'sent' | 'answered' | 'late' | 'declined' | 'unknown' | 'refused' | 'replayed' | 'conflict', or
    'silenced' | 'too_far' | 'paused'; `result` what the first call of a replayed key gave; `state` the question's where
    it was refused. `until` when it is silenced (None: until that is lifted) or paused, the latter for `agent_id`; `hop`
    is what was too far. `taken`: which messages of what was sent are the sending process's to handle. `outcome`: of the
    question that was settled.
    """

    verdict: str
    result: str | None = None
    state: QuestionState | None = None
    asker_id: UUID | None = None
    until: datetime | None = None
    agent_id: UUID | None = None
    hop: int | None = None
    taken: tuple[Taken, ...] = ()
    outcome: OutcomeRow | None = None


_SENT = Verdict("sent")


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
    connection: Connection,
    *,
    batch: Sequence[Sending],
    again: bool,
    process: UUID | None = None,
    limits: Limits = UNLIMITED,
) -> list[Verdict]:
    """Store a batch of operations in one statement, except for those that the limits or a silence refuse.

    `process`: the one that sends, to which `taken` refers. Raises Conflict('at_most_eight_open_questions') if one of
    them asks too much: nothing of the batch was stored then.
    """
    operations = [number for number, sending in enumerate(batch) for _ in sending.messages]
    messages = [message for sending in batch for message in sending.messages]
    keys = [(number, sending.key, sending.result) for number, sending in enumerate(batch) if sending.key is not None]
    found = await connection.fetch(
        _SQL["send_messages"],
        operations,
        [message.id for message in messages],
        [message.kind for message in messages],
        [message.sender_id for message in messages],
        [message.recipient_id for message in messages],
        [message.content for message in messages],
        _unless_all(None, [message.metadata for message in messages]),
        _unless_all(None, [message.reply_seconds for message in messages]),
        _unless_all(None, [message.awaited_by for message in messages]),
        _unless_all(0, [message.hop for message in messages]),
        _unless_all(None, [message.taken for message in messages]),
        process,
        *_columns_of(keys),
        again,
        limits.most_hops,
        limits.heard_seconds,
        limits.budget,
        limits.total_budget,
        limits.window_seconds,
    )
    verdicts = [_SENT] * len(batch)
    for row in found:
        number: int = row["operation"]
        if row["verdict"] == "taken":
            claimed = Taken(row["message_id"], row["session_id"], row["reply_by"], row["hop"])
            verdicts[number] = Verdict("sent", taken=(*verdicts[number].taken, claimed))
        else:
            verdicts[number] = Verdict(
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
        _unless_all(None, [row.metadata for row in batch]),
        *_columns_of(keys),
        again,
    )
    verdicts: dict[int, Verdict] = {}
    for row in found:
        number: int = row["ord"]
        verdicts[number] = _answered(batch[number - 1], row)
    return [verdicts[number] for number in range(1, len(batch) + 1)]


def _unless_all(usual: object, column: list[Any]) -> list[Any]:
    # The statements take an empty column for one that is all as usual: it need not be written nor read.
    return [] if column.count(usual) == len(column) else column


def _columns_of(keys: Sequence[tuple[int, Key, str]]) -> tuple[list[Any], ...]:
    return (
        [number for number, _, _ in keys],
        [key.agent_id for _, key, _ in keys],
        [key.key for _, key, _ in keys],
        [key.hash for _, key, _ in keys],
        [result for _, _, result in keys],
    )


def _answered(given: Answering, row: Mapping[str, Any]) -> Verdict:
    verdict, until, outcome = row["verdict"], None, None
    if verdict == "silenced" and row["result"] not in (None, "infinity"):
        until = datetime.fromisoformat(row["result"])
    if verdict in _STATES and row["number"] is not None:
        outcome = OutcomeRow(
            id=given.question_id,
            number=row["number"],
            session_id=row["session_id"],
            asker_id=row["asker_id"],
            answerer_id=given.sender_id,
            state=_STATES[verdict],
            reply_by=row["reply_by"],
            awaited_by=row["awaited_by"],
            answer_id=given.id,
            failure=None,
            late=verdict == "late",
            content=given.content,
            metadata=given.metadata,
            answered_at=row["answered_at"],
        )
    return Verdict(verdict, row["result"], row["state"], row["asker_id"], until=until, outcome=outcome)


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
