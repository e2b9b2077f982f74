"""Which agents this process stands for, and that they did something: collected here, written by the sweep."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from uuid import UUID

from agent_messaging.coalescing import Coalescer
from agent_messaging_db import presence
from agent_messaging_db.pool import Connection, Database
from agent_messaging_db.rows import AttachmentKind


class Wait:
    """An open wait of an agent. Not a generator, which would take more than most of what else a wait holds."""

    __slots__ = ("_agent", "_presence")

    def __init__(self, presence: Presence, agent: UUID) -> None:
        self._presence = presence
        self._agent = agent

    def __enter__(self) -> None:
        self._presence.begin_wait(self._agent)

    def __exit__(self, *_: object) -> None:
        self._presence.end_wait(self._agent)


class Presence:
    """The attachments of this process.

    A wait is told by the sweep, a second late, so that a wait costs no write; handlers and connections are
    told at once.
    """

    def __init__(self, database: Database, *, process: UUID) -> None:
        self._database = database
        self._process = process
        self._waits: Counter[UUID] = Counter()
        self._told_waits: set[UUID] = set()
        self._idle = asyncio.Event()
        self._seen: set[UUID] = set()
        self._called: set[UUID] = set()
        self._readers: set[UUID] = set()
        self._mark_reader = Coalescer(self._mark_readers)
        self._attached: set[tuple[AttachmentKind, UUID]] = set()

    def seen(self, agent: UUID) -> None:
        """The agent did something."""
        self._seen.add(agent)

    def called(self, agent: UUID) -> None:
        """The agent called over MCP."""
        self._seen.add(agent)
        self._called.add(agent)

    def waiting(self, agent: UUID) -> Wait:
        """The agent has an open wait, for as long as this is entered."""
        return Wait(self, agent)

    def begin_wait(self, agent: UUID) -> None:
        self._waits[agent] += 1
        self._seen.add(agent)

    def end_wait(self, agent: UUID) -> None:
        self._waits[agent] -= 1
        if not self._waits[agent]:
            del self._waits[agent]
        if not self._waits:
            self._idle.set()

    async def idle(self, seconds: float) -> None:
        """Let the waits that were told to end return to their callers, for so long at most."""
        if self._waits:
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()

    async def reads_inbox(self, agent: UUID) -> None:
        """From now on the agent counts as one that reads its own inbox."""
        if agent in self._readers:
            return

        await self._mark_reader(agent)
        self._readers.add(agent)

    async def _mark_readers(self, batch: Sequence[UUID]) -> list[None]:
        async def mark(connection: Connection, _again: bool) -> None:
            await presence.mark_readers(connection, agents=set(batch))

        await self._database.run(mark)
        return [None] * len(batch)

    async def attach(self, agents: Iterable[UUID], kind: AttachmentKind) -> None:
        agents = list(agents)

        async def attach(connection: Connection, _again: bool) -> None:
            await presence.attach(connection, agents=agents, kind=kind, process=self._process)

        await self._database.run(attach)
        self._attached |= {(kind, agent) for agent in agents}

    async def detach(self, agents: Iterable[UUID], kind: AttachmentKind) -> None:
        agents = list(agents)
        self._attached -= {(kind, agent) for agent in agents}

        async def detach(connection: Connection, _again: bool) -> None:
            await presence.detach(connection, agents=agents, kind=kind, process=self._process)

        await self._database.run(detach)

    async def repeat(self, connection: Connection) -> None:
        """Write the attachments again: a process that slept for very long may have been forgotten."""
        for kind in {kind for kind, _ in self._attached}:
            agents = sorted(agent for of_kind, agent in self._attached if of_kind is kind)
            await presence.attach(connection, agents=agents, kind=kind, process=self._process)

    async def tell(self, connection: Connection) -> None:
        """Write what was collected."""
        waits = set(self._waits)
        if begun := waits - self._told_waits:
            await presence.attach(connection, agents=sorted(begun), kind=AttachmentKind.WAIT, process=self._process)
        if ended := self._told_waits - waits:
            await presence.detach(connection, agents=sorted(ended), kind=AttachmentKind.WAIT, process=self._process)
        self._told_waits = waits
        if self._seen:
            seen, self._seen = self._seen, set()
            called, self._called = self._called, set()
            await presence.touch(connection, agents=sorted(seen), callers=sorted(called))
