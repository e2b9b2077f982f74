"""The processes that hold waits while faults are made, and the agents that wait in them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
from pydantic import SecretStr

from agent_messaging import AgentMessaging, Config
from chaos.grounds import Ground
from chaos.processes import START_SECONDS, Server, server, stdio_command
from chaos.proxy import Proxy, proxied
from chaos.recovery_lines import HttpLine, Line, ProcessLine, http_client

PEER = "peer"
ORGANIZATION = "default"
HELD = 45.0
"""Seconds that a wait asks for at a time."""
OFF = 3600.0
"""A sweep that never comes."""
LISTENER = "agent-messaging listener"

_ENVIRONMENT = {
    "AGENT_MESSAGING_PROGRESS_INTERVAL": "0.2",  # it tells us that a call is held
    "AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE": "1000000",
    "EXCHANGE_BUDGET": "0",
    "MAX_HOPS": "0",
}


_LISTENING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = $1 AND state = 'idle'
"""


class Client(StrEnum):
    """How an agent waits: by a tool over HTTP or stdio, or by the library in a Python program."""

    HTTP = "http"
    STDIO = "stdio"
    PYTHON = "python"


class Kind(StrEnum):
    """What it waits for."""

    ANSWER = "send_and_wait"
    MESSAGE = "check_inbox"
    TURN = "attend_meeting"


FOUND = {Kind.ANSWER: "answered", Kind.MESSAGE: "items", Kind.TURN: "your_turn"}
"""The status of a result that has what was waited for."""


@dataclass(eq=False)
class Waiter:
    """An agent, the kind of wait it makes, and the processes it can make it in."""

    agent: str
    client: Client
    kind: Kind
    lines: Sequence[Line]
    at: int = 0
    meeting: UUID | None = None
    handle: str = ""

    async def call(self, name: str, *, held: Callable[[], None]) -> bool:
        """Wait once; says whether that has found what was waited for. `name` is unlike that of any other wait.

        Raises Broken.
        """
        result = await self.lines[self.at].call(self.kind, self._arguments(name), held=held)
        return (result.get("structuredContent") or {}).get("status") == FOUND[self.kind]

    async def move_on(self) -> None:
        """Turn to another process after the one at hand broke: the next of several, or the same one started again."""
        self.at = (self.at + 1) % len(self.lines)
        line = self.lines[self.at]
        if isinstance(line, ProcessLine) and self.client is Client.STDIO:
            await line.revive()

    def _arguments(self, name: str) -> dict[str, Any]:
        given: dict[str, Any] = {"wait_seconds": HELD}
        if self.kind is Kind.ANSWER:
            given |= {"to": PEER, "message": name, "key": name}
        elif self.kind is Kind.TURN:
            given |= {"meeting": self.handle}
        if self.client is Client.PYTHON:
            given |= {"agent": self.agent, "meeting_id": str(self.meeting)}
        return given


@dataclass
class Group:
    """Two servers, two Python programs and some stdio servers on one database, reached through a proxy of their own."""

    ground: Ground
    proxy: Proxy
    sdk: AgentMessaging[Any]
    servers: list[Server]
    programs: list[ProcessLine]
    stdio: list[ProcessLine]
    waiters: list[Waiter]

    async def all_listening(self) -> None:
        """Wait until every process hears wake-ups: a fault that comes before that is another one."""
        many = 1 + len(self.servers) + len(self.programs) + len(self.stdio)
        async with self.ground.connection() as connection, asyncio.timeout(START_SECONDS):
            while await connection.fetchval(_LISTENING, LISTENER) < many:  # noqa: ASYNC110 - rows have no event to set
                await asyncio.sleep(0.05)

    async def clear(self) -> None:
        """Leave nothing of one round to the next."""
        async with self.ground.connection() as connection:
            await connection.execute("UPDATE deliveries SET read_at = clock_timestamp() WHERE read_at IS NULL")
            await connection.execute("UPDATE questions SET state = 'cancelled' WHERE state = 'open'")
        for waiter in self.waiters:
            if waiter.meeting is not None:
                await self.sdk.meeting.end_meeting(PEER, waiter.meeting)
                waiter.meeting = None


