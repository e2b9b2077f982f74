"""Synchronous conversations: ask and wait, answer or decline, end."""

from __future__ import annotations

from typing import Any, Generic, TypeVar
from uuid import UUID

from agent_messaging.answering import Answers
from agent_messaging.asking import Asked, Questions
from agent_messaging.content import encode_metadata
from agent_messaging.conversations import read_conversation, read_session
from agent_messaging.engine import Engine, window
from agent_messaging.errors import SessionNotFoundError
from agent_messaging.models import Answer, Message, Reply, Session
from agent_messaging.outbox import key_for
from agent_messaging.sending import not_to_oneself
from agent_messaging.waiting import agent_topic, question_topic
from agent_messaging_db import conversations
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import SessionType

M = TypeVar("M")


class SyncConversation(Generic[M]):
    """Synchronous two-agent conversation (the design's `SyncConversation`)."""

    def __init__(self, engine: Engine[M], questions: Questions[M], answers: Answers[M]) -> None:
        self._engine = engine
        self._questions = questions
        self._answers = answers

    async def send_and_wait(
        self,
        sender_external_id: str,
        recipient_external_id: str,
        message: M,
        timeout: float | None = None,
        *,
        reply_by: float | None = None,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        interruptible: bool = False,
    ) -> M:
        """Ask a question and wait for its answer.

        The question stands until it is answered, declined, cancelled by `end_conversation`, or `reply_by`
        seconds have passed (the `timeout` unless given); the wait is only a window on it of `timeout`
        seconds. A call that is cancelled may have asked; the same `idempotency_key` attaches to that question
        again. `interruptible`: end early when something else needs the sender.

        Raises:
            AgentNotFoundError: the sender or the recipient does not exist.
            ConversationTimeoutError: the window ended; it carries the question's id, and an answer will be in
                the inbox. ConversationEndedError: the conversation was ended while waiting.
                QuestionDeclinedError: the recipient declined; HandlerFailedError: its handler failed on every
                attempt. WaitInterruptedError: something else needs the sender (with `interruptible`).
                InvalidSessionStateError: 8 questions to this recipient are open already. SilencedError,
                HopLimitError, ExchangeBudgetError, InboxFullError, InvalidMessageError,
                IdempotencyConflictError: nothing was sent.
        """
        asked = await self._asked(
            sender_external_id, recipient_external_id, message, timeout, reply_by, metadata, idempotency_key
        )
        return (await self._questions.wait(asked, interruptible=interruptible, consume=True)).content

    async def ask(
        self,
        sender_external_id: str,
        recipient_external_id: str,
        message: M,
        timeout: float | None = None,
        *,
        reply_by: float | None = None,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        interruptible: bool = False,
        reattach: bool = False,
        consume: bool = True,
    ) -> Answer[M]:
        """`send_and_wait`, giving the answer with its ids.

        `reattach`: an identical question that is open and that nobody waits for is waited for again, instead
        of asked again. `consume=False` leaves the answer unread in the inbox.
        """
        asked = await self._asked(
            sender_external_id, recipient_external_id, message, timeout, reply_by, metadata, idempotency_key, reattach
        )
        return await self._questions.wait(asked, interruptible=interruptible, consume=consume)

    async def _asked(
        self,
        sender_external_id: str,
        recipient_external_id: str,
        message: M,
        timeout: float | None,
        reply_by: float | None,
        metadata: dict[str, Any] | None,
        idempotency_key: str | None,
        reattach: bool = False,
    ) -> Asked:
        # Apart from the wait, which may be long, so that nothing of it is held meanwhile.
        engine = self._engine
        await engine.ready()
        asker, recipient = await engine.names.agents([sender_external_id, recipient_external_id])
        not_to_oneself(asker, [recipient])
        patience = window(timeout, engine.config.default_conversation_timeout)
        reply_seconds = self._questions.reply_seconds(timeout, reply_by)
        content, extra = engine.codec.encode(message), encode_metadata(metadata)
        key = key_for(asker.id, idempotency_key, "question", str(recipient.id), content, extra)
        question = await self._questions.standing(asker, recipient, content) if reattach and key is None else None
        if question is None:
            question = await self._questions.ask(asker, recipient, content, extra, reply_seconds, key)
        return Asked(question, asker, recipient, patience)

    async def wait_for_answer(
        self,
        sender_external_id: str,
        question_id: UUID,
        timeout: float | None = None,
        *,
        interruptible: bool = False,
        consume: bool = True,
    ) -> Answer[M]:
        """Wait again, `timeout` seconds, for the answer to a question that `sender` asked and that stands.

        Raises:
            AgentNotFoundError: the sender does not exist. MessageNotFoundError: it asked no such question.
            ConversationTimeoutError, ConversationEndedError, QuestionDeclinedError, HandlerFailedError,
                WaitInterruptedError: as for `send_and_wait`.
        """
        engine = self._engine
        await engine.ready()
        asker = await engine.names.agent(sender_external_id)
        patience = window(timeout, engine.config.default_conversation_timeout)
        recipient = await self._questions.recipient(asker, question_id)
        asked = Asked(question_id, asker, recipient, patience)
        return await self._questions.wait(asked, interruptible=interruptible, consume=consume)

    async def reply(
        self,
        sender_external_id: str,
        recipient_external_id: str,
        message: M | None,
        *,
        question_id: UUID | None = None,
        decline: bool = False,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> UUID:
        """Answer a question that `recipient` put to `sender`, or decline it; gives the answer's id.

        Without `question_id`: inside a handler, the question being handled; elsewhere the oldest open one,
        or, if none is open, the latest expired one, whose answer is then flagged late.

        Raises:
            AgentNotFoundError: the sender or the recipient does not exist.
            SessionNotFoundError: the two have no live conversation, and no question waits.
            InvalidSessionStateError: the recipient is not waiting: nothing was asked, or it was settled.
                Nothing was stored. SilencedError: the sender is silenced. MessageNotFoundError: `question_id`
                is no question of the recipient to the sender.
        """
        answered = await self.answer(
            sender_external_id,
            recipient_external_id,
            message,
            question_id=question_id,
            decline=decline,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )
        return answered.message_id

    async def answer(
        self,
        sender_external_id: str,
        recipient_external_id: str,
        message: M | None,
        *,
        question_id: UUID | None = None,
        decline: bool = False,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Reply:
        """`reply`, giving what became of it: which question it settled, and whether it came late."""
        return await self._answers.reply(
            sender_external_id,
            recipient_external_id,
            message,
            question_id=question_id,
            decline=decline,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )

    async def end_conversation(self, requester_external_id: str, other_external_id: str) -> None:
        """End every live session of the two agents; history stays. Open questions in both directions are
        cancelled.

        Whoever waits for one gets ConversationEndedError. The next message opens a new session.

        Raises:
            AgentNotFoundError: either agent does not exist.
            SessionNotFoundError: the two have no live conversation.
        """
        engine = self._engine
        await engine.ready()
        requester, other = await engine.names.agents([requester_external_id, other_external_id])
        not_to_oneself(requester, [other])

        async def end(connection: Connection, again: bool) -> bool:
            # Noted first: if the outcome stays unknown, whoever waits is to look all the same.
            settled.update(await conversations.open_questions(connection, one=requester.id, other=other.id))
            ended, cancelled = await conversations.end_sessions(connection, one=requester.id, other=other.id)
            settled.update(cancelled)
            return ended > 0 or again

        settled = set[UUID]()
        try:
            ended = await engine.database.run(end)
        finally:
            engine.waiting.wake([*map(question_topic, settled), agent_topic(requester.id), agent_topic(other.id)])
        engine.presence.seen(requester.id)
        if not ended:
            raise SessionNotFoundError(
                f"{requester.external_id!r} and {other.external_id!r} have no live conversation to end"
            )

    async def get_conversation(
        self, agent_a: str, agent_b: str, *, after_seq: int = 0, limit: int | None = None
    ) -> list[Message[M]]:
        """Read the history of two agents across all their sessions, in order: what follows number
        `after_seq`; raises AgentNotFoundError.
        """
        await self._engine.ready()
        return (await read_conversation(self._engine, agent_a, agent_b, after_seq=after_seq, limit=limit)).messages

    async def get_session(self, agent_a: str, agent_b: str) -> Session | None:
        """Give the newest synchronous session of two agents; raises AgentNotFoundError."""
        await self._engine.ready()
        return await read_session(self._engine, agent_a, agent_b, SessionType.SYNC)
