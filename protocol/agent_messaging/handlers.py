"""Handlers: which agents this process handles messages for, and handing each delivery to exactly one of them
at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

from agent_messaging.answering import Answers
from agent_messaging.engine import Engine
from agent_messaging.errors import (
    AgentNotFoundError,
    HandlerAlreadyRegisteredError,
    HandlerNotRegisteredError,
)
from agent_messaging.handler_run import Handler, HandlerRun
from agent_messaging.waiting import agent_topic
from agent_messaging_db import deliveries, directory
from agent_messaging_db.deliveries import ClaimRow
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import AttachmentKind, IdentityRow

M = TypeVar("M")

BACKLOG = 1_000  # what resume claims at a time

logger = logging.getLogger("agent_messaging.handlers")


class _Desk(Generic[M]):
    """The handler of one agent, how many of its slots are free, and what was claimed for it and has not
    begun.
    """

    def __init__(self, agent: IdentityRow, handler: Handler[M], *, slots: int, freed: Callable[[UUID], None]) -> None:
        self.agent = agent
        self.handler = handler
        self.free = slots
        self.backlog: list[ClaimRow] = []
        self._freed = freed

    def leave(self) -> None:
        self.free += 1
        self._freed(self.agent.id)

    def enter(self) -> None:
        self.free -= 1


class Handlers(Generic[M]):
    """The handlers of this process."""

    def __init__(self, engine: Engine[M], answers: Answers[M]) -> None:
        self._engine = engine
        self._answers = answers
        self._unsettled: dict[str, Handler[M]] = {}
        self._desks: dict[UUID, _Desk[M]] = {}
        self._names: set[str] = set()
        self._stops: list[Callable[[], None]] = []
        self._work: set[UUID] = set()
        self._kick = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._claimer: asyncio.Task[None] | None = None

    @property
    def agents(self) -> list[UUID]:
        """The agents that have a handler here."""
        return list(self._desks)

    def register(self, agent_external_id: str) -> Callable[[Handler[M]], Handler[M]]:
        """Make the decorator that registers a handler; raises HandlerAlreadyRegisteredError."""

        def decorate(handler: Handler[M]) -> Handler[M]:
            if agent_external_id in self._names:
                raise HandlerAlreadyRegisteredError(
                    f"this process has a handler for {agent_external_id!r} already; one handler for each agent and "
                    "process"
                )
            self._names.add(agent_external_id)
            self._unsettled[agent_external_id] = handler
            return handler

        return decorate

    async def settle(self) -> None:
        """Write the registrations made since the last call; one for an agent that does not exist yet waits
        for it.
        """
        if not self._unsettled:
            return
        settled: list[UUID] = []
        for name, handler in list(self._unsettled.items()):
            try:
                agent = await self._engine.names.agent(name)
            except AgentNotFoundError:
                continue
            self._desks[agent.id] = _Desk(
                agent, handler, slots=self._engine.config.handler_concurrency, freed=self._freed
            )
            settled.append(agent.id)
            del self._unsettled[name]
        if not settled:
            return
        await self._engine.presence.attach(settled, AttachmentKind.HANDLER)
        for agent in settled:
            self._stops.append(self._engine.waiting.listen([agent_topic(agent)], lambda agent=agent: self.poke(agent)))
        if self._claimer is None:
            self._claimer = asyncio.create_task(self._claim_for_ever(), name="agent-messaging claimer")
        for agent in settled:
            self.poke(agent)

    def poke(self, agent: UUID) -> None:
        """There may be something for this agent's handler."""
        if self._engine.config.auto_invoke_handlers and agent in self._desks:
            self._work.add(agent)
            self._kick.set()

    async def look_for_work(self, connection: Connection) -> None:
        """Poke those with something to do: for deliveries whose wake-up was lost, or whose time has come."""
        if self._desks and self._engine.config.auto_invoke_handlers:
            for agent in await deliveries.agents_with_work(connection, agents=list(self._desks)):
                self.poke(agent)

    async def resume(self, agent: IdentityRow) -> int:
        """Claim everything that waits for this agent's handler; raises HandlerNotRegisteredError if it has
        none anywhere.
        """
        desk = self._desks.get(agent.id)
        if desk is None:
            rows = await self._engine.read(
                lambda connection: directory.get_agents(connection, external_ids=[agent.external_id])
            )
            if not any(row.has_handler for row in rows):
                raise HandlerNotRegisteredError(
                    f"{agent.external_id!r} has no live handler to resume; register one first",
                    agents=(agent.external_id,),
                )
            self._engine.waiting.wake([agent_topic(agent.id)])
            return 0
        count = 0
        while claimed := await self._claim([(agent.id, BACKLOG)]):
            count += len(claimed)
            desk.backlog.extend(claimed)
        self._begin(desk)
        return count

    async def close(self) -> None:
        """Stop handling; what has not been finished is free for other processes at once."""
        for stop in self._stops:
            stop()
        if self._claimer is not None:
            self._claimer.cancel()
        tasks = [task for task in (self._claimer, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def _claim_for_ever(self) -> None:
        while True:
            await self._kick.wait()
            self._kick.clear()
            agents, self._work = self._work, set()
            wanted = [(agent, self._desks[agent].free) for agent in agents if self._desks[agent].free > 0]
            if not wanted:
                continue
            try:
                claimed = await self._claim(wanted)
            except DatabaseUnavailable:
                # The sweep finds what is left.
                continue
            except Exception:
                logger.exception("claiming deliveries failed")
                continue
            for row in claimed:
                self._desks[row.recipient_id].backlog.append(row)
            for agent in {row.recipient_id for row in claimed}:
                self._begin(self._desks[agent])

    async def _claim(self, wanted: list[tuple[UUID, int]]) -> list[ClaimRow]:
        engine = self._engine

        async def claim(connection: Connection, _again: bool) -> list[ClaimRow]:
            return await deliveries.claim(
                connection,
                wanted=wanted,
                process=engine.process,
                max_attempts=engine.config.max_delivery_attempts,
            )

        return await engine.database.run(claim)

    def _begin(self, desk: _Desk[M]) -> None:
        while desk.backlog and desk.free > 0:
            row = desk.backlog.pop(0)
            desk.enter()
            run = HandlerRun(self._engine, self._answers, row, desk.agent, desk.handler, slot=desk)
            task = asyncio.create_task(run(), name=f"agent-messaging handler of {desk.agent.external_id}")
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._finished(desk, done))

    def _finished(self, desk: _Desk[M], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a delivery could not be finished and will be given again", exc_info=error)
        desk.leave()

    def _freed(self, agent: UUID) -> None:
        self._begin(self._desks[agent])
        self.poke(agent)
