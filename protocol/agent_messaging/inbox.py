"""The inbox of an agent: everything that needs it, seen without consuming it, and acknowledged by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from agent_messaging.content import decode_metadata
from agent_messaging.engine import Engine, whole, window
from agent_messaging.errors import InvalidArgumentError, InvalidMessageError, MessageNotFoundError
from agent_messaging.identifiers import HandleKind, handle, number_of
from agent_messaging.models import InboxItem, InboxItemKind
from agent_messaging.reading import Reader
from agent_messaging.waiting import WindowEndedError, agent_topic
from agent_messaging_db import inbox
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.inbox import ItemRow, TurnRow
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import IdentityRow, MeetingPhase, MessageKind, QuestionState

M = TypeVar("M")

# Subscribing a generic model takes longer than making one.
_InboxItem = InboxItem[Any]

MOST_ITEMS = 1000
_KINDS = {
    MessageKind.ONE_WAY: InboxItemKind.MESSAGE,
    MessageKind.ASYNC: InboxItemKind.MESSAGE,
    MessageKind.QUESTION: InboxItemKind.QUESTION,
    MessageKind.ANSWER: InboxItemKind.ANSWER,
    MessageKind.DECLINE: InboxItemKind.DECLINE,
    MessageKind.INVITATION: InboxItemKind.INVITATION,
}


@dataclass(frozen=True, slots=True)
class InboxPage(Generic[M]):
    """What needs an agent, oldest first: what is unread, then what was acknowledged and is still owed, then
    its turns.

    `more` counts the unread items beyond the page, up to 1,000.
    """

    items: list[InboxItem[M]]
    more: int = 0


class Inbox(Generic[M]):
    """Reading an inbox without consuming it (an addition to the design; `async_conversation` has its calls)."""

    def __init__(self, engine: Engine[M], reader: Reader[M]) -> None:
        self._engine = engine
        self._reader = reader

    async def page(self, agent_external_id: str, *, from_agent: str | None = None, limit: int = 20) -> InboxPage[M]:
        """Give what needs the agent now. Marks nothing.

        Raises:
            AgentNotFoundError: the agent, or `from_agent`, does not exist.
        """
        agent, sender = await self._begin(agent_external_id, from_agent, limit)
        # Mostly there is nothing, and each MCP call asks.
        if not await self._engine.read(lambda connection: inbox.has_anything(connection, agent=agent.id)):
            return InboxPage([], 0)
        return await self._page(agent, sender, limit)

    async def wait(
        self,
        agent_external_id: str,
        timeout: float | None = None,
        *,
        from_agent: str | None = None,
        limit: int = 20,
    ) -> InboxPage[M]:
        """Wait until anything needs the agent: an unread message, question, turn or invitation; at once if
        there is something.

        What was acknowledged and is still owed is listed in every result but ends no wait. The page is empty
        of new items if the window of `timeout` seconds ended. Marks nothing.

        Raises:
            AgentNotFoundError: the agent, or `from_agent`, does not exist.
        """
        agent, sender = await self._begin(agent_external_id, from_agent, limit)
        patience = window(timeout, self._engine.config.default_conversation_timeout)

        async def look() -> InboxPage[M] | None:
            page = await self._page(agent, sender, limit, patience=0)
            return page if any(_is_new(item) for item in page.items) else None

        async def take(page: InboxPage[M]) -> InboxPage[M]:
            return page

        with self._engine.presence.waiting(agent.id):
            try:
                return await self._engine.waiting.until(look, take, topics=[agent_topic(agent.id)], window=patience)
            except (WindowEndedError, DatabaseUnavailable):  # an outage at the last look, too
                return await self._page(agent, sender, limit)

    async def unread_after(self, agent: IdentityRow, position: int, limit: int) -> list[tuple[int, InboxItem[M]]]:
        """Give the unread items that lie after a position in the inbox, oldest first, with where each one lies."""
        rows = await self._engine.read(
            lambda connection: inbox.page(connection, agent=agent.id, sender=None, limit=limit, after=position)
        )
        names = await self._engine.names.of({row.sender_id for row in rows})
        return [(row.position, self._item(row, names)) for row in rows]

    async def turns(self, agent: IdentityRow) -> list[InboxItem[M]]:
        """Give the turns that an agent has now."""
        rows = await self._engine.read(lambda connection: inbox.turns(connection, agent=agent.id))
        names = await self._engine.names.of({row.host_id for row in rows})
        return [_turn_item(row, names) for row in rows]

    async def cursor(self, agent_external_id: str, items: Iterable[InboxItem[M] | UUID]) -> str:
        """Store which items were given to the agent; the handle is what `acknowledge` takes. Raises
        AgentNotFoundError.
        """
        await self._engine.ready()
        agent = await self._engine.names.agent(agent_external_id)
        ids = [item if isinstance(item, UUID) else item.message_id for item in _listed(items)]
        messages = [id for id in ids if id is not None]

        async def insert(connection: Connection, _again: bool) -> int:
            return await inbox.insert_cursor(connection, agent=agent.id, messages=messages)

        return handle(HandleKind.CURSOR, await self._engine.database.run(insert))

    async def acknowledge(self, agent_external_id: str, cursor: str) -> int:
        """Mark exactly the items of a cursor read; says how many were unread. Harmless when repeated.

        Raises:
            MessageNotFoundError: the agent was never given this cursor.
        """
        await self._engine.ready()
        agent = await self._engine.names.agent(agent_external_id)
        number = number_of(HandleKind.CURSOR, str(cursor))
        messages = (
            None
            if number is None
            else await self._engine.read(lambda connection: inbox.get_cursor(connection, number=number, agent=agent.id))
        )
        if messages is None:
            raise MessageNotFoundError(
                f"there is no cursor {str(cursor)[:40]!r}; pass the one that the last result gave, or none"
            )
        marked = await asyncio.gather(*(self._engine.outbox.mark_read((message, agent.id)) for message in messages))
        return sum(marked)

    async def shown(self, agent_external_id: str, items: Sequence[InboxItem[M]]) -> None:
        """Note that a result has shown these items: they no longer end an interruptible wait. Raises
        AgentNotFoundError.
        """
        await self._engine.ready()
        agent = await self._engine.names.agent(agent_external_id)
        items = [item for item in _listed(items) if isinstance(item, InboxItem)]
        messages = [item.message_id for item in items if item.message_id is not None and not item.shown]
        turns = [
            (item.meeting_id, item.created_at)
            for item in items
            if item.kind is InboxItemKind.TURN and item.meeting_id is not None and item.created_at is not None
        ]

        async def mark(connection: Connection, _again: bool) -> None:
            if messages:
                await inbox.mark_shown(connection, agent=agent.id, messages=messages)
            if turns:
                await inbox.mark_turns_shown(connection, agent=agent.id, turns=turns)

        if messages or turns:
            await self._engine.database.run(mark)

    async def first_need(
        self, agent: IdentityRow, *, question: UUID | None = None, meeting: UUID | None = None
    ) -> InboxItem[M] | None:
        """Give the first question, answer or turn of the agent that no result has shown it, besides its own
        wait's.
        """
        if not await self._engine.has_unshown_need(agent, question=question, meeting=meeting):
            return None
        page = await self._page(agent, None, MOST_ITEMS, patience=0)
        needs = (InboxItemKind.QUESTION, InboxItemKind.ANSWER, InboxItemKind.DECLINE, InboxItemKind.TURN)
        for item in page.items:
            own = (item.question_id == question and question is not None) or (
                item.kind is InboxItemKind.TURN and item.meeting_id == meeting
            )
            if (
                item.kind in needs
                and not item.shown
                and not own
                and (item.kind is not InboxItemKind.QUESTION or item.owed)
            ):
                return item
        return None

    async def _begin(
        self, agent_external_id: str, from_agent: str | None, limit: int
    ) -> tuple[IdentityRow, IdentityRow | None]:
        if not 1 <= whole(limit, "limit", least=1) <= MOST_ITEMS:
            raise InvalidArgumentError(f"limit is between 1 and {MOST_ITEMS}, not {limit}")
        agent = await self._reader.begin(agent_external_id)
        sender = None if from_agent is None else await self._engine.names.agent(from_agent)
        return agent, sender

    async def _page(
        self, agent: IdentityRow, sender: IdentityRow | None, limit: int, *, patience: float | None = None
    ) -> InboxPage[M]:
        of = None if sender is None else sender.id

        async def read(connection: Connection, _again: bool) -> tuple[list[ItemRow], list[ItemRow], list[TurnRow], int]:
            rows = await inbox.page(connection, agent=agent.id, sender=of, limit=limit + 1)
            owed = await inbox.owed_questions(connection, agent=agent.id, sender=of, limit=limit)
            turns = [] if sender is not None else await inbox.turns(connection, agent=agent.id)
            if len(rows) <= limit:
                return rows, owed, turns, 0
            count = await inbox.count_page(connection, agent=agent.id, sender=of, limit=limit + MOST_ITEMS)
            return rows, owed, turns, max(1, count - limit)

        rows, owed, turns, more = await self._engine.database.run(read, patience=patience)
        rows = [row for row in rows[:limit] if not _is_over(row)]
        names = await self._engine.names.of(
            {row.sender_id for row in (*rows, *owed)} | {turn.host_id for turn in turns}
        )
        items = [self._item(row, names) for row in (*rows, *owed)]
        return InboxPage([*items, *(_turn_item(turn, names) for turn in turns)], more)

    def _item(self, row: ItemRow, names: dict[UUID, str]) -> InboxItem[M]:
        kind = _KINDS[MessageKind(row.kind)]
        content, readable = self._content(row)
        asked = kind is InboxItemKind.QUESTION
        name: str | None = None
        if row.meeting_number is not None:
            name = handle(HandleKind.MEETING, row.meeting_number)
        elif row.question_number is not None:
            name = handle(HandleKind.QUESTION, row.question_number)
        return _InboxItem.model_construct(
            kind=kind,
            message_id=row.id,
            handle=name,
            sender=names.get(row.sender_id),
            seq=row.seq,
            content=content,
            metadata=decode_metadata(row.metadata),
            created_at=row.created_at,
            read=row.read_at is not None,
            shown=row.shown_at is not None,
            owed=asked and row.question_state == QuestionState.OPEN,
            late=row.late,
            hop=row.hop,
            dead_letter=row.dead_at is not None or not readable,
            question_id=row.question_id,
            reply_by=row.reply_by if asked else None,
            seconds_left=max(0.0, row.seconds_left) if asked and row.seconds_left is not None else None,
            meeting_id=row.meeting_id,
            meeting_title=row.meeting_title,
        )

    def _content(self, row: ItemRow) -> tuple[M | None, bool]:
        if row.content is None or (row.kind == MessageKind.DECLINE and row.content == "null"):
            return None, True
        try:
            return self._engine.codec.decode(row.content), True
        except InvalidMessageError:
            return None, False


def _listed(items: Iterable[InboxItem[M] | UUID]) -> list[InboxItem[M] | UUID]:
    listed = list(items) if isinstance(items, list | tuple | set | frozenset) else None
    if listed is None or not all(isinstance(item, InboxItem | UUID) for item in listed):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError("items is a list of items of a page, or of their message ids")
    return listed


def _turn_item(turn: TurnRow, names: dict[UUID, str]) -> InboxItem[Any]:
    return _InboxItem.model_construct(
        kind=InboxItemKind.TURN,
        handle=handle(HandleKind.MEETING, turn.meeting_number),
        sender=names.get(turn.host_id),
        created_at=turn.floor_at,
        shown=turn.shown,
        owed=True,
        seconds_left=None if turn.seconds_left is None else max(0.0, turn.seconds_left),
        meeting_id=turn.meeting_id,
        meeting_title=turn.meeting_title,
    )


def _is_new(item: InboxItem[Any]) -> bool:
    return not item.shown if item.kind is InboxItemKind.TURN else not item.read


def _is_over(row: ItemRow) -> bool:
    """An invitation to a meeting that has ended needs nobody."""
    return row.kind == MessageKind.INVITATION and row.meeting_phase == MeetingPhase.ENDED
