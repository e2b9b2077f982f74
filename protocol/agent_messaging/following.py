"""Following an inbox: what needs an agent, as it comes, each item at least once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, TypeVar

from agent_messaging.engine import Engine
from agent_messaging.inbox import Inbox
from agent_messaging.models import InboxItem
from agent_messaging.reading import Reader
from agent_messaging.waiting import agent_topic
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.rows import IdentityRow

M = TypeVar("M")

BATCH = 500
LOOK_SECONDS = 5.0
"""Seconds between looks when nobody says that there is something."""
SETTLED_SECONDS = 5.0
"""After so long, nothing is expected to be committed below what has been seen."""
WHOLE_SECONDS = 30.0
"""Seconds between looks at the whole inbox: what a handler has given back lies anywhere in it."""


class Follower(Generic[M]):
    """Gives what comes into an inbox (an addition to the design)."""

    def __init__(self, engine: Engine[M], reader: Reader[M], inbox: Inbox[M]) -> None:
        self._engine = engine
        self._reader = reader
        self._inbox = inbox

    async def follow(self, agent_external_id: str, *, once: bool) -> AsyncGenerator[InboxItem[M]]:
        """See AgentMessaging.follow."""
        agent = await self._reader.begin(agent_external_id)
        news, given = asyncio.Event(), _Given()
        if once:
            async for item in self._new(agent, given):
                yield item
            return
        forget = self._engine.waiting.listen([agent_topic(agent.id)], news.set)
        try:
            with self._engine.presence.waiting(agent.id):
                while True:
                    news.clear()
                    with suppress(DatabaseUnavailable):  # the next look begins where this one ended
                        async for item in self._new(agent, given):
                            yield item
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await news.wait()
        finally:
            forget()

    async def _new(self, agent: IdentityRow, given: _Given) -> AsyncGenerator[InboxItem[M]]:
        position = given.begin()
        while batch := await self._inbox.unread_after(agent, position, BATCH):
            for position, item in batch:
                if given.is_new(position):
                    yield item
        given.end(position)
        for item in await self._inbox.turns(agent):
            if given.is_new_turn(item):
                yield item


class _Given:
    """Which items have been given, and from where on to look. Positions are taken before a message is committed, so one
    may appear below others that have been seen.
    """

    def __init__(self) -> None:
        self._unread: set[int] = set()
        self._found: set[int] = set()
        self._turns: set[tuple[Any, ...]] = set()
        self._seen: deque[tuple[float, int]] = deque()
        self._settled = 0
        self._whole_at = 0.0
        self._is_whole = True

    def begin(self) -> int:
        """Begin a look; gives the position after which to look."""
        now = monotonic()
        while self._seen and self._seen[0][0] < now - SETTLED_SECONDS:
            self._settled = self._seen.popleft()[1]
        self._is_whole = now >= self._whole_at
        self._found.clear()
        return 0 if self._is_whole else self._settled

    def is_new(self, position: int) -> bool:
        """Whether the item at this position has not been given; it counts as given from now on."""
        self._found.add(position)
        if position in self._unread:
            return False
        self._unread.add(position)
        return True

    def is_new_turn(self, item: InboxItem[Any]) -> bool:
        """The same for a turn in a meeting."""
        turn = (item.meeting_id, item.created_at)
        if turn in self._turns:
            return False
        self._turns.add(turn)
        return True

    def end(self, last: int) -> None:
        """The look has come to its end, with this position the last one."""
        now = monotonic()
        if self._is_whole:
            self._unread &= self._found  # the others have been read, and are not remembered for ever
            self._whole_at = now + WHOLE_SECONDS
        if last > (self._seen[-1][1] if self._seen else self._settled):
            self._seen.append((now, last))
