"""One delivery in the hands of a handler: run it, then finish, try again later, or give up."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar, cast
from uuid import UUID

from agent_messaging.answering import LOOPED, Answers
from agent_messaging.content import decode_metadata
from agent_messaging.engine import Engine
from agent_messaging.errors import ExchangeBudgetError, HandlerFailedError, HopLimitError, InvalidMessageError
from agent_messaging.handling import Handling, handled_question, next_hop
from agent_messaging.models import MessageContext
from agent_messaging.waiting import Slot, agent_topic, handler_slot, question_topic
from agent_messaging_db import deliveries, sync_points
from agent_messaging_db.deliveries import ClaimRow, DeadLetter
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import IdentityRow, MessageKind
from agent_messaging_db.sync_points import SyncPoint

M = TypeVar("M")

Handler: TypeAlias = Callable[[M, MessageContext], Awaitable[M | None] | M | None]

MAX_BACKOFF = 300.0

logger = logging.getLogger("agent_messaging.handlers")


class HandlerRun(Generic[M]):
    """Handles one claimed delivery. `slot` is what a wait inside the handler gives up for as long as it
    lasts; `again(agent, seconds)` is told when a delivery that failed is due.
    """

    def __init__(
        self,
        engine: Engine[M],
        answers: Answers[M],
        row: ClaimRow,
        agent: IdentityRow,
        handler: Handler[M],
        *,
        slot: Slot,
        again: Callable[[UUID, float], None],
    ) -> None:
        self._engine = engine
        self._answers = answers
        self._row = row
        self._agent = agent
        self._handler = handler
        self._slot = slot
        self._again = again

    async def __call__(self) -> None:
        row = self._row
        try:
            if row.exhausted:
                await self._give_up(f"it was delivered {row.attempt - 1} times and never finished")
                return
            sender = await self._engine.names.identity(row.sender_id)
            context = self._context(sender)
            try:
                message = None if row.content is None else self._engine.codec.decode(row.content)
            except InvalidMessageError as error:
                await self._give_up(str(error))
                return
            await self._handle(message, context)
        except asyncio.CancelledError:
            await self._give_back()
            raise

    def _context(self, sender: IdentityRow) -> MessageContext:
        row = self._row
        invitation = row.kind == MessageKind.INVITATION
        return MessageContext(
            message_id=row.id,
            sender_external_id=sender.external_id,
            sender_name=sender.name,
            recipient_external_id=self._agent.external_id,
            recipient_name=self._agent.name,
            session_id=row.session_id,
            meeting_id=row.meeting_id,
            message_type=MessageKind(row.kind),
            requires_reply=row.kind == MessageKind.QUESTION,
            is_meeting_message=invitation,
            hop=row.hop,
            attempt=row.attempt,
            reply_by=row.reply_by,
            metadata=decode_metadata(row.metadata),
        )

    async def _handle(self, message: M | None, context: MessageContext) -> None:
        row = self._row
        handler_slot.set(self._slot)
        next_hop.set(row.hop + 1)
        if context.requires_reply:
            handled_question.set(Handling(row.id, row.sender_id, row.recipient_id))
        try:
            result = self._handler(cast("M", message), context)
            returned = await result if inspect.isawaitable(result) else result
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.HANDLER_RETURNED)
            answered = False
            if returned is not None and context.requires_reply:
                # Loses quietly against a reply() that came first, and against the end of the conversation.
                answered = await self._answers.answer_handled(row.id, row.recipient_id, cast("M", returned))
                if sync_points.hook is not None:
                    await sync_points.hook(SyncPoint.HANDLER_ANSWERED)
        except DatabaseUnavailable as error:
            await self._fail(error)
        except (Exception, asyncio.CancelledError) as error:
            # What was cancelled inside the handler is its failure; what cancels this task is the process closing.
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            logger.warning(
                "the handler of %s failed on message %s, attempt %d: %s",
                self._agent.external_id,
                row.id,
                row.attempt,
                type(error).__name__,
                exc_info=error,
            )
            await self._fail(error)
        else:
            if not answered:  # the answer's own statement has finished the delivery of its question
                await self._finish()
        finally:
            handler_slot.set(None)
            handled_question.set(None)

    async def _finish(self) -> None:
        finishing = asyncio.ensure_future(self._engine.outbox.finish((self._row.id, self._row.attempt)))
        try:
            await asyncio.shield(finishing)
        except asyncio.CancelledError:
            # It was handled: closing must not cost a second delivery.
            await asyncio.gather(finishing, return_exceptions=True)
            raise

    async def _fail(self, error: BaseException) -> None:
        row, engine = self._row, self._engine
        if isinstance(error, HopLimitError | ExchangeBudgetError):
            # Once more would be once more round the loop.
            await self._give_up(f"{LOOPED}: {error}")
            return
        if isinstance(error, HandlerFailedError) and error.looped:
            # And once for each attempt of each handler on the way.
            await self._give_up(LOOPED)
            return
        if row.attempt >= engine.config.max_delivery_attempts:
            await self._give_up(f"its handler failed {row.attempt} times, last with {type(error).__name__}")
            return
        seconds = min(engine.config.retry_backoff * 2 ** (row.attempt - 1), MAX_BACKOFF)

        async def retry(connection: Connection, _again: bool) -> float | None:
            return await deliveries.retry_later(
                connection,
                message=row.id,
                attempt=row.attempt,
                seconds=seconds,
                error=type(error).__name__,
                process=engine.process,
            )

        due_in = await engine.database.run(retry)
        if due_in is not None:
            self._again(row.recipient_id, due_in)

    async def _give_up(self, reason: str) -> None:
        """Flag the delivery, which stays unread, and tell the sender of a question."""
        row, engine = self._row, self._engine
        letter = DeadLetter(row.id, row.attempt, reason)

        async def give_up(connection: Connection, _again: bool) -> None:
            await deliveries.dead_letter(connection, letters=[letter], process=engine.process)

        try:
            await engine.database.run(give_up)
        finally:
            engine.waiting.wake([question_topic(row.id), agent_topic(row.recipient_id)])
        logger.error("message %s to %s was given up: %s", row.id, self._agent.external_id, reason)

    async def _give_back(self) -> None:
        row, engine = self._row, self._engine

        async def give_back(connection: Connection, _again: bool) -> None:
            await deliveries.give_back(connection, messages=[row.id], process=engine.process)

        await asyncio.shield(asyncio.create_task(engine.database.run(give_back, patience=1)))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
