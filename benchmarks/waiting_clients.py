"""Many MCP clients, each blocked in a call, on one server process: what each costs in memory, and what a send by
somebody else costs meanwhile, beside a bare server of the SDK (figures P11 and P12). On Linux only: it reads /proc.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import asyncpg
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from agent_messaging import AgentMessaging, Config
from agent_messaging_db import embedded, migrate
from benchmarks.floor import BODY

Era = Literal["auto", "legacy"]

CLIENTS = 200
FIRST = 20
"""Clients that have come and wait before anything is measured: what they bring with them is paid once."""
SENDS = 300
_LISTENING = re.compile(r"Listening: (http://127\.0\.0\.1:\d+/mcp)")


@dataclass
class Figure:
    """One row of the table: a number of ours beside one of the floor, in every round."""

    number: str
    what: str
    unit: str
    reach: float
    floors: list[float] = field(default_factory=list[float])
    ours: list[float] = field(default_factory=list[float])

    def add(self, floor: float, ours: float) -> None:
        self.floors.append(floor)
        self.ours.append(ours)

    def row(self) -> str:
        ratio = statistics.median(own / base for own, base in zip(self.ours, self.floors, strict=True))
        cells = (
            self.number,
            self.what,
            f"{statistics.median(self.floors):.3g} {self.unit}",
            f"{statistics.median(self.ours):.3g} {self.unit}",
            f"{ratio:.2f} ×",
            f"≤ {self.reach:g} ×",
            "reached" if ratio <= self.reach else "not reached",
        )
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Target:
    """A server process, and how it is called: the two are called alike."""

    url: str
    pid: int
    tokens: list[str]
    send: tuple[str, dict[str, Any]]
    wait: tuple[str, dict[str, Any]]
    held: Callable[[], Awaitable[int]]

    def resident_kib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return float(status.partition("VmRSS:")[2].split()[0])

    def cpu_seconds(self) -> float:
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @asynccontextmanager
    async def client(self, number: int, era: Era) -> AsyncGenerator[Client]:
        headers = {"Authorization": f"Bearer {self.tokens[number % len(self.tokens)]}"}
        timeout = httpx2.Timeout(60, read=600)
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=era) as client,
        ):
            yield client


@dataclass(frozen=True)
class Measured:
    """What one server process cost."""

    kib_each: float
    unloaded_ms: list[float]
    loaded_ms: list[float]
    cpu_ms: float


async def measure(target: Target, era: Era) -> Measured:
    """Block `CLIENTS` calls, and send meanwhile."""
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(target.client(0, "auto"))
        await sends(sender, target, 50)
        began = target.cpu_seconds()
        unloaded = await sends(sender, target, SENDS)
        cpu_ms = (target.cpu_seconds() - began) / SENDS * 1000
        waiting: list[asyncio.Task[Any]] = []
        try:
            await block(stack, target, era, waiting, range(1, FIRST + 1))
            before = target.resident_kib()
            await block(stack, target, era, waiting, range(FIRST + 1, FIRST + CLIENTS + 1))
            await asyncio.sleep(2)
            kib_each = (target.resident_kib() - before) / CLIENTS
            loaded = await sends(sender, target, SENDS)
            assert await target.held() == FIRST + CLIENTS, "a wait has ended meanwhile"
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    return Measured(kib_each, unloaded, loaded, cpu_ms)


async def block(
    stack: AsyncExitStack, target: Target, era: Era, waiting: list[asyncio.Task[Any]], numbers: range
) -> None:
    """Connect clients, and have each make a call that is held."""
    for number in numbers:
        client = await stack.enter_async_context(target.client(number, era))
        waiting.append(asyncio.create_task(client.call_tool(*target.wait)))
    async with asyncio.timeout(60):
        while await target.held() < len(waiting):  # noqa: ASYNC110 - another process has no event to set
            await asyncio.sleep(0.2)


async def sends(client: Client, target: Target, times: int) -> list[float]:
    """The durations of so many calls, one after the other, in ms."""
    durations: list[float] = []
    gc.collect()
    gc.disable()  # with hundreds of clients in this process, its own pauses would be what is measured
    try:
        for _ in range(times):
            began = time.perf_counter()
            result = await client.call_tool(*target.send)
            durations.append((time.perf_counter() - began) * 1000)
            assert not result.is_error, result
    finally:
        gc.enable()
    return durations


@asynccontextmanager
async def process(*module: str, **environment: str) -> AsyncGenerator[tuple[str, int]]:
    """A server as a process of its own; gives its address and its id."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module, env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    assert started.stderr is not None
    rest = None
    try:
        line = (await started.stderr.readline()).decode()
        found = _LISTENING.search(line)
        assert found, line
        rest = asyncio.create_task(started.stderr.read())
        yield found[1], started.pid
    finally:
        with suppress(ProcessLookupError):
            started.terminate()
        await started.wait()
        if rest is not None and started.returncode:
            sys.stderr.write((await rest).decode())


