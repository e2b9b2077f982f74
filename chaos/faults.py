"""What is done to processes, to PostgreSQL and to the network between them; each is counted when it has happened."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from chaos.grounds import Ground
from chaos.history import Recorder
from chaos.holders import Held, have_passed, held_by
from chaos.kinds import Kind
from chaos.plan import Plan
from chaos.processes import DRAIN_SECONDS, Drain, Process, Server
from chaos.proxy import Proxy

_DATABASE_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


EVERY: dict[Kind, float] = {
    Kind.KILL_SERVER: 5.0,  # with the next one: a SIGKILL every 2 s
    Kind.KILL_CLIENT: 3.3,
    Kind.STOP_HOLDER: 3.0,
    Kind.PAUSE_SERVER: 11.0,
    Kind.TERMINATE_SERVER: 8.0,
    Kind.KILL_LISTENER: 3.0,
    Kind.KILL_POOL: 3.0,
    Kind.RESTART_POSTGRES: 13.0,
    Kind.FREEZE: 9.0,
    Kind.RESET: 7.0,
    Kind.DELAY: 11.0,
    Kind.CUT_BEFORE: 4.0,
    Kind.CUT_AFTER: 4.0,
}
"""In seconds, on average."""


LEAST = {Kind.STOP_HOLDER: 8}
"""How often a kind is to fire, if it is not once: of the holders that were stopped, every second one may be killed
before it speaks, and one has to."""


@dataclass
class Faults:
    """The schedule follows from the seed; what it meets does not."""

    ground: Ground
    plan: Plan
    servers: Sequence[Server]
    clients: Sequence[Process]
    proxies: Sequence[Proxy]
    recorder: Recorder
    fired: Counter[Kind] = field(default_factory=Counter[Kind])
    drains: list[Drain] = field(default_factory=list[Drain])
    _postgres: asyncio.Lock = field(default_factory=asyncio.Lock)
    _cutting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, seconds: float) -> None:
        """Fire for so long, each kind in its own rhythm; at the end everything runs and carries again.

        On a machine that is too busy for that, a kind that has hardly fired goes on for as long again.
        """
        acts: dict[Kind, Callable[[random.Random], Awaitable[bool]]] = {
            Kind.KILL_SERVER: lambda chance: self._kill(chance, self.servers),
            Kind.KILL_CLIENT: lambda chance: self._kill(chance, self.clients),
            Kind.STOP_HOLDER: self._stop_holder,
            Kind.PAUSE_SERVER: self._pause_server,
            Kind.TERMINATE_SERVER: self._terminate_server,
            Kind.KILL_LISTENER: lambda _: self._end_backends("application_name = 'agent-messaging listener'"),
            Kind.KILL_POOL: lambda _: self._end_backends("application_name NOT LIKE ALL ('{agent-%,chaos%}')"),
            Kind.RESTART_POSTGRES: self._restart_postgres,
            Kind.FREEZE: self._freeze,
            Kind.RESET: self._reset,
            Kind.DELAY: self._delay,
            Kind.CUT_BEFORE: lambda chance: self._cut(chance, Kind.CUT_BEFORE),
            Kind.CUT_AFTER: lambda chance: self._cut(chance, Kind.CUT_AFTER),
        }
        ends_at = time.monotonic() + seconds
        patient = ends_at + seconds
        async with asyncio.TaskGroup() as firing:
            for kind, act in acts.items():
                firing.create_task(self._again_and_again(kind, act, ends_at, patient))

    async def _again_and_again(
        self, kind: Kind, act: Callable[[random.Random], Awaitable[bool]], ends_at: float, patient: float
    ) -> None:
        chance = random.Random(f"{self.plan.seed}/{kind}")
        while True:
            pause = EVERY[kind] * chance.uniform(0.5, 1.5)
            if time.monotonic() + pause > (ends_at if self.fired[kind] >= LEAST.get(kind, 1) else patient):
                return
            await asyncio.sleep(pause)
            with contextlib.suppress(*_DATABASE_AWAY):
                if await act(chance):
                    self.fired[kind] += 1

    def _note(self, kind: Kind, **facts: Any) -> None:
        self.recorder.write("fault", kind=kind, **facts)

    # Processes

    async def _kill(self, chance: random.Random, processes: Sequence[Process]) -> bool:
        up = [process for process in processes if not process.busy.locked()]
        if not up:
            return False
        process = chance.choice(up)
        async with process.busy:
            self._note(Kind.KILL_SERVER if isinstance(process, Server) else Kind.KILL_CLIENT, process=process.name)
            await process.kill()
            await process.start()
        return True

    async def _pause_server(self, chance: random.Random) -> bool:
        server = chance.choice(self.servers)
        async with server.busy:
            seconds = chance.uniform(1, 4)
            self._note(Kind.PAUSE_SERVER, process=server.name, seconds=seconds)
            server.freeze()
            await asyncio.sleep(seconds)
            server.thaw()
        return True

    async def _terminate_server(self, _: random.Random) -> bool:
        turn = len(self.drains) % len(self.servers)
        in_turn = [*self.servers[turn:], *self.servers[:turn]]
        server = next((server for server in in_turn if not server.busy.locked()), in_turn[0])
        async with server.busy:
            address, server.address = server.address, ""
            server.announce()  # as a load balancer learns of it
            self._note(Kind.TERMINATE_SERVER, process=server.name, address=address)
            drain = await server.terminate(within=12 * DRAIN_SECONDS)
            self.drains.append(drain)
            facts = {"took": drain.seconds, "starved": drain.starved, "code": server.code}
            self._note(Kind.TERMINATE_SERVER, process=server.name, **facts)
            await server.start()
        return True

    async def _stop_holder(self, chance: random.Random) -> bool:
        """Stop whoever has the floor and knows it, until its turn has passed."""
        async with self._database() as database:
            give_up_at = time.monotonic() + 3
            while not (aims := await self._holders(database)):
                if time.monotonic() > give_up_at:
                    return False
                await asyncio.sleep(0.03)
            turn, process = chance.choice(aims)
            async with process.busy:
                process.freeze()
                try:
                    if turn not in await held_by(database, [turn.agent]):  # it was faster
                        return False
                    self._note(Kind.STOP_HOLDER, process=process.name, **turn.facts)
                    passed = await have_passed(database, [turn])
                    self._note(Kind.STOP_HOLDER, process=process.name, passed=passed, **turn.facts)
                finally:
                    process.thaw()
        return passed

    async def _holders(self, database: asyncpg.Connection[Any]) -> list[tuple[Held, Process]]:
        return [
            (turn, process)
            for turn in await held_by(database, self.plan.agents)
            for process in self.clients
            if process.name == self.plan.process_of(turn.agent) and not process.busy.locked()
        ]

    # PostgreSQL

    @asynccontextmanager
    async def _database(self) -> AsyncGenerator[asyncpg.Connection[Any]]:
        async with self._postgres:  # while it starts, nothing can be proven of it
            database = await self.ground.connect()
        try:
            yield database
        finally:
            database.terminate()

    async def _end_backends(self, which: str) -> bool:
        async with self._database() as database:
            ended = await database.fetch(
                "SELECT pid FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database()"  # noqa: S608
                f" AND backend_type = 'client backend' AND {which} ORDER BY random() LIMIT 2) AS chosen"
                " WHERE pg_terminate_backend(pid)"
            )
        if ended:
            self._note(Kind.KILL_LISTENER if "listener" in which else Kind.KILL_POOL, backends=len(ended))
        return bool(ended)

    async def _restart_postgres(self, _: random.Random) -> bool:
        async with self._postgres:
            self._note(Kind.RESTART_POSTGRES)
            away = await self.ground.restart()
            self._note(Kind.RESTART_POSTGRES, away=away)
        return True

    # The network

    def _road(self, chance: random.Random) -> Proxy:
        """One that is travelled, if there is one."""
        return chance.choice([proxy for proxy in self.proxies if proxy.open_connections()] or list(self.proxies))

    async def _freeze(self, chance: random.Random) -> bool:
        proxy = self._road(chance)
        frozen = proxy.freeze(new=chance.random() < 0.5)
        self._note(Kind.FREEZE, connections=frozen)
        await asyncio.sleep(chance.uniform(1, 4))
        proxy.thaw()
        return frozen > 0

    async def _reset(self, chance: random.Random) -> bool:
        reset = self._road(chance).reset()
        self._note(Kind.RESET, connections=reset)
        return reset > 0

    async def _delay(self, chance: random.Random) -> bool:
        proxy = self._road(chance)
        seconds = chance.uniform(0.02, 0.2)
        before = proxy.fired.total()
        self._note(Kind.DELAY, seconds=seconds)
        proxy.delay(seconds)
        await asyncio.sleep(chance.uniform(1, 3))
        proxy.delay(0)
        return proxy.fired.total() > before

    async def _cut(self, chance: random.Random, kind: Kind) -> bool:
        proxy = self._road(chance)
        async with self._cutting:
            before = proxy.cuts.total()
            proxy.cut_commits(
                "before" if kind is Kind.CUT_BEFORE else "after", times=3, matching=chance.choice(_WRITES)
            )
            await asyncio.sleep(1)
            proxy.spare_commits()
            cut = proxy.cuts.total() - before
        if cut:
            self._note(kind, connections=cut)
        return cut > 0


_WRITES = ("send_messages", "answer_questions", "save_meeting", "send_messages|INSERT|UPDATE")
"""Statements that are cut."""
