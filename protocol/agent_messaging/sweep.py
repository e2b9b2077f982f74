"""The sweep: about once a second each process applies what is due, and looks again for those whose wake-up
was lost.

Any process may do it and it does not matter which: what is due is claimed row by row, and correctness never
waits for a sweep.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextvars import Context
from time import monotonic
from typing import Any
from uuid import UUID

from agent_messaging.answering import expire_due
from agent_messaging.engine import Engine
from agent_messaging.errors import MeetingNotFoundError
from agent_messaging.meeting_store import MeetingStore
from agent_messaging.waiting import ending_topic, meeting_topic, question_topic, topics_of
from agent_messaging_db import presence, sync_points, upkeep
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.pool import Connection
from agent_messaging_db.sync_points import SyncPoint

BATCH = 500
SLICE = 100
COUNTED = 100  # how far an inbox is counted to notice a change
SLOW_ROUNDS = 15  # every so many rounds: what changes slowly
FORGET_ROUNDS = 300

logger = logging.getLogger("agent_messaging.sweep")


class Sweep:
    """`jobs` are done in every round with a connection: what other parts of the process look for."""

    def __init__(
        self,
        engine: Engine[Any],
        store: MeetingStore,
        jobs: Sequence[Callable[[Connection], Awaitable[None]]],
    ) -> None:
        self._engine = engine
        self._store = store
        self._jobs = jobs
        self._versions: dict[UUID, int] = {}
        self._inboxes: dict[str, int] = {}  # by topic: what tells one state from the next, as there may be thousands
        self._task: asyncio.Task[None] | None = None
        self._round = 0

    def start(self) -> None:
        # It outlives the call that starts it, and is no part of what that was doing.
        sweeping = self._sweep_for_ever()
        self._task = asyncio.create_task(sweeping, name="agent-messaging sweep", context=Context())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._engine.config.sweep_interval)
            began = monotonic()
            try:
                await self._sweep()
                self._engine.counts.sweeps.observe(monotonic() - began)
            except DatabaseUnavailable:
                logger.info("the database is away; the sweep goes on when it is back")
            except Exception:
                logger.exception("a sweep failed; the next one follows")

    async def _sweep(self) -> None:
        self._round += 1
        await expire_due(self._engine)
        await self._move_on()
        await self._look_again()
        async with self._engine.database.connection() as connection:
            for job in self._jobs:
                await job(connection)
            await self._engine.presence.tell(connection)
            if self._round % SLOW_ROUNDS == 0:
                await self._engine.presence.repeat(connection)
                await self._engine.clock.measure(connection)
            if self._round % FORGET_ROUNDS == 0:
                await upkeep.forget(connection)
                await presence.forget_processes(connection)

    async def _move_on(self) -> None:
        async with self._engine.database.connection() as connection:
            due = await upkeep.due_meetings(connection, limit=BATCH)
        if due and sync_points.hook is not None:
            await sync_points.hook(SyncPoint.DUE_FOUND)
        for meeting in due:
            try:
                await self._store.apply_due(meeting)
            except MeetingNotFoundError:
                continue

    async def _look_again(self) -> None:
        """Wake the waiters of this process whose rows have changed, whatever became of their wake-ups."""
        topics = self._engine.waiting.topics
        for batch in _slices(topics, "q"):
            async with self._engine.database.connection() as connection:
                settled = await upkeep.settled_questions(connection, questions=topics_of("q", batch))
            self._engine.waiting.wake_here(map(question_topic, settled))
        inboxes: dict[str, int] = {}
        for batch in _slices(topics, "a"):
            agents = dict(zip(topics_of("a", batch), batch, strict=True))
            async with self._engine.database.connection() as connection:
                states = await upkeep.inbox_states(connection, agents=agents, limit=COUNTED)
            found = {agents[state.agent_id]: state for state in states}
            inboxes |= {topic: hash(state) for topic, state in found.items()}
            # Whoever waits looks whenever there is something at all; whoever only listens is told of a change.
            waiting = [topic for topic, state in found.items() if state.unread or state.turns]
            changed = [topic for topic in found if self._inboxes.get(topic) != inboxes[topic]]
            self._engine.waiting.wake_waiters(waiting)
            self._engine.waiting.wake_here(changed)
        self._inboxes = inboxes
        await self._follow_meetings({*topics_of("m", topics), *topics_of("e", topics)})

    async def _follow_meetings(self, followed: Collection[UUID]) -> None:
        versions: dict[UUID, int] = {}
        ended: list[UUID] = []
        for batch in _batches(list(followed)):
            async with self._engine.database.connection() as connection:
                for state in await upkeep.meeting_states(connection, meetings=batch):
                    versions[state.id] = state.version
                    if state.ended:
                        ended.append(state.id)
        changed = [meeting for meeting, version in versions.items() if self._versions.get(meeting) != version]
        self._versions = versions
        self._engine.waiting.wake_here(map(meeting_topic, changed))
        self._engine.waiting.wake_here(map(ending_topic, ended))


def _batches(ids: list[UUID]) -> list[list[UUID]]:
    return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]


def _slices(topics: Sequence[str], kind: str) -> Iterator[list[str]]:
    """So few at a time that nobody notices how long they take."""
    of_kind = [topic for topic in topics if topic[0] == kind]
    return (of_kind[start : start + SLICE] for start in range(0, len(of_kind), SLICE))
