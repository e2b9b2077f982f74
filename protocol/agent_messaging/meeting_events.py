"""Meeting events, to the event handlers of this process: of every process's meetings, in order, at least
once.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Generic, TypeAlias, TypeVar, cast
from uuid import UUID

from agent_messaging.engine import Engine
from agent_messaging.errors import InvalidMessageError
from agent_messaging.meeting_words import agents_in
from agent_messaging.rules.meeting import AGENT_FIELDS
from agent_messaging.waiting import topics_of
from agent_messaging_db import meetings
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import EventRow, MeetingEvent

M = TypeVar("M")

EventHandler: TypeAlias = Callable[[UUID, str | None, dict[str, Any]], Awaitable[None] | None]

# Transactions that were open at the last look commit within this.
OVERLAP = timedelta(seconds=60)

logger = logging.getLogger("agent_messaging.events")


class MeetingEvents(Generic[M]):
    """Follows meetings by each one's own numbers, from the registration of the first handler on."""

    def __init__(self, engine: Engine[M]) -> None:
        self._engine = engine
        self._handlers: defaultdict[MeetingEvent, list[EventHandler]] = defaultdict(list)
        self._followed: dict[UUID, int] | None = None
        self._since: Any = None
        self._looked_at: Any = None
        self._changed: set[UUID] = set()
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stops: list[Callable[[], None]] = []

    def register(self, event_type: MeetingEvent) -> Callable[[EventHandler], EventHandler]:
        """Make the decorator that registers a handler of one type of event."""
        kind = MeetingEvent(event_type)

        def decorate(handler: EventHandler) -> EventHandler:
            self._handlers[kind].append(handler)
            return handler

        return decorate

    async def settle(self) -> None:
        """Begin to follow, at the first call after a registration."""
        if not self._handlers or self._followed is not None:
            return
        # First listen, then note where everything stands: what happens in between is followed twice rather
        # than missed.
        self._stops.append(self._engine.waiting.tap(self._heard))
        async with self._engine.database.connection() as connection:
            self._since = self._looked_at = await meetings.database_time(connection)
            self._followed = await meetings.followed_from(connection)
        self._task = asyncio.create_task(self._follow_for_ever(), name="agent-messaging events")

    async def look(self, connection: Connection) -> None:
        """Notice meetings whose wake-up was lost."""
        if self._followed is None:
            return
        now = await meetings.database_time(connection)
        changed = await meetings.changed_since(connection, moment=self._looked_at - OVERLAP)
        self._looked_at = now
        if behind := {meeting for meeting, seq in changed.items() if seq > self._followed.get(meeting, 0)}:
            self._changed |= behind
            self._kick.set()

    async def close(self) -> None:
        for stop in self._stops:
            stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _heard(self, topics: Iterable[str]) -> None:
        if changed := topics_of("m", topics):
            self._changed.update(changed)
            self._kick.set()

    async def _follow_for_ever(self) -> None:
        while True:
            await self._kick.wait()
            self._kick.clear()
            changed, self._changed = self._changed, set()
            for meeting in changed:
                try:
                    await self._follow(meeting)
                except DatabaseUnavailable:
                    # The sweep brings it back.
                    continue

    async def _follow(self, meeting: UUID) -> None:
        followed = cast("dict[UUID, int]", self._followed)
        after = followed.get(meeting)
        async with self._engine.database.connection() as connection:
            events = await meetings.events_after(connection, meeting=meeting, seq=after or 0, limit=None)
        names = await self._engine.names.of({id for event in events for id in agents_in(event)})
        for event in events:
            # A meeting that was not noted is new, or was over before: of that one nothing is told.
            if after is not None or event.created_at >= self._since:
                for handler in self._handlers.get(event.event, ()):
                    await self._call(handler, event, names)
            followed[meeting] = event.seq

    async def _call(self, handler: EventHandler, event: EventRow, names: dict[UUID, str]) -> None:
        try:
            result = handler(
                event.meeting_id,
                None if event.agent_id is None else names[event.agent_id],
                self._data(event, names),
            )
            if inspect.isawaitable(result):
                await result
        except (Exception, asyncio.CancelledError) as error:
            task = cast("asyncio.Task[None]", self._task)
            if isinstance(error, asyncio.CancelledError) and task.cancelling():
                raise
            # It harms only itself: the next event is due all the same.
            logger.exception("an event handler failed on %s of meeting %s", event.event, event.meeting_id)

    def _data(self, event: EventRow, names: dict[UUID, str]) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(event.data)
        for field in AGENT_FIELDS & data.keys():
            data[field] = names.get(UUID(data[field])) if data[field] else None
        if event.content is not None:
            try:
                data["message"] = self._engine.codec.decode(event.content)
            except InvalidMessageError:
                data["message"] = json.loads(event.content)
        return {**data, "turn": event.turn, "seq": event.seq, "at": event.created_at}