@asynccontextmanager
async def bare() -> AsyncGenerator[Target]:
    async with process("benchmarks.bare_server") as (url, pid), AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=60))
        asking = await stack.enter_async_context(Client(streamable_http_client(url, http_client=http)))

        async def held() -> int:
            result = await asking.call_tool("holding", {})
            assert result.structured_content is not None
            return result.structured_content["result"]

        yield Target(
            url,
            pid,
            tokens=["none"],
            send=("noop", {"to": "reader", "message": BODY}),
            wait=("wait", {"wait_seconds": 600}),
            held=held,
        )


@asynccontextmanager
async def ours(dsn: str, tokens: list[str]) -> AsyncGenerator[Target]:
    environment = {
        "DATABASE_URL": dsn,
        "AGENT_MESSAGING_MAX_WAIT_SECONDS": "600",
        "AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE": "1000000",
        "MAX_UNREAD": "1000000",
    }
    async with process("agent_messaging_mcp", "serve", "--port", "0", **environment) as (url, pid):
        database: asyncpg.Connection[Any] = await asyncpg.connect(dsn)

        async def held() -> int:
            return await database.fetchval(
                "SELECT count(*) FROM attachments t JOIN processes p ON p.id = t.process_id"
                " WHERE t.kind = 'wait' AND p.lease_until > clock_timestamp()"
            )

        yield Target(
            url,
            pid,
            tokens=tokens,
            send=("send", {"to": "reader", "message": BODY}),
            wait=("check_inbox", {"wait_seconds": 600}),
            held=held,
        )
        await database.close()


async def register(dsn: str) -> list[str]:
    """The tokens of the sender and of everybody who waits."""
    async with AgentMessaging[Any](Config(database_url=dsn)) as sdk:  # pyright: ignore[reportArgumentType]
        await sdk.register_organization("bench", "Bench")
        await sdk.register_agent("reader", "bench", "Reader")
        await sdk.as_agent("reader").called()
        tokens: list[str] = []
        for name in ("sender", *(f"waiter{number}" for number in range(FIRST + CLIENTS))):
            await sdk.register_agent(name, "bench", name)
            tokens.append((await sdk.tokens.create(name)).token)
        return tokens


async def compare(dsn: str, rounds: int) -> str:
    """The table in Markdown, and the absolute figures behind it."""
    tokens = await register(dsn)
    cpu = Figure("P11", "MCP `send` over HTTP, CPU of the server, against a no-op tool", "ms", 2.0)
    eras: dict[Era, str] = {"auto": "current revision", "legacy": "2025 revision"}
    memory = {
        era: Figure("P12", f"{CLIENTS} blocked MCP calls, memory each, against a bare server's, {name}", "KiB", 1.3)
        for era, name in eras.items()
    }
    meanwhile = {
        (era, p): Figure("", f"a send while they wait, p{p}, against the same send unloaded, {name}", "ms", 2.0)
        for era, name in eras.items()
        for p in (50, 99)
    }
    for number in range(rounds):
        for era in eras:
            print(f"round {number + 1} of {rounds}, {era}", file=sys.stderr)
            async with bare() as target:
                floor = await measure(target, era)
            async with ours(dsn, tokens) as target:
                own = await measure(target, era)
            cpu.add(floor.cpu_ms, own.cpu_ms)
            memory[era].add(floor.kib_each, own.kib_each)
            for p in (50, 99):
                meanwhile[era, p].add(percentile(own.unloaded_ms, p), percentile(own.loaded_ms, p))
    head = "|  | what | floor | ours | ratio | reach |  |\n| --- | --- | --- | --- | --- | --- | --- |"
    return "\n".join([head, *(figure.row() for figure in (cpu, *memory.values(), *meanwhile.values()))])


def percentile(durations: list[float], p: int) -> float:
    return sorted(durations)[min(len(durations) * p // 100, len(durations) - 1)]


async def main(rounds: int) -> str:
    """Measure on a database of its own; gives the table."""
    with tempfile.TemporaryDirectory(prefix="agent-messaging-bench-") as directory:
        server = await embedded.ensure(Path(directory), linger=0)
        try:
            connection = await asyncpg.connect(server.dsn)
            await migrate.migrate(connection)
            await connection.close()
            return await compare(server.dsn, rounds)
        finally:
            server.release()
            embedded.stop(Path(directory))


if __name__ == "__main__":
    print(asyncio.run(main(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 3)))
