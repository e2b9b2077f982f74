"""Whether inboxes have room: counts that may be a second old, so that a send does not pay for a count."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from agent_messaging.coalescing import Coalescer
from agent_messaging.errors import InboxFullError
from agent_messaging_db import inbox
from agent_messaging_db.pool import Connection, Database
from agent_messaging_db.rows import IdentityRow

FRESH = 1.0
REMEMBERED = 50_000


class Room:
    """Knows how full inboxes are; `limit` is `max_unread`."""

    def __init__(self, database: Database, *, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._counts: dict[UUID, tuple[int, float]] = {}
        self._count = Coalescer(self._count_unread)

    async def require(self, recipients: Sequence[IdentityRow]) -> None:
        """Raise InboxFullError if one of the recipients can take no more; answers, invitations and notices do
        not ask.
        """
        now = asyncio.get_running_loop().time()
        for recipient in recipients:
            count, counted_at = self._counts.get(recipient.id, (0, -FRESH))
            if now - counted_at >= FRESH:
                count, counted_at = await self._count(recipient.id), now
            if count >= self._limit:
                raise InboxFullError(
                    f"nothing was sent: the inbox of {recipient.external_id!r} holds {count} unread messages, as many "
                    "as it may; "
                    "send again when it has read some"
                )
            self._counts[recipient.id] = (count + 1, counted_at)

    async def _count_unread(self, batch: Sequence[UUID]) -> list[int]:
        if len(self._counts) > REMEMBERED:
            self._counts.clear()

        async def count(connection: Connection, _again: bool) -> dict[UUID, int]:
            return await inbox.count_unread(connection, agents=set(batch), limit=self._limit)

        counts = await self._database.run(count)
        return [counts[agent] for agent in batch]
