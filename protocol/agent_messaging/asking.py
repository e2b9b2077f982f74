"""Asking: a question is stored once, attached to again, and waited for in windows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from agent_messaging.answering import Answers, expire_due, outcome_of
from agent_messaging.engine import Engine
from agent_messaging.errors import (
    AgentMessagingError,
    ConversationTimeoutError,
    InboxFullError,
    InvalidArgumentError,
    InvalidSessionStateError,
    MessageNotFoundError,
    WaitInterruptedError,
)
from agent_messaging.handling import next_hop
from agent_messaging.identifiers import HandleKind, handle
from agent_messaging.inbox import Inbox
from agent_messaging.models import Answer, InboxItem
from agent_messaging.sending import stored
from agent_messaging.waiting import Watch, Window, WindowEndedError, agent_topic, question_topic
from agent_messaging_db import conversations
from agent_messaging_db.conversations import NewMessage, OutcomeRow, Sending
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.ids import new_id
from agent_messaging_db.keys import Key
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import IdentityRow, MessageKind, QuestionState

M = TypeVar("M")

LONGEST_REPLY_BY = 366 * 86_400.0


class Asked(NamedTuple):
    """A question that was asked or attached to, and the window in which its answer is waited for."""

    question: UUID
    asker: IdentityRow
    recipient: IdentityRow
    patience: Window


class _AnswerWait(Generic[M]):
    """How one wait for an answer looks and takes; an object, as closures take three times as much."""

    __slots__ = ("_asked", "_consumes", "_engine", "_inbox", "_is_interruptible", "_settled", "has_consumed")

    def __init__(
        self,
        engine: Engine[M],
        inbox: Inbox[M],
        settled: Mapping[UUID, OutcomeRow],
        asked: Asked,
        interruptible: bool,
        consume: bool,
    ) -> None:
        self._engine = engine
        self._inbox = inbox
        self._settled = settled
        self._asked = asked
        self._is_interruptible = interruptible
        self._consumes = consume
        self.has_consumed = False

    def topics(self) -> list[str]:
        own = question_topic(self._asked.question)
        return [own, agent_topic(self._asked.asker.id)] if self._is_interruptible else [own]

    async def look(self) -> OutcomeRow | InboxItem[M] | None:
        question = self._asked.question
        outcome = self._settled.get(question) or await self._engine.outbox.outcome(question)
        if outcome is not None and outcome.state != QuestionState.OPEN:
            return outcome
        if not self._is_interruptible:
            return None
        return await self._inbox.first_need(self._asked.asker, question=question)

    async def take(self, found: OutcomeRow | InboxItem[M]) -> Answer[M] | AgentMessagingError | InboxItem[M]:
        if isinstance(found, InboxItem):
            return found
        engine, asker = self._engine, self._asked.asker
        # Read before it is marked read: one that is not of the message type stays in the inbox.
        outcome = outcome_of(engine, found, self._asked.recipient.external_id)
        # Marking it read is all that can be taken: the outcome of a question is the same for everyone who
        # waits for it.
        if self._consumes and found.answer_id is not None:
            if found.awaited_by == engine.process:
                # Not waited for: as long as this process has the claim that the answer was born with, no inbox
                # shows it.
                engine.outbox.mark_taken.soon(found.answer_id)
            else:
                await engine.outbox.mark_read((found.answer_id, asker.id))
            self.has_consumed = True
        return outcome


class Questions(Generic[M]):
    """The questions that this process waits on: as long as one does, the answer is for the wait."""

    def __init__(self, engine: Engine[M], answers: Answers[M], inbox: Inbox[M]) -> None:
        self._engine = engine
        self._answers = answers
        self._inbox = inbox
        self._waits: Counter[UUID] = Counter()
        self._watched: dict[UUID, Watch] = {}
        self._settled: dict[UUID, OutcomeRow] = {}
        engine.hears_settled = self._hear

    def reply_seconds(self, timeout: float | None, reply_by: float | None) -> float:
        """How long the question stands: `reply_by`, or the window; raises InvalidArgumentError."""
        default = self._engine.config.default_conversation_timeout
        seconds = min(timeout or default, LONGEST_REPLY_BY) if reply_by is None else reply_by
        if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_REPLY_BY:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError(
                f"reply_by is a number of seconds, more than 0 and at most a year, not {str(seconds)[:40]!r}"
            )
        return float(seconds)

    def _hear(self, outcome: OutcomeRow) -> None:
        # Whoever waits for it here need not look for what was settled here.
        if outcome.id in self._waits or outcome.id in self._watched:
            self._settled[outcome.id] = outcome

    async def standing(self, asker: IdentityRow, recipient: IdentityRow, content: str) -> UUID | None:
        """Attach to an identical question that is open and that nobody waits for, if there is one."""

        async def find(connection: Connection) -> UUID | None:
            return await conversations.find_identical_question(
                connection, asker=asker.id, answerer=recipient.id, content=content
            )

        question = await self._engine.read(find)
        if question is not None:
            await self._attach(question)
        return question

    async def ask(
        self,
        asker: IdentityRow,
        recipient: IdentityRow,
        content: str,
        metadata: str | None,
        reply_seconds: float,
        key: Key | None,
    ) -> UUID:
        """Store the question, or attach to the one that the key's first call asked; gives its id."""
        engine = self._engine
        try:
            await engine.room.require([recipient])
        except InboxFullError:
            if (first := await self._answers.first_use(key)) is None:
                raise
            await self._attach(first)
            return first
        row = NewMessage(
            new_id(),
            MessageKind.QUESTION,
            asker.id,
            recipient.id,
            content,
            metadata,
            reply_seconds=reply_seconds,
            awaited_by=engine.process,
            hop=next_hop.get(),
        )
        watch = engine.waiting.watch([question_topic(row.id)])
        try:
            try:
                question = (await stored(engine, Sending((row,), key)))[0]
            except InvalidSessionStateError:
                # Of the eight that are open some may be past their time, which comes first.
                if not await expire_due(engine):
                    raise
                question = (await stored(engine, Sending((row,), key)))[0]
        except BaseException as error:
            watch.stop()
            if isinstance(error, DatabaseUnavailable):
                # It may be stored all the same, and nobody will wait: the answer is the inbox's.
                engine.outbox.release.soon(row.id)
            raise
        if question != row.id:
            watch.stop()
            await self._attach(question)
        else:
            self._watched[question] = watch
        return question

    async def recipient(self, asker: IdentityRow, question: UUID) -> IdentityRow:
        """Attach to a question that the agent asked; gives whom it asked. Raises MessageNotFoundError."""
        parties = None
        if isinstance(question, UUID):  # pyright: ignore[reportUnnecessaryIsInstance]
            parties = await self._engine.read(
                lambda connection: conversations.question_parties(connection, question=question)
            )
        recipient = None if parties is None or parties[1] != asker.id else await self._engine.names.identity(parties[2])
        if recipient is None:
            raise MessageNotFoundError(f"{asker.external_id!r} asked no question {str(question)[:80]!r}")
        await self._attach(question)
        return recipient

    async def _attach(self, question: UUID) -> None:
        async def attach(connection: Connection, _again: bool) -> None:
            await conversations.await_question(connection, question=question, process=self._engine.process)

        try:
            await self._engine.database.run(attach)
        except BaseException:
            # It may have been written, and nobody will wait: the answer is the inbox's.
            if not self._waits[question]:
                self._engine.outbox.release.soon(question)
            raise

    async def wait(self, asked: Asked, *, interruptible: bool, consume: bool) -> Answer[M]:
        """Wait for the outcome of a question; see SyncConversation.ask for what it raises."""
        question, asker, recipient, patience = asked
        wait = _AnswerWait(self._engine, self._inbox, self._settled, asked, interruptible, consume)
        self._waits[question] += 1
        watch = self._watched.pop(question, None)
        if watch is not None and interruptible:  # what else needs the asker may have come before
            watch.stop()
            watch = None
        found: Answer[M] | AgentMessagingError | InboxItem[M] | None
        with self._engine.presence.waiting(asker.id):  # until it is known what to say, for which closing waits
            try:
                found = await self._engine.waiting.until(
                    wait.look, wait.take, topics=() if watch else wait.topics(), window=patience, watch=watch
                )
            except WindowEndedError:
                found = None
            except BaseException:
                if self._was_last(question):
                    self._engine.outbox.release.soon(question)
                raise
            if self._was_last(question) and not wait.has_consumed:
                # Also an expired question: its late answer is for the inbox.
                await self._release(question)
            match found:
                case Answer():
                    return found
                case AgentMessagingError():
                    raise found
                case _:
                    raise await self._unanswered(question, asker, recipient, found)

    async def _release(self, question: UUID) -> None:
        """Leave the answer to the inbox: before the wait returns, or when the database is back."""
        released = asyncio.ensure_future(self._engine.outbox.release(question))
        released.add_done_callback(lambda done: done.cancelled() or done.exception())
        with suppress(TimeoutError):
            async with asyncio.timeout(self._engine.config.database_patience):
                await asyncio.shield(released)

    def _was_last(self, question: UUID) -> bool:
        self._waits[question] -= 1
        if self._waits[question]:
            return False
        del self._waits[question]
        self._settled.pop(question, None)
        return True

    async def _unanswered(
        self, question: UUID, asker: IdentityRow, recipient: IdentityRow, item: InboxItem[M] | None
    ) -> ConversationTimeoutError | WaitInterruptedError:
        parties = await self._engine.read(
            lambda connection: conversations.question_parties(connection, question=question)
        )
        name = handle(HandleKind.QUESTION, parties[0] if parties else 0)
        if item is not None:
            return WaitInterruptedError(
                f"the wait for {recipient.external_id!r} ended early: something needs {asker.external_id!r} "
                f"({item.kind}); "
                f"question {name} stands and its answer will be in the inbox",
                item=item,
                question_id=question,
                handle=name,
            )
        return ConversationTimeoutError(
            f"{recipient.external_id!r} has not answered question {name} yet; it stands until its reply_by, and the "
            "answer will be "
            "in the inbox. Asking again with the same idempotency_key waits for the same question",
            question_id=question,
            handle=name,
        )
