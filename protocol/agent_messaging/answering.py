"""Answering questions, and what an outcome means to the one who asked."""

from __future__ import annotations

import json
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from agent_messaging.content import encode_metadata
from agent_messaging.engine import Engine
from agent_messaging.errors import (
    AgentMessagingError,
    ConversationEndedError,
    ConversationTimeoutError,
    HandlerFailedError,
    InvalidArgumentError,
    InvalidSessionStateError,
    MessageNotFoundError,
    QuestionDeclinedError,
    SessionNotFoundError,
)
from agent_messaging.etiquette import silenced
from agent_messaging.handling import handled_question
from agent_messaging.identifiers import HandleKind, handle
from agent_messaging.measures import Settled
from agent_messaging.models import Answer, Reply
from agent_messaging.outbox import key_for
from agent_messaging.sending import conflicting, first_result, replayed
from agent_messaging.waiting import question_topic
from agent_messaging_db import conversations, sync_points
from agent_messaging_db.conversations import Answering, OutcomeRow, Verdict
from agent_messaging_db.ids import new_id
from agent_messaging_db.keys import Key
from agent_messaging_db.rows import IdentityRow, MessageKind, QuestionState
from agent_messaging_db.sync_points import SyncPoint

M = TypeVar("M")

# Subscribing a generic model takes longer than making one.
_Answer = Answer[Any]

LOOPED = "its handler wrote on in a loop and was refused"
BATCH = 500  # questions that expire in one statement


class Answers(Generic[M]):
    """Settles questions: by a reply, or by what a handler returns."""

    def __init__(self, engine: Engine[M]) -> None:
        self._engine = engine

    async def reply(
        self,
        sender_external_id: str,
        recipient_external_id: str,
        message: M | None,
        *,
        question_id: UUID | None,
        decline: bool,
        metadata: dict[str, Any] | None,
        idempotency_key: str | None,
    ) -> Reply:
        """Answer or decline; see SyncConversation.reply."""
        engine = self._engine
        await engine.ready()
        answerer, asker = await engine.names.agents([sender_external_id, recipient_external_id])
        if question_id is not None and not isinstance(question_id, UUID):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError(f"question_id is a UUID or None, not {str(question_id)[:40]!r}")
        content, extra = self._encode(message, decline=decline), encode_metadata(metadata)
        payload = ("reply", str(asker.id), content, extra, decline, question_id and str(question_id))
        key = key_for(answerer.id, idempotency_key, *payload)
        # First, as a retry that looked for a question anew would answer another one.
        first = await self.first_use(key)
        if first is not None:
            return Reply(message_id=first, question_id=question_id, asker=asker.external_id, late=False)
        try:
            question = question_id or await self._question(answerer, asker)
        except (InvalidSessionStateError, SessionNotFoundError):
            # A call with the same key, made at the same time, may have settled it.
            if (first := await self.first_use(key)) is None:
                raise
            return Reply(message_id=first, question_id=None, asker=asker.external_id, late=False)
        if question_id is not None:
            await self._check_parties(question_id, answerer, asker)
        if sync_points.hook is not None:
            await sync_points.hook(SyncPoint.QUESTION_FOUND)
        kind = MessageKind.DECLINE if decline else MessageKind.ANSWER
        row = Answering(question, new_id(), kind, answerer.id, content, extra, key)
        verdict = await engine.outbox.answer(row)
        engine.presence.seen(answerer.id)
        if verdict.verdict == "silenced":
            raise await silenced(engine, answerer.id)
        message_id = self._settled(row, verdict)
        return Reply(
            message_id=message_id,
            question_id=question,
            asker=asker.external_id,
            late=verdict.verdict == "late",
        )

    async def answer_handled(self, question: UUID, answerer: UUID, message: M) -> bool:
        """Answer with what a handler returned; says whether it was the first answer. Raises SilencedError."""
        content = self._engine.codec.encode(message)
        verdict = await self._engine.outbox.answer(
            Answering(question, new_id(), MessageKind.ANSWER, answerer, content, None)
        )
        if verdict.verdict == "silenced":
            raise await silenced(self._engine, answerer)
        return verdict.verdict in ("answered", "late")

    async def first_use(self, key: Key | None) -> UUID | None:
        """Give what the first call with this key gave; raises IdempotencyConflictError if its payload was
        another.
        """
        first = await first_result(self._engine, key)
        return None if first is None else first[0]

    def _encode(self, message: M | None, *, decline: bool) -> str:
        if message is None and decline:
            return "null"
        return self._engine.codec.encode(cast("M", message))

    async def _question(self, answerer: IdentityRow, asker: IdentityRow) -> UUID:
        handling = handled_question.get()
        if handling is not None and (handling.asker_id, handling.answerer_id) == (asker.id, answerer.id):
            return handling.question_id
        found = await self._engine.read(
            lambda connection: conversations.find_question_to_answer(connection, answerer=answerer.id, asker=asker.id)
        )
        if found is not None:
            return found
        sessions = await self._engine.read(
            lambda connection: conversations.live_sessions(connection, one=answerer.id, other=asker.id)
        )
        if any(session.ended_at is None for session in sessions):
            raise InvalidSessionStateError(
                f"{asker.external_id!r} is not waiting for an answer from {answerer.external_id!r}; nothing was "
                "stored. "
                "Use async_conversation.send to say something unasked"
            )
        raise SessionNotFoundError(
            f"{asker.external_id!r} and {answerer.external_id!r} have no live conversation, so there is nothing to "
            "reply to; "
            "use async_conversation.send"
        )

    async def _check_parties(self, question: UUID, answerer: IdentityRow, asker: IdentityRow) -> None:
        parties = await self._engine.read(
            lambda connection: conversations.question_parties(connection, question=question)
        )
        if parties is None or parties[1:] != (asker.id, answerer.id):
            raise MessageNotFoundError(
                f"there is no question {question} of {asker.external_id!r} to {answerer.external_id!r}"
            )

    def _settled(self, row: Answering, verdict: Verdict) -> UUID:
        match verdict.verdict:
            case "answered" | "late" | "declined":
                return row.id
            case "replayed":
                return replayed(verdict.result)[0]
            case "conflict":
                raise conflicting(row.key)
            case "unknown":
                raise MessageNotFoundError(f"there is no question {row.question_id} to this agent")
            case _:
                raise InvalidSessionStateError(
                    f"nothing was stored: the question is {verdict.state} already, and a question has one outcome"
                )


