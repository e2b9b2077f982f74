"""The coalesced writes and look-ups of a process; each wakes, after its commit, those whom it may concern."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

from agent_messaging.errors import InvalidArgumentError
from agent_messaging.measures import Counts, Settled
from agent_messaging.traced_coalescing import coalescer
from agent_messaging.waiting import Waiting, agent_topic, question_topic
from agent_messaging_db import conversations, inbox
from agent_messaging_db.conversations import UNLIMITED, Answering, Limits, OutcomeRow, Sending, Verdict
from agent_messaging_db.keys import Key
from agent_messaging_db.pool import Connection, Database

Delivery: TypeAlias = tuple[UUID, UUID]  # a message and its recipient

_SETTLED = {"answered": Settled.ANSWERED, "late": Settled.LATE, "declined": Settled.DECLINED}


class Outbox:
    """Everything that many callers of a process do at once, as few statements.

    What a caller began it may abandon: the statement runs in a task of the outbox, so it is never cut in the
    middle.
    """

    def __init__(
        self,
        database: Database,
        waiting: Waiting,
        *,
        process: UUID,
        counts: Counts | None = None,
        limits: Limits = UNLIMITED,
    ) -> None:
        self._database = database
        self._waiting = waiting
        self._process = process
        self._counts = counts or Counts()
        self._limits = limits
        self.send = coalescer(self._send, apart=_key_of, undo=self._unawait)
        self.answer = coalescer(self._answer, apart=_key_of)
        self.outcome = coalescer(self._outcomes)
        self.mark_read = coalescer(self._mark_read, undo=self._unmark)
        self.mark_taken = coalescer(self._mark_taken)
        self.mark_unread = coalescer(self._mark_unread)
        self.release = coalescer(self._release)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        for queue in (
            self.send,
            self.answer,
            self.outcome,
            self.mark_read,
            self.mark_taken,
            self.mark_unread,
            self.release,
        ):
            await queue.settled()

    async def _send(self, batch: Sequence[Sending]) -> list[Verdict]:
        async def send(connection: Connection, again: bool) -> list[Verdict]:
            return await conversations.send_messages(connection, batch=batch, again=again, limits=self._limits)

        try:
            verdicts = await self._database.run(send)
        finally:
            # Also when the outcome is unknown: waking for nothing is cheap.
            self._waiting.wake({agent_topic(message.recipient_id) for sending in batch for message in sending.messages})
        self._counts.sends.observe(len(batch))
        for sending, verdict in zip(batch, verdicts, strict=True):
            if verdict.verdict == "sent":
                for message in sending.messages:
                    self._counts.messages[message.kind] += 1
            self._counts.refused(verdict.verdict)
        return verdicts

    def _unawait(self, sending: Sending, _verdict: Verdict) -> None:
        # Whoever asked is gone; the question stands, and its answer is the inbox's.
        for message in sending.messages:
            if message.awaited_by is not None:
                self.release.soon(message.id)

    async def _answer(self, batch: Sequence[Answering]) -> list[Verdict]:
        async def answer(connection: Connection, again: bool) -> list[Verdict]:
            return await conversations.answer_questions(connection, batch=batch, again=again)

        verdicts: list[Verdict] = []
        try:
            verdicts = await self._database.run(answer)
        finally:
            askers = {agent_topic(verdict.asker_id) for verdict in verdicts if verdict.asker_id is not None}
            self._waiting.wake({question_topic(row.question_id) for row in batch} | askers)
        self._counts.answers.observe(len(batch))
        for row, verdict in zip(batch, verdicts, strict=True):
            if (settled := _SETTLED.get(verdict.verdict)) is not None:
                self._counts.messages[row.kind] += 1
                self._counts.settled[settled] += 1
            self._counts.refused(verdict.verdict)
        return verdicts

    async def _outcomes(self, batch: Sequence[UUID]) -> list[OutcomeRow | None]:
        async with self._database.connection() as connection:
            outcomes = await conversations.get_outcomes(connection, questions=set(batch))
        return [outcomes.get(question) for question in batch]

    async def _mark_read(self, batch: Sequence[Delivery]) -> list[bool]:
        async def mark(connection: Connection, again: bool) -> set[UUID]:
            marked = await inbox.mark_read(connection, deliveries=batch)
            # What an earlier try has marked is not known, and must not be lost with a caller that has gone.
            return {message for message, _ in batch} if again else marked

        marked = await self._database.run(mark)
        return [message in marked for message, _ in batch]

    async def _mark_taken(self, batch: Sequence[Delivery]) -> list[None]:
        async def mark(connection: Connection, _again: bool) -> None:
            await inbox.mark_taken(connection, deliveries=batch)

        # However long it takes: until then, nobody else is shown them.
        await self._database.run(mark, patience=math.inf)
        return [None] * len(batch)

    def _unmark(self, delivery: Delivery, marked: bool) -> None:
        if marked:
            self.mark_unread.soon(delivery)

    async def _mark_unread(self, batch: Sequence[Delivery]) -> list[None]:
        async def unmark(connection: Connection, _again: bool) -> None:
            await inbox.mark_unread(connection, messages=[message for message, _ in batch])

        # However long it takes: nobody has these messages, and nobody else knows.
        await self._database.run(unmark, patience=math.inf)
        self._waiting.wake({agent_topic(recipient) for _, recipient in batch})
        return [None] * len(batch)

    async def _release(self, batch: Sequence[UUID]) -> list[None]:
        async def release(connection: Connection, _again: bool) -> set[UUID]:
            return await conversations.release_questions(connection, questions=set(batch), process=self._process)

        # However long it takes: as long as this process lives, nobody else reads what it is said to wait for.
        readers = await self._database.run(release, patience=math.inf)
        self._waiting.wake({agent_topic(agent) for agent in readers})
        return [None] * len(batch)


def key_for(agent: UUID, key: str | None, *payload: object) -> Key | None:
    """Make an idempotency key of an agent for an operation with this payload (never a timeout); None without
    a key.
    """
    if key is None:
        return None
    if not isinstance(key, str) or not 1 <= len(key) <= 200 or not key.isprintable():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError("an idempotency key is 1 to 200 printable characters")
    text = json.dumps(payload, default=str, ensure_ascii=True)
    return Key(agent, key, hashlib.sha256(text.encode()).digest())


def _key_of(row: Sending | Answering) -> tuple[UUID, str] | None:
    return None if row.key is None else (row.key.agent_id, row.key.key)
