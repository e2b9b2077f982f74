"""Handlers: which agents this process handles messages for, and handing each delivery to exactly one of them
at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from contextvars import Context
from typing import Any, Generic, TypeVar
from uuid import UUID

from agent_messaging.answering import Answers
from agent_messaging.engine import Engine
from agent_messaging.errors import (
    AgentNotFoundError,
    HandlerAlreadyRegisteredError,
    HandlerNotRegisteredError,
    InvalidArgumentError,
)
from agent_messaging.handler_run import Handler, HandlerRun
from agent_messaging.identifiers import checked_external_id
from agent_messaging.waiting import agent_topic
from agent_messaging_db import deliveries, directory, sync_points
from agent_messaging_db.deliveries import ClaimRow
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import AttachmentKind, IdentityRow
from agent_messaging_db.sync_points import SyncPoint

M = TypeVar("M")

BACKLOG = 1_000  # what resume claims at a time
PUNCTUAL = 0.005  # seconds, so that no clock finds it early

logger = logging.getLogger("agent_messaging.handlers")


class _Desk(Generic[M]):
    """The handler of one agent, how many of its slots are free, and what was claimed for it and has not
    begun. `may_have_more`: the last look for work took all that it had room for, or had no room.
    """

    def __init__(self, agent: IdentityRow, handler: Handler[M], *, slots: int, freed: Callable[[UUID], None]) -> None:
        self.agent = agent
        self.handler = handler
        self.free = slots
        self.backlog: list[ClaimRow] = []
        self.may_have_more = False
        self._freed = freed

    def release(self) -> None:
        self.free += 1
        self._freed(self.agent.id)


class _Place:
    """The slot of one run of a handler. It is free while the handler waits, in however many waits at once, and
    after it.
    """

    def __init__(self, desk: _Desk[Any]) -> None:
        self._desk = desk
        self._waits = 0
        self._over = False
        desk.free -= 1

    def leave(self) -> None:
        self._waits += 1
        if self._waits == 1 and not self._over:
            self._desk.release()

    def enter(self) -> None:
        self._waits -= 1
        if self._waits == 0 and not self._over:
            self._desk.free -= 1

    def end(self) -> None:
        self._over = True
        if self._waits == 0:
            self._desk.release()


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
        self._settling = asyncio.Lock()
        self._claiming = 0
        self._doubtful = False
        self._is_closed = False
        self._held: set[tuple[UUID, int]] = set()
        self._reserved: set[UUID] = set()
        self._retries: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._claimer: asyncio.Task[None] | None = None
        engine.takers = self

    @property
    def agents(self) -> Collection[UUID]:
        """The agents that have a handler here."""
        return self._desks.keys()

    def register(self, agent_external_id: str) -> Callable[[Handler[M]], Handler[M]]:
        """Make the decorator that registers a handler; see AgentMessaging.register_handler."""
        checked_external_id(agent_external_id)

        def decorate(handler: Handler[M]) -> Handler[M]:
            if not callable(handler):
                raise InvalidArgumentError(
                    f"the handler of {agent_external_id!r} is `async def handler(message, context)`, not a "
                    f"{type(handler).__name__}"
                )
            if agent_external_id in self._names:
                raise HandlerAlreadyRegisteredError(
                    f"this process has a handler for {agent_external_id!r} already; one handler for each agent and "
                    "process"
                )
            self._names.add(agent_external_id)
            self._unsettled[agent_external_id] = handler
            return handler

        return decorate

    @property
    def unsettled(self) -> bool:
        """Are there registrations that are not written yet?"""
        return bool(self._unsettled)

    async def settle(self) -> None:
        """Write the registrations made since the last call; one for an agent that does not exist yet waits
        for it.
        """
        if not self._unsettled:
            return
        async with self._settling:  # whoever comes second goes on when the lease is written
            found: dict[str, IdentityRow] = {}
            for name in list(self._unsettled):
                with suppress(AgentNotFoundError):
                    found[name] = await self._engine.names.agent(name)
            if not found:
                return
            await self._engine.presence.attach([agent.id for agent in found.values()], AttachmentKind.HANDLER)
            for name, agent in found.items():
                self._open(agent, self._unsettled.pop(name))

    def _open(self, agent: IdentityRow, handler: Handler[M]) -> None:
        if self._claimer is None:
            self._claimer = asyncio.create_task(self._claim_for_ever(), name="agent-messaging claimer")
        slots = self._engine.config.handler_concurrency
        self._desks[agent.id] = _Desk(agent, handler, slots=slots, freed=self._freed)
        self._stops.append(self._engine.waiting.listen([agent_topic(agent.id)], lambda: self.poke(agent.id)))
        self.poke(agent.id)

    def poke(self, agent: UUID) -> None:
        """There may be something for this agent's handler."""
        if self._engine.config.auto_invoke_handlers and agent in self._desks:
            self._work.add(agent)
            self._kick.set()

    def reserve(self, agent: UUID, message: UUID) -> _Place | None:
        """Keep a slot for a message that is about to be stored as claimed; None where others come first."""
        desk = self._desks.get(agent)
        if desk is None or not self._engine.config.auto_invoke_handlers or self._is_closed:
            return None
        if desk.free <= 0 or desk.backlog or desk.may_have_more or agent in self._work:
            return None
        self._reserved.add(message)
        return _Place(desk)

    def hand(self, place: _Place, row: ClaimRow) -> None:
        """The message is stored and this process's: handle it."""
        self._reserved.discard(row.id)
        if self._is_closed:  # leaving frees it
            place.end()
            return
        self._held.add((row.id, row.attempt))
        self._engine.counts.deliveries_claimed += 1
        self._run(place, row)

    def cancel(self, place: _Place, message: UUID, *, doubtful: bool) -> None:
        """The message is not to be handed over. `doubtful`: it may be stored as claimed all the same."""
        self._reserved.discard(message)
        self._doubtful |= doubtful
        place.end()

    async def look_for_work(self, connection: Connection) -> None:
        """Poke those with something to do: for deliveries whose wake-up was lost, or whose time has come."""
        await self.settle()
        await self._let_go(connection)
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
        try:
            while claimed := await self._claim([(agent.id, BACKLOG)]):
                count += len(claimed)
                desk.backlog.extend(claimed)
        finally:
            # Also what was claimed before the call was cut short: nobody else would begin it.
            self._begin(desk)
        return count

    def reset(self) -> None:
        """Go back to the registrations alone: what an earlier opening of this process made of them is over."""
        self._unsettled = {desk.agent.external_id: desk.handler for desk in self._desks.values()} | self._unsettled
        if self._claimer is not None:
            self._claimer.cancel()  # one that a call began while the process closed
        self._claimer = None
        for left in (self._desks, self._stops, self._work, self._held, self._reserved, self._retries):
            left.clear()
        self._is_closed = False

    async def close(self) -> None:
        """Stop handling; what has not been finished is free for other processes at once."""
        self._is_closed = True
        for stop in self._stops:
            stop()
        for retry in self._retries:
            retry.cancel()
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
            for agent in agents:
                self._desks[agent].may_have_more = True
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
            for agent, room in wanted:
                desk = self._desks[agent]
                desk.may_have_more = len(desk.backlog) >= room
                self._begin(desk)

    async def _claim(self, wanted: list[tuple[UUID, int]]) -> list[ClaimRow]:
        engine = self._engine

        async def claim(connection: Connection, again: bool) -> list[ClaimRow]:
            self._doubtful |= again
            claimed = await deliveries.claim(
                connection,
                wanted=wanted,
                process=engine.process,
                max_attempts=engine.config.max_delivery_attempts,
            )
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.DELIVERIES_CLAIMED)
            return claimed

        self._claiming += 1
        try:
            claimed = await engine.database.run(claim)
        except BaseException:
            self._doubtful = True
            raise
        finally:
            self._claiming -= 1
        self._held.update((row.id, row.attempt) for row in claimed)
        engine.counts.deliveries_claimed += len(claimed)
        return claimed

    async def _let_go(self, connection: Connection) -> None:
        """Free what this process has claimed and is not handling: after an outage, nobody else would."""
        if not self._doubtful or self._claiming:
            return
        self._doubtful = False
        try:
            claims = await deliveries.claims(connection, agents=list(self._desks), process=self._engine.process)
            # A claim that is under way may have been among them.
            mine = self._held | {(message, 1) for message in self._reserved}
            lost = [] if self._claiming or self._doubtful else [claim for claim in claims if claim not in mine]
            self._doubtful |= self._claiming > 0
            if lost:
                await deliveries.let_go(connection, claims=lost, process=self._engine.process)
        except BaseException:
            self._doubtful = True
            raise

    def _begin(self, desk: _Desk[M]) -> None:
        while desk.backlog and desk.free > 0 and not self._is_closed:
            self._run(_Place(desk), desk.backlog.pop(0))

    def _run(self, place: _Place, row: ClaimRow) -> None:
        desk = self._desks[row.recipient_id]
        run = HandlerRun(self._engine, self._answers, row, desk.agent, desk.handler, slot=place, again=self._try_again)
        # A handler is no part of the call, or of the other handler, that made room for it.
        name = f"agent-messaging handler of {desk.agent.external_id}"
        task = asyncio.create_task(run(), name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(row, place, done))

    def _finished(self, row: ClaimRow, place: _Place, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._held.discard((row.id, row.attempt))
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a delivery could not be finished and will be given again", exc_info=error)
            self._doubtful = True
        place.end()

    def _try_again(self, agent: UUID, seconds: float) -> None:
        """Look for work when a delivery that failed is due: the sweep may come too late for it."""

        def poke() -> None:
            self._retries.discard(timer)
            self.poke(agent)

        timer = asyncio.get_running_loop().call_later(seconds + PUNCTUAL, poke)
        self._retries.add(timer)

    def _freed(self, agent: UUID) -> None:
        if (desk := self._desks.get(agent)) is None:  # a handler outlived the close, and the process is open again
            return
        self._begin(desk)
        if desk.may_have_more:  # else whatever comes is told: a look for each that is done would be half of all looks
            self.poke(agent)
