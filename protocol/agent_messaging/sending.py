"""What every way of sending shares: no message to oneself, and the verdict of the outbox in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from agent_messaging.engine import Engine
from agent_messaging.errors import IdempotencyConflictError, InvalidArgumentError, InvalidSessionStateError
from agent_messaging.etiquette import refusal
from agent_messaging_db import keys
from agent_messaging_db.conversations import Sending
from agent_messaging_db.errors import Conflict
from agent_messaging_db.keys import Key
from agent_messaging_db.rows import IdentityRow

MOST_OPEN_QUESTIONS = 8


def not_to_oneself(sender: IdentityRow, recipients: Iterable[IdentityRow]) -> None:
    """Raise InvalidArgumentError if the sender is among the recipients."""
    if any(recipient.id == sender.id for recipient in recipients):
        raise InvalidArgumentError(f"{sender.external_id!r} cannot send to itself; name another agent")


async def stored(engine: Engine[Any], sending: Sending) -> list[UUID]:
    """Send, and give the ids of the messages: those of the first call if its key was used before.

    Raises IdempotencyConflictError, InvalidSessionStateError when too many questions are open, and what etiquette
    refuses: SilencedError, HopLimitError, ExchangeBudgetError.
    """
    try:
        verdict = await engine.outbox.send(sending)
    except Conflict as conflict:
        if str(conflict) != "at_most_eight_open_questions":
            raise
        raise InvalidSessionStateError(
            f"nothing was sent: {MOST_OPEN_QUESTIONS} of your questions to this agent are open already; "
            "wait for an answer to one of them, or end the conversation"
        ) from conflict
    match verdict.verdict:
        case "sent":
            return [message.id for message in sending.messages]
        case "replayed":
            return replayed(verdict.result)
        case _:
            refused = await refusal(engine, sending, verdict)
            raise conflicting(sending.key) if refused is None else refused


async def first_result(engine: Engine[Any], key: Key | None) -> list[UUID] | None:
    """Give the ids that the first call with this key gave, if there was one; raises IdempotencyConflictError if
    its payload was another.
    """
    if key is None:
        return None
    used = await engine.read(lambda connection: keys.get_key(connection, key=key))
    if used is None:
        return None
    if used[0] != key.hash:
        raise conflicting(key)
    return replayed(used[1])


def replayed(result: str | None) -> list[UUID]:
    """Give the ids that the first call with a key gave."""
    return [UUID(id) for id in (result or "").split(",")]


def conflicting(key: Key | None) -> IdempotencyConflictError:
    return IdempotencyConflictError(
        f"nothing was done: the idempotency key {'' if key is None else key.key!r} was used within the last 24 hours "
        "with another "
        "payload; use a new key, or repeat the first call exactly"
    )
