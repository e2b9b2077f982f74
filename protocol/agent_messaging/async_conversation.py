"""Asynchronous conversations: send without waiting, read when ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from agent_messaging.content import encode_metadata
from agent_messaging.conversations import read_conversation, read_session
from agent_messaging.engine import Engine, window
from agent_messaging.errors import InboxFullError, InvalidArgumentError
from agent_messaging.handling import next_hop
from agent_messaging.models import Message, Session
from agent_messaging.outbox import key_for
from agent_messaging.reading import Reader
from agent_messaging.sending import first_result, not_to_oneself, stored
from agent_messaging.waiting import WindowEndedError, agent_topic
from agent_messaging_db.conversations import NewMessage, Sending
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.ids import new_id
from agent_messaging_db.rows import IdentityRow, MessageKind, SessionType

M = TypeVar("M")


class _Coming(Generic[M]):
    """How one wait for a message looks and takes; an object, as closures take three times as much."""

    __slots__ = ("_reader", "_recipient", "_sender")

    def __init__(self, reader: Reader[M], recipient: IdentityRow, sender: IdentityRow) -> None:
        self._reader = reader
        self._recipient = recipient
        self._sender = sender

    async def look(self) -> bool | None:
        return await self._reader.has_unread(self._recipient, self._sender) or None

    async def take(self, _: bool) -> Message[M] | None:
        messages = await self._reader.read(self._recipient, self._sender, mark=True, limit=1)
        return messages[0] if messages else None


class AsyncConversation(Generic[M]):
    """Asynchronous two-agent conversation (the design's `AsyncConversation`)."""

    def __init__(self, engine: Engine[M], reader: Reader[M], resume: Callable[[IdentityRow], Any]) -> None:
        self._engine = engine
        self._reader = reader
        self._resume = resume

    async def send(
        self,
        sender_external_id: str,
        recipient_external_id: str,
        message: M,
        *,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> UUID:
        """Send a message without waiting; it queues for the recipient. Gives its id.

        Opens the pair's conversation, or continues it. A call that is cancelled may have sent; only an
        `idempotency_key` tells: the same key with the same payload within 24 hours gives the first result.

        Raises:
            AgentNotFoundError: the sender or the recipient does not exist.
            SilencedError, HopLimitError, ExchangeBudgetError, InboxFullError, InvalidMessageError,
                IdempotencyConflictError: nothing was sent.
        """
        engine = self._engine
        await engine.ready()
        sender, recipient = await engine.names.agents([sender_external_id, recipient_external_id])
        not_to_oneself(sender, [recipient])
        content, extra = engine.codec.encode(message), encode_metadata(metadata)
        key = key_for(sender.id, idempotency_key, "async", str(recipient.id), content, extra)
        try:
            await engine.room.require([recipient])
        except InboxFullError:
            # What was sent before the inbox filled up stays sent.
            if (first := await first_result(engine, key)) is None:
                raise
            return first[0]
        engine.presence.seen(sender.id)
        row = NewMessage(new_id(), MessageKind.ASYNC, sender.id, recipient.id, content, extra, hop=next_hop.get())
        return (await stored(engine, Sending((row,), key)))[0]

    async def get_unread_messages(
        self, agent_external_id: str, *, ack: str = "auto", limit: int | None = None
    ) -> list[M]:
        """Give an agent's unread messages, oldest first, `limit` at most, and mark them read.

        Concurrent readers never get the same message twice. Only the death of this process between the commit
        and the return can cost a message here; `ack="manual"` has no such gap: it marks nothing, and
        `mark_read` acknowledges (get the ids from `get_unread`). Invitations, which have no content, are left
        out.

        Raises:
            AgentNotFoundError: the agent does not exist.
        """
        agent = await self._reader.begin(agent_external_id)
        if ack not in ("auto", "manual"):
            raise InvalidArgumentError(f"ack is 'auto' or 'manual', not {ack!r}")
        messages = await self._reader.read(agent, None, mark=ack == "auto", limit=limit)
        return [message.content for message in messages]

    async def get_unread(self, agent_external_id: str, *, limit: int | None = None) -> list[Message[M]]:
        """Give an agent's unread messages with their ids and senders, marking nothing: the other half of
        `mark_read`. Raises AgentNotFoundError.
        """
        agent = await self._reader.begin(agent_external_id)
        return await self._reader.read(agent, None, mark=False, limit=limit)

    async def get_messages_from_agent(
        self,
        recipient_external_id: str,
        sender_external_id: str,
        mark_read: bool = True,
        *,
        limit: int | None = None,
    ) -> list[M]:
        """Give the unread messages from one agent, oldest first; `mark_read=False` leaves them unread.

        Raises:
            AgentNotFoundError: either agent does not exist.
        """
        recipient = await self._reader.begin(recipient_external_id)
        sender = await self._engine.names.agent(sender_external_id)
        messages = await self._reader.read(recipient, sender, mark=mark_read, limit=limit)
        return [message.content for message in messages]

    async def mark_read(self, agent_external_id: str, message_ids: Collection[UUID]) -> int:
        """Acknowledge messages of the agent's inbox; says how many were unread. Harmless when repeated. Raises
        AgentNotFoundError.
        """
        agent = await self._reader.begin(agent_external_id)
        if not _are_ids(message_ids):
            raise InvalidArgumentError("message_ids is a list of UUIDs, the ids of messages as `get_unread` gives them")
        acknowledged = (self._engine.outbox.mark_read((message, agent.id)) for message in dict.fromkeys(message_ids))
        return sum(await asyncio.gather(*acknowledged))

    async def wait_for_message(
        self, recipient_external_id: str, sender_external_id: str, timeout: float | None = None
    ) -> M | None:
        """Wait for a message or question from one agent, and take it; None if none came in `timeout` seconds.

        Gives the oldest unread one at once if there is one. With two waiters, each message goes to one of
        them.

        Raises:
            AgentNotFoundError: either agent does not exist.
        """
        recipient = await self._reader.begin(recipient_external_id)
        sender = await self._engine.names.agent(sender_external_id)
        patience = window(timeout, self._engine.config.default_conversation_timeout)

        coming = _Coming(self._reader, recipient, sender)
        try:
            with self._engine.presence.waiting(recipient.id):
                message = await self._engine.waiting.until(
                    coming.look, coming.take, topics=[agent_topic(recipient.id)], window=patience
                )
        except WindowEndedError:
            return None
        except DatabaseUnavailable:  # at the last look; one more, as patient as any other call
            last = await coming.take(True)
            return None if last is None else last.content
        return message.content

    async def resume_agent_handler(self, agent_external_id: str) -> int:
        """Hand every message of the agent that nobody is handling to its handler, oldest first; says how
        many. Idempotent.

        Raises:
            AgentNotFoundError: the agent does not exist.
            HandlerNotRegisteredError: the agent has no live handler.
        """
        await self._engine.ready()
        return await self._resume(await self._engine.names.agent(agent_external_id))

    async def get_conversation(
        self, agent_a: str, agent_b: str, *, after_seq: int = 0, limit: int | None = None
    ) -> list[Message[M]]:
        """Read the history of two agents across all their sessions, in order: what follows number
        `after_seq`.

        Raises:
            AgentNotFoundError: either agent does not exist.
        """
        await self._engine.ready()
        page = await read_conversation(self._engine, agent_a, agent_b, after_seq=after_seq, limit=limit)
        return page.messages

    async def get_session(self, agent_a: str, agent_b: str) -> Session | None:
        """Give the newest asynchronous session of two agents; raises AgentNotFoundError."""
        await self._engine.ready()
        return await read_session(self._engine, agent_a, agent_b, SessionType.ASYNC)


def _are_ids(ids: object) -> bool:
    return isinstance(ids, list | tuple | set | frozenset) and all(
        isinstance(id, UUID) for id in cast("list[object]", ids)
    )
