"""The coalesced writes and look-ups of a process; each wakes, after its commit, those whom it may concern."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from agent_messaging.errors import InvalidArgumentError
from agent_messaging.measures import Counts, Settled
from agent_messaging.traced_coalescing import coalescer
from agent_messaging.waiting import Waiting, agent_topic, question_topic
from agent_messaging_db import conversations, deliveries, inbox
from agent_messaging_db.conversations import (
    UNLIMITED,
    Answering,
    Limits,
    NewMessage,
    OutcomeRow,
    Sending,
    Taken,
    Verdict,
)
from agent_messaging_db.deliveries import ClaimRow
from agent_messaging_db.keys import Key
from agent_messaging_db.pool import Connection, Database

Delivery: TypeAlias = tuple[UUID, UUID]  # a message and its recipient
Claim: TypeAlias = tuple[UUID, int]  # a message and the attempt at it

_SETTLED = {"answered": Settled.ANSWERED, "late": Settled.LATE, "declined": Settled.DECLINED}


class Takers(Protocol):
    """The handlers of this process. What is sent to one of them need not be looked for: it is stored as claimed, and
    handed over when it is.
    """

    @property
    def agents(self) -> Collection[UUID]:
        """The agents that have a handler here."""
        ...

    def reserve(self, agent: UUID, message: UUID) -> Any:
        """Keep room for a message that is about to be stored; None if there is none, or others come first."""
        ...

    def hand(self, place: Any, row: ClaimRow) -> None:
        """It is stored, and claimed by this process."""
        ...

    def cancel(self, place: Any, message: UUID, *, doubtful: bool) -> None:
        """It is not to be handed over. `doubtful`: it may be stored as claimed all the same."""
        ...


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
        takers: Takers | None = None,
        settled: Callable[[OutcomeRow], None] | None = None,
    ) -> None:
        self._database = database
        self._waiting = waiting
        self._process = process
        self._counts = counts or Counts()
        self._limits = limits
        self._takers = takers
        self._tell_settled = settled
        self.send = coalescer(self._send, apart=_key_of, undo=self._unawait)
        self.answer = coalescer(self._answer, apart=_key_of)
        self.outcome = coalescer(self._outcomes)
        self.finish = coalescer(self._finish)
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
            self.finish,
            self.mark_read,
            self.mark_taken,
            self.mark_unread,
            self.release,
        ):
            await queue.settled()

    async def _send(self, batch: Sequence[Sending]) -> list[Verdict]:
        places: dict[UUID, Any] = {}
        if (takers := self._takers) is not None and takers.agents:
            batch = [self._offered(takers, sending, places) for sending in batch]
        doubtful = True

        async def send(connection: Connection, again: bool) -> list[Verdict]:
            nonlocal doubtful
            verdicts = await conversations.send_messages(
                connection, batch=batch, again=again, process=self._process, limits=self._limits
            )
            doubtful = again  # what an earlier try has stored does not say whose it is
            return verdicts

        verdicts: list[Verdict] = []
        taken: Collection[UUID] = ()
        try:
            verdicts = await self._database.run(send)
        finally:
            if takers is not None and places:
                taken = _handed(takers, batch, verdicts, places)
                for message, place in places.items():
                    takers.cancel(place, message, doubtful=doubtful)
            # Also when the outcome is unknown: waking for nothing is cheap.
            self._waiting.wake(
                {agent_topic(row.recipient_id) for sending in batch for row in sending.messages if row.id not in taken}
            )
        self._counts.sends.observe(len(batch))
        for sending, verdict in zip(batch, verdicts, strict=True):
            if verdict.verdict == "sent":
                for message in sending.messages:
                    self._counts.messages[message.kind] += 1
            else:
                self._counts.refused(verdict.verdict)
        return verdicts

    def _offered(self, takers: Takers, sending: Sending, places: dict[UUID, Any]) -> Sending:
        messages: list[NewMessage] = []
        for message in sending.messages:
            if (place := takers.reserve(message.recipient_id, message.id)) is None:
                messages.append(message)
            else:
                places[message.id] = place
                messages.append(message._replace(taken=True))
        return sending._replace(messages=tuple(messages))

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
            if self._tell_settled is not None:
                for verdict in verdicts:
                    if verdict.outcome is not None:
                        self._tell_settled(verdict.outcome)
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

    async def _finish(self, batch: Sequence[Claim]) -> list[None]:
        async def finish(connection: Connection, _again: bool) -> None:
            await deliveries.finish(connection, done=batch, process=self._process)

        await self._database.run(finish)
        return [None] * len(batch)

    async def _mark_read(self, batch: Sequence[Delivery]) -> list[bool]:
        async def mark(connection: Connection, again: bool) -> set[UUID]:
            marked = await inbox.mark_read(connection, deliveries=batch)
            # What an earlier try has marked is not known, and must not be lost with a caller that has gone.
            return {message for message, _ in batch} if again else marked

        marked = await self._database.run(mark)
        return [message in marked for message, _ in batch]

    async def _mark_taken(self, batch: Sequence[UUID]) -> list[None]:
        async def mark(connection: Connection, _again: bool) -> None:
            await inbox.mark_taken(connection, messages=batch)

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


def _handed(
    takers: Takers, batch: Sequence[Sending], verdicts: Sequence[Verdict], places: dict[UUID, Any]
) -> Collection[UUID]:
    """Hand over what was stored as taken, each into the place that was kept for it; gives which messages."""
    handed: set[UUID] = set()
    for sending, verdict in zip(batch, verdicts, strict=False):
        if verdict.taken:
            messages = {message.id: message for message in sending.messages}
            for taken in verdict.taken:
                takers.hand(places.pop(taken.message_id), _claimed(messages[taken.message_id], taken))
                handed.add(taken.message_id)
    return handed


def _claimed(message: NewMessage, taken: Taken) -> ClaimRow:
    return ClaimRow(
        id=message.id,
        sender_id=message.sender_id,
        recipient_id=message.recipient_id,
        kind=message.kind,
        content=message.content,
        metadata=message.metadata,
        session_id=taken.session_id,
        meeting_id=None,
        hop=taken.hop,
        attempt=1,
        exhausted=False,
        reply_by=taken.reply_by,
    )


def _key_of(row: Sending | Answering) -> tuple[UUID, str] | None:
    return None if row.key is None else (row.key.agent_id, row.key.key)