@asynccontextmanager
async def group(ground: Ground, directory: Path, *, each: int, stdio: int, sweep: bool) -> AsyncGenerator[Group]:
    """Start it: `each` agents wait over HTTP, as many in Python, and `stdio` over stdio; the sweep as shipped, or off.

    The peer that all of them wait for is an agent of this process, on a way to the database that no proxy disturbs.
    """
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied(ground.dsn, tcp=True))
        environment = dict(_ENVIRONMENT) if sweep else {**_ENVIRONMENT, "SWEEP_INTERVAL": str(OFF)}
        config = Config(database_url=SecretStr(ground.dsn), sweep_interval=1.0 if sweep else OFF)
        sdk = await stack.enter_async_context(AgentMessaging[Any](config))
        names = {
            Client.HTTP: [f"http{number}" for number in range(each)],
            Client.PYTHON: [f"python{number}" for number in range(each)],
            Client.STDIO: [f"stdio{number}" for number in range(stdio)],
        }
        await sdk.register_organization(ORGANIZATION, ORGANIZATION, exist_ok=True)
        for name in (PEER, *names[Client.HTTP], *names[Client.PYTHON], *names[Client.STDIO]):
            await sdk.register_agent(name, ORGANIZATION, name, exist_ok=True)
        tokens = {name: (await sdk.tokens.create(name)).token for name in names[Client.HTTP]}

        servers = [server(f"server-{number}", proxy.dsn, directory, **environment) for number in range(2)]
        environment["DATABASE_URL"] = proxy.dsn
        programs = [python_program(environment) for _ in range(2)]
        agents = [ProcessLine(stdio_command(name), environment) for name in names[Client.STDIO]]
        for process in (*servers, *programs, *agents):
            stack.push_async_callback(process.kill)
        await asyncio.gather(*(process.start() for process in (*servers, *programs, *agents)))
        await all_ready(servers, programs, agents)

        http = await stack.enter_async_context(http_client())
        waiters: list[Waiter] = []
        for number, name in enumerate(names[Client.HTTP]):
            lines = [_line(http, process, tokens[name]) for process in servers]
            waiters.append(Waiter(name, Client.HTTP, _kind(number), lines))
        for number, name in enumerate(names[Client.PYTHON]):
            waiters.append(Waiter(name, Client.PYTHON, _kind(number), programs))
        for number, (name, process) in enumerate(zip(names[Client.STDIO], agents, strict=True)):
            waiters.append(Waiter(name, Client.STDIO, _kind(number), [process]))
        yield Group(ground, proxy, sdk, servers, programs, agents, waiters)


def _kind(number: int) -> Kind:
    return list(Kind)[number % len(Kind)]


def _line(http: httpx2.AsyncClient, process: Server, token: str) -> HttpLine:
    return HttpLine(http, lambda: process.address, token)


def python_program(environment: Mapping[str, str]) -> ProcessLine:
    """A Python program in which any agent can wait; not started yet."""
    return ProcessLine([sys.executable, "-m", "chaos.recovery_program"], environment)


async def all_ready(servers: Sequence[Server], programs: Sequence[ProcessLine], stdio: Sequence[ProcessLine]) -> None:
    """Wait until all of them take calls."""
    await asyncio.gather(
        *(process.ready() for process in servers),
        *map(ready, programs),
        *(ready(process, "list_agents") for process in stdio),
    )


async def ready(process: ProcessLine, tool: str = "ready") -> None:
    """Wait until a process that was started has opened its database and answers a call."""
    async with asyncio.timeout(START_SECONDS):
        await process.call(tool, {}, held=lambda: None)
