"""The faults that blocked waits have to outlive, and how each is made good again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from chaos.recovery_group import LISTENER, Client, Group, Waiter, all_ready


class NothingHappened(Exception):
    """The fault met nothing: what came of the waits says nothing."""


class Fault(StrEnum):
    """What happens to the processes that hold the waits, or to their way to the database."""

    NOTHING = "nothing, for comparison"
    KILLED = "process killed, calls again in another"
    STARTED_AGAIN = "process killed, calls again in a new one"
    LISTEN_KILLED = "LISTEN connections killed"
    LISTEN_FROZEN = "LISTEN connections frozen"
    POOL_FROZEN = "all connections frozen but LISTEN"
    ALL_FROZEN = "all connections frozen"
    RESTARTED = "PostgreSQL restarted (immediate)"


REACH = {
    Fault.NOTHING: math.inf,
    Fault.KILLED: 2.0,
    Fault.STARTED_AGAIN: 2.0,
    Fault.LISTEN_KILLED: 0.5,
    Fault.LISTEN_FROZEN: 4.0,
    Fault.POOL_FROZEN: 4.0,
    Fault.ALL_FROZEN: 4.0,
    Fault.RESTARTED: 5.0,
}
"""Seconds, of the 99th percentile."""
SPREAD = {
    Fault.NOTHING: 0.1,
    Fault.KILLED: 0.3,
    Fault.STARTED_AGAIN: 0.3,
    Fault.LISTEN_KILLED: 0.1,
    Fault.LISTEN_FROZEN: 1.0,
    Fault.POOL_FROZEN: 1.0,
    Fault.ALL_FROZEN: 1.0,
    Fault.RESTARTED: 0.5,
}
"""Seconds after the fault within which what is waited for happens."""


BATCHES = {Fault.NOTHING: 4, Fault.LISTEN_KILLED: 4}
"""In how many rounds of their own the waits are tried where so little time is allowed that ending all of them at once
would be what is measured."""


@dataclass
class Strike:
    """One fault, made: `began` is set when it has begun, and the waits are timed from `at`, once that is known."""

    fault: Fault
    group: Group
    affected: Sequence[Waiter]
    began: asyncio.Event = field(default_factory=asyncio.Event)
    at: float = 0.0
    fired: int = 0

    async def make(self) -> None:
        """Make it. Raises NothingHappened."""
        match self.fault:
            case Fault.NOTHING:
                self._now(1)
            case Fault.KILLED | Fault.STARTED_AGAIN:
                await self._kill()
            case Fault.LISTEN_KILLED:
                await self._terminate_listeners()
            case Fault.LISTEN_FROZEN:
                self._now(self.group.proxy.freeze(only=LISTENER))
            case Fault.POOL_FROZEN:
                self._now(self.group.proxy.freeze(but=LISTENER))
            case Fault.ALL_FROZEN:
                self._now(self.group.proxy.freeze())
            case Fault.RESTARTED:
                self._now(1)
                await self.group.ground.restart()
                self.at = time.monotonic()
        if not self.fired:
            raise NothingHappened(self.fault)

    async def heal(self) -> None:
        """Bring everything back to how it was."""
        self.group.proxy.thaw()
        for process in (*self.group.programs, *self.group.stdio):
            await process.revive()
        for server in self.group.servers:
            if not server.is_running:
                await server.start()
        await all_ready(self.group.servers, self.group.programs, self.group.stdio)

    async def _kill(self) -> None:
        group = self.group
        victims = {
            Client.HTTP: group.servers[:1],
            Client.PYTHON: group.programs[:1],
            Client.STDIO: group.stdio,
        }
        dying = [process for client, processes in victims.items() if self._affects(client) for process in processes]
        self._now(len(dying))
        await asyncio.gather(*(process.kill() for process in dying))

    def _affects(self, client: Client) -> bool:
        return any(waiter.client is client for waiter in self.affected)

    async def _terminate_listeners(self) -> None:
        async with self.group.ground.connection() as connection:
            self._now(0)
            self.fired = await connection.fetchval(
                "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = $1) k WHERE done",
                LISTENER,
            )

    def _now(self, fired: int) -> None:
        self.fired = fired
        self.at = time.monotonic()
        self.began.set()
