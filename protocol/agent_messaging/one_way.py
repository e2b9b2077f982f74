"""One-way messages: delivered to the recipient's inbox and handler, no session, no answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar, overload
from uuid import UUID

from agent_messaging.content import encode_metadata
from agent_messaging.engine import Engine
from agent_messaging.errors import HandlerNotRegisteredError, InboxFullError, InvalidArgumentError
from agent_messaging.handling import next_hop
from agent_messaging.outbox import key_for
from agent_messaging.sending import first_result, not_to_oneself, stored
from agent_messaging_db import directory
from agent_messaging_db.conversations import NewMessage, Sending
from agent_messaging_db.ids import new_id
from agent_messaging_db.rows import IdentityRow, MessageKind

M = TypeVar("M")

MOST_RECIPIENTS = 1000


class OneWayMessenger(Generic[M]):
    """One-way messaging (the design's `OneWayMessenger`)."""

    def __init__(self, engine: Engine[M]) -> None:
        self._engine = engine

    @overload
    async def send(
        self,
        sender_external_id: str,
        recipient_external_id: str,
        message: M,
        *,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> UUID: ...

    @overload
    async def send(
        self,
        sender_external_id: str,
        recipient_external_id: Sequence[str],
        message: M,
        *,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> list[UUID]: ...

    async def send(
        self,
        sender_external_id: str,
        recipient_external_id: str | Sequence[str],
        message: M,
        *,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> UUID | list[UUID]:
        """Send a message to one agent, or to several: to all of them or to none.

        It lands in the inbox of each and invokes its handler. Gives the message's id, or a list of ids. A
        call that is cancelled may have sent; only an `idempotency_key` tells: the same key with the same
        payload within 24 hours gives the first result.

        Raises:
            AgentNotFoundError: the sender or a recipient does not exist.
            HandlerNotRegisteredError: a recipient has no live handler and has never read an inbox; nothing
                was sent. SilencedError, HopLimitError, ExchangeBudgetError, InboxFullError,
                InvalidMessageError, IdempotencyConflictError: nothing was sent.
        """
        engine = self._engine
        await engine.ready()
        alone = isinstance(recipient_external_id, str)
        names = [recipient_external_id] if isinstance(recipient_external_id, str) else _listed(recipient_external_id)
        sender, *recipients = await engine.names.agents([sender_external_id, *names])
        if len({agent.id for agent in recipients}) < len(recipients):
            raise InvalidArgumentError("a recipient is named twice; name each of them once")
        not_to_oneself(sender, recipients)
        content, extra = engine.codec.encode(message), encode_metadata(metadata)
        key = key_for(sender.id, idempotency_key, "one_way", [str(agent.id) for agent in recipients], content, extra)
        try:
            await self._require_reachable(recipients)
            await engine.room.require(recipients)
        except (HandlerNotRegisteredError, InboxFullError):
            # What was sent before the recipient went away or its inbox filled up stays sent.
            if (first := await first_result(engine, key)) is None:
                raise
            return first[0] if alone else first
        rows = tuple(
            NewMessage(new_id(), MessageKind.ONE_WAY, sender.id, recipient.id, content, extra, hop=next_hop.get())
            for recipient in recipients
        )
        engine.presence.seen(sender.id)
        ids = await stored(engine, Sending(rows, key))
        return ids[0] if alone else ids

    async def _require_reachable(self, recipients: Sequence[IdentityRow]) -> None:
        names = [agent.external_id for agent in recipients]
        agents = await self._engine.read(lambda connection: directory.get_agents(connection, external_ids=names))
        deaf = tuple(sorted(agent.external_id for agent in agents if not agent.has_handler and not agent.reads_inbox))
        if deaf:
            raise HandlerNotRegisteredError(
                f"nothing was sent: {', '.join(deaf)} has no live handler and has never read an inbox, so nobody would "
                "get it; "
                "register a handler, or use async_conversation.send, which queues",
                agents=deaf,
            )


def _listed(recipients: Iterable[str]) -> list[str]:
    names = list(recipients) if isinstance(recipients, list | tuple | set | frozenset) else []
    if not 1 <= len(names) <= MOST_RECIPIENTS:
        raise InvalidArgumentError(f"name one recipient, or a list of 1 to {MOST_RECIPIENTS} of them")
    return names
