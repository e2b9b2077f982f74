"""Reading messages out of an inbox: marking them read in one transaction that commits once they have arrived."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar, cast
from uuid import UUID

from agent_messaging.coalescing import Coalescer
from agent_messaging.conversations import message_from
from agent_messaging.engine import Engine, whole
from agent_messaging.errors import InvalidMessageError
from agent_messaging.models import Message
from agent_messaging_db import inbox, sync_points
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import IdentityRow, MessageKind, MessageRow
from agent_messaging_db.sync_points import SyncPoint

M = TypeVar("M")

WITH_CONTENT = (MessageKind.ONE_WAY, MessageKind.ASYNC, MessageKind.QUESTION, MessageKind.ANSWER)
PAGE = 1000
MOST_PEEKED = 100 * PAGE

logger = logging.getLogger("agent_messaging.inbox")


class Reader(Generic[M]):
    """Takes messages out of inboxes."""

    def __init__(self, engine: Engine[M]) -> None:
        self._engine = engine
        self._finishing: set[asyncio.Task[list[MessageRow]]] = set()
        # Many wait, and all of them look at once when wake-ups may have been lost.
        self._have_unread = Coalescer(self._look)

    async def begin(self, agent_external_id: str) -> IdentityRow:
        """Begin a call of an inbox method: from now on the agent counts as one that reads its own inbox."""
        await self._engine.ready()
        agent = await self._engine.names.agent(agent_external_id)
        await self._engine.presence.reads_inbox(agent.id)
        self._engine.presence.seen(agent.id)
        return agent

    async def has_unread(self, agent: IdentityRow, sender: IdentityRow) -> bool:
        """Is there an unread message from this sender that nobody has claimed?"""
        return await self._have_unread((agent.id, sender.id))

    async def _look(self, batch: Sequence[tuple[UUID, UUID]]) -> list[bool]:
        async with self._engine.database.connection() as connection:
            found = await inbox.have_unread(connection, ways=batch, kinds=WITH_CONTENT)
        return [way in found for way in batch]

    async def read(
        self, agent: IdentityRow, sender: IdentityRow | None, *, mark: bool, limit: int | None
    ) -> list[Message[M]]:
        """Give unread messages, oldest first: all of them, or `limit`. One that is not of the message type is
        flagged and left.
        """
        if limit is not None:
            whole(limit, "limit", least=1)
        if not mark:
            return await self._decoded(await self._peek(agent, sender, limit or MOST_PEEKED))
        messages: list[Message[M]] = []
        taken: list[MessageRow] = []
        try:
            while limit is None or len(messages) < limit:
                wanted = PAGE if limit is None else min(PAGE, limit - len(messages))
                rows = await self._take(agent, sender, wanted)
                taken += rows
                messages += await self._decoded(rows)
                if len(rows) < wanted:
                    break
        except BaseException:
            # The caller gets none of them, so none of them is read.
            self._unread(agent, taken)
            raise
        return messages

    async def _peek(self, agent: IdentityRow, sender: IdentityRow | None, limit: int) -> list[MessageRow]:
        of = None if sender is None else sender.id
        return await self._engine.read(
            lambda connection: inbox.peek(connection, agent=agent.id, sender=of, limit=limit, kinds=WITH_CONTENT)
        )

    async def _take(self, agent: IdentityRow, sender: IdentityRow | None, limit: int) -> list[MessageRow]:
        # In a task of its own, so that a caller who is cancelled neither cuts the transaction nor loses what
        # it took.
        task = asyncio.create_task(self._take_and_commit(agent, sender, limit))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._give_back(agent, done))
            raise

    def _give_back(self, agent: IdentityRow, done: asyncio.Task[list[MessageRow]]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._unread(agent, done.result())

    def _unread(self, agent: IdentityRow, rows: Iterable[MessageRow]) -> None:
        for row in rows:
            self._engine.outbox.mark_unread.soon((row.id, agent.id))

    async def _take_and_commit(self, agent: IdentityRow, sender: IdentityRow | None, limit: int) -> list[MessageRow]:
        taken: list[MessageRow] = []

        async def take(connection: Connection, _again: bool) -> None:
            taken.clear()
            transaction = connection.transaction()
            await transaction.start()
            try:
                if sync_points.hook is not None:
                    await sync_points.hook(SyncPoint.TRANSACTION_BEGUN)
                taken.extend(
                    await inbox.take(
                        connection,
                        agent=agent.id,
                        sender=None if sender is None else sender.id,
                        limit=limit,
                        kinds=WITH_CONTENT,
                    )
                )
                if sync_points.hook is not None:
                    await sync_points.hook(SyncPoint.TRANSACTION_COMMITS)
            except BaseException:
                await transaction.rollback()
                raise
            try:
                await transaction.commit()
            except Exception:
                # Whether it was committed is unknown, but the messages are here: at least once means to give
                # them.
                if not taken:
                    raise
                logger.info("the acknowledgement of %d messages may be lost; they may be given again", len(taken))
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.TRANSACTION_COMMITTED)

        await self._engine.database.run(take)
        return taken

    async def _decoded(self, rows: list[MessageRow]) -> list[Message[M]]:
        names = await self._engine.names.of({row.sender_id for row in rows} | {row.recipient_id for row in rows})
        messages: list[Message[M]] = []
        for row in rows:
            try:
                content = self._engine.codec.decode(cast("str", row.content))
            except InvalidMessageError as error:
                await self._set_aside(row, error)
            else:
                messages.append(message_from(row, content, names))
        return messages

    async def _set_aside(self, row: MessageRow, error: InvalidMessageError) -> None:
        reason = str(error)

        async def mark(connection: Connection, _again: bool) -> None:
            await inbox.mark_poison(connection, messages=[row.id], error=reason)

        logger.warning("message %s stays in the inbox: it is not of this program's message type", row.id)
        await self._engine.database.run(mark)
