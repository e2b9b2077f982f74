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
from datetime import datetime, timedelta
from typing import Any, Generic, TypeAlias, TypeVar, cast
from uuid import UUID

from agent_messaging.engine import Engine
from agent_messaging.errors import InvalidArgumentError, InvalidMessageError
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
    """Follows meetings by each one's own numbers, from the registration of the first handler on.

    Each meeting is followed by a task of its own while it has news, so that a handler that takes its time keeps no
    other meeting waiting.
    """

    def __init__(self, engine: Engine[M]) -> None:
        self._engine = engine
        self._handlers: defaultdict[MeetingEvent, list[EventHandler]] = defaultdict(list)
        self._followed: dict[UUID, int] = {}
        self._since: datetime | None = None
        self._looked_at: datetime | None = None
        self._changed: set[UUID] = set()
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._settling = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._stop: Callable[[], None] | None = None

    def register(self, event_type: MeetingEvent) -> Callable[[EventHandler], EventHandler]:
        """Make the decorator that registers a handler of one type of event; raises InvalidArgumentError."""
        try:
            kind = MeetingEvent(event_type)
        except ValueError:
            raise InvalidArgumentError(
                f"there is no event {str(event_type)[:40]!r}; the events are {', '.join(MeetingEvent)}"
            ) from None

        def decorate(handler: EventHandler) -> EventHandler:
            self._handlers[kind].append(handler)
            return handler

        return decorate

    @property
    def unsettled(self) -> bool:
        """Is there a registration, and nothing followed yet?"""
        return bool(self._handlers) and self._since is None

    async def settle(self) -> None:
        """Begin to follow, at the first call after a registration."""
        if not self.unsettled:
            return
        async with self._settling:
            if self._since is not None:
                return
            # First listen, then note where everything stands: what happens in between is looked at twice rather than
            # missed.
            if self._stop is None:
                self._stop = self._engine.waiting.tap(self._heard)
            async with self._engine.database.connection() as connection:
                since = await meetings.database_time(connection)
                self._followed = await meetings.followed_from(connection)
            self._since = self._looked_at = since
        self._follow(self._changed)

    async def look(self, connection: Connection) -> None:
        """Notice meetings whose wake-up was lost."""
        if self._looked_at is None:
            return
        now = await meetings.database_time(connection)
        changed = await meetings.changed_since(connection, moment=self._looked_at - OVERLAP)
        self._looked_at = now
        self._follow([meeting for meeting, seq in changed.items() if seq > self._followed.get(meeting, 0)])

    def reset(self) -> None:
        """Go back to the registrations alone: following begins anew, at the first call."""
        self._stop = self._since = self._looked_at = None
        self._changed.clear()

    async def close(self) -> None:
        if self._stop is not None:
            self._stop()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _heard(self, topics: Iterable[str]) -> None:
        self._follow(topics_of("m", topics))

    def _follow(self, changed: Iterable[UUID]) -> None:
        self._changed.update(changed)
        if self._since is None:
            return
        for meeting in self._changed - self._tasks.keys():
            self._tasks[meeting] = asyncio.create_task(self._catch_up(meeting), name="agent-messaging events")

    async def _catch_up(self, meeting: UUID) -> None:
        try:
            while meeting in self._changed:
                self._changed.discard(meeting)
                await self._tell_news(meeting)
        except DatabaseUnavailable:
            # The sweep brings it back.
            return
        finally:
            del self._tasks[meeting]

    async def _tell_news(self, meeting: UUID) -> None:
        after = self._followed.get(meeting)
        # One at a time, so that many meetings with news at once leave the connections to the calls.
        async with self._reading, self._engine.database.connection() as connection:
            events = await meetings.events_after(connection, meeting=meeting, seq=after or 0, limit=None)
        names = await self._engine.names.of({id for event in events for id in agents_in(event)})
        for event in events:
            # A meeting that was not noted is new, or was over before: of that one nothing is told.
            if after is not None or event.created_at >= cast("datetime", self._since):
                for handler in self._handlers.get(event.event, ()):
                    await self._call(handler, event, names)
            self._followed[meeting] = event.seq

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
            if isinstance(error, asyncio.CancelledError) and self._tasks[event.meeting_id].cancelling():
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