async def expire_due(engine: Engine[Any]) -> int:
    """Expire the open questions whose time has come; says how many."""
    count = 0
    while True:
        async with engine.database.connection() as connection:
            expired = await conversations.expire_questions(connection, limit=BATCH)
        engine.counts.settled[Settled.EXPIRED] += len(expired)
        engine.waiting.wake([question_topic(question) for question, _ in expired])
        count += len(expired)
        if len(expired) < BATCH:
            return count


def outcome_of(engine: Engine[M], outcome: OutcomeRow, answerer: str) -> Answer[M] | AgentMessagingError:
    """Give the answer of a settled question, or what its asker is to be told instead; raises InvalidMessageError if
    the answer is not of the message type.
    """
    name = handle(HandleKind.QUESTION, outcome.number)
    match outcome.state:
        case QuestionState.ANSWERED:
            return _Answer.model_construct(
                question_id=outcome.id,
                handle=name,
                message_id=outcome.answer_id,
                sender=answerer,
                content=engine.codec.decode(cast("str", outcome.content)),
                late=outcome.late,
                created_at=outcome.answered_at,
            )
        case QuestionState.DECLINED if outcome.failure is not None:
            failed = HandlerFailedError(
                f"the handler of {answerer!r} failed on every attempt to answer question {name}: {outcome.failure}",
                question_id=outcome.id,
                handle=name,
                message_id=None,
            )
            failed.looped = outcome.failure.startswith(LOOPED)
            return failed
        case QuestionState.DECLINED:
            reason = json.loads(outcome.content or "null")
            return QuestionDeclinedError(
                f"{answerer!r} declined to answer question {name}",
                question_id=outcome.id,
                handle=name,
                message_id=outcome.answer_id,
                reason=reason,
            )
        case QuestionState.CANCELLED:
            return ConversationEndedError(
                f"the conversation with {answerer!r} was ended before question {name} was answered; ask again to open "
                "a new one"
            )
        case _:
            return ConversationTimeoutError(
                f"{answerer!r} did not answer question {name} by its reply_by; a late answer would come to the inbox",
                question_id=outcome.id,
                handle=name,
                expired=True,
            )
