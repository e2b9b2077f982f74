"""What both kinds of conversation share: reading the history of a pair, and its sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from agent_messaging.content import decode_metadata
from agent_messaging.engine import Engine, whole
from agent_messaging.models import Message, MessageKind, Session, SessionStatus
from agent_messaging_db import conversations
from agent_messaging_db.rows import MessageRow, SessionType

M = TypeVar("M")

# Subscribing a generic model takes longer than making one.
_Message = Message[Any]

MOST = 2**31 - 2


@dataclass(frozen=True, slots=True)
class ConversationPage(Generic[M]):
    """A part of a conversation, in order. `has_more`: there is more after it (or before it, for the newest
    part).
    """

    messages: list[Message[M]]
    has_more: bool
    last_seq: int


def message_from(row: MessageRow, content: M, names: dict[Any, str]) -> Message[M]:
    """Make the model of a stored message. Its content was validated as it was decoded, so it is not validated
    again.
    """
    return _Message.model_construct(
        id=row.id,
        sender=names.get(row.sender_id, str(row.sender_id)),
        recipient=names.get(row.recipient_id, str(row.recipient_id)),
        sender_id=row.sender_id,
        recipient_id=row.recipient_id,
        session_id=row.session_id,
        meeting_id=row.meeting_id,
        message_type=MessageKind(row.kind),
        seq=row.seq,
        content=content,
        reply_to=row.reply_to,
        late=row.late,
        hop=row.hop,
        read_at=row.read_at,
        created_at=row.created_at,
        metadata=decode_metadata(row.metadata),
    )


async def read_conversation(
    engine: Engine[M], agent_a: str, agent_b: str, *, after_seq: int | None, limit: int | None
) -> ConversationPage[M]:
    """Read what follows number `after_seq`, or the newest `limit` messages if it is None."""
    one, other = await engine.names.agents([agent_a, agent_b])
    count = MOST if limit is None else min(whole(limit, "limit", least=1), MOST)
    after_seq = None if after_seq is None else whole(after_seq, "after_seq")
    if after_seq is None:
        rows = await engine.read(
            lambda connection: conversations.conversation_latest(
                connection, one=one.id, other=other.id, limit=count + 1
            )
        )
        shown = rows[-count:]
    else:
        rows = await engine.read(
            lambda connection: conversations.conversation_after(
                connection, one=one.id, other=other.id, seq=after_seq, limit=count + 1
            )
        )
        shown = rows[:count]
    names = {one.id: one.external_id, other.id: other.external_id}
    messages = [message_from(row, engine.codec.decode(cast("str", row.content)), names) for row in shown]
    last = await engine.read(lambda connection: conversations.last_seq(connection, one=one.id, other=other.id))
    return ConversationPage(messages, len(rows) > len(shown), last)


async def read_session(engine: Engine[Any], agent_a: str, agent_b: str, kind: SessionType) -> Session | None:
    """Give the newest session of one type between two agents."""
    one, other = await engine.names.agents([agent_a, agent_b])
    rows = await engine.read(lambda connection: conversations.live_sessions(connection, one=one.id, other=other.id))
    for row in rows:
        if row.type == kind:
            ended, waiting = row.ended_at is not None, row.waiting_id is not None
            status = SessionStatus.ENDED if ended else SessionStatus.WAITING if waiting else SessionStatus.ACTIVE
            return Session(
                id=row.id,
                agent_a_id=one.id,
                agent_b_id=other.id,
                session_type=SessionType(row.type),
                status=status,
                locked_agent_id=row.waiting_id if status is SessionStatus.WAITING else None,
                created_at=row.created_at,
                updated_at=row.ended_at or row.created_at,
                ended_at=row.ended_at,
            )
    return None
