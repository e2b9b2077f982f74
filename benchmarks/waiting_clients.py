"""Many MCP clients, each blocked in a call, on one server process: what each costs in memory, and what a send by
somebody else costs meanwhile, beside a bare server of the SDK (figures P11 and P12). On Linux only: it reads /proc.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import asyncpg
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from agent_messaging import AgentMessaging, Config
from benchmarks.figures import table
from benchmarks.floor import BODY
from benchmarks.ground import USUAL, Ground, Round, ground
from benchmarks.timing import percentile

Era = Literal["auto", "legacy"]

FIRST = 20
"""Clients that have come and wait before anything is measured: what they bring with them is paid once."""
SENDS = 300
_LISTENING = re.compile(r"Listening: (http://127\.0\.0\.1:\d+/mcp)")


@dataclass(frozen=True)
class Target:
    """A server process, and how it is called: the two are called alike."""

    url: str
    pid: int
    tokens: list[str]
    send: tuple[str, dict[str, Any]]
    keep: tuple[str, dict[str, Any]]
    """What is durable when it is answered."""
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
    cpu_of_keep_ms: float


async def measure(target: Target, era: Era, clients: int, times: int) -> Measured:
    """Block so many calls, and send meanwhile."""
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(target.client(0, "auto"))
        unloaded, cpu_ms = await alone(sender, target, target.send, times)
        cpu_of_keep_ms = cpu_ms if target.keep == target.send else (await alone(sender, target, target.keep, times))[1]
        waiting: list[asyncio.Task[Any]] = []
        try:
            await block(stack, target, era, waiting, range(1, FIRST + 1))
            before = target.resident_kib()
            await block(stack, target, era, waiting, range(FIRST + 1, FIRST + clients + 1))
            await asyncio.sleep(2)
            kib_each = (target.resident_kib() - before) / clients
            loaded = await sends(sender, target.send, times)
            assert await target.held() == FIRST + clients, "a wait has ended meanwhile"
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    return Measured(kib_each, unloaded, loaded, cpu_ms, cpu_of_keep_ms)


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


async def alone(
    client: Client, target: Target, call: tuple[str, dict[str, Any]], times: int
) -> tuple[list[float], float]:
    """The durations of so many calls, and the CPU time of the server for each, in ms."""
    await sends(client, call, min(times, 50))
    began = target.cpu_seconds()
    durations = await sends(client, call, times)
    return durations, (target.cpu_seconds() - began) / times * 1000


async def sends(client: Client, call: tuple[str, dict[str, Any]], times: int) -> list[float]:
    """The durations of so many calls, one after the other, in ms."""
    durations: list[float] = []
    gc.collect()
    gc.disable()  # with hundreds of clients in this process, its own pauses would be what is measured
    try:
        for _ in range(times):
            began = time.perf_counter()
            result = await client.call_tool(*call)
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
async def bare(dsn: str) -> AsyncGenerator[Target]:
    async with process("benchmarks.bare_server", DATABASE_URL=dsn) as (url, pid), AsyncExitStack() as stack:
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
            keep=("keep", {"to": "reader", "message": BODY}),
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
        "EXCHANGE_BUDGET": "0",
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
            keep=("send", {"to": "reader", "message": BODY}),
            wait=("check_inbox", {"wait_seconds": 600}),
            held=held,
        )
        await database.close()


async def register(dsn: str, clients: int) -> list[str]:
    """The tokens of the sender and of everybody who waits."""
    async with AgentMessaging[Any](Config(database_url=dsn)) as sdk:  # pyright: ignore[reportArgumentType]
        await sdk.register_organization("bench", "Bench", exist_ok=True)
        await sdk.register_agent("reader", "bench", "Reader", exist_ok=True)
        await sdk.as_agent("reader").called()
        tokens: list[str] = []
        for name in ("sender", *(f"waiter{number}" for number in range(FIRST + clients))):
            await sdk.register_agent(name, "bench", name, exist_ok=True)
            tokens.append((await sdk.tokens.create(name)).token)
        return tokens


@asynccontextmanager
async def waiting_clients(ground: Ground, *, eras: tuple[Era, ...] = ("auto",)) -> AsyncGenerator[Round]:
    """Both servers, one after the other; each round starts both anew, so that neither has a past."""
    clients = ground.scale.clients
    tokens = await register(ground.dsn, clients)
    names: dict[Era, str] = {"auto": "current revision", "legacy": "2025 revision"}
    cpu = ground.figure("P11", "MCP `send` over HTTP, CPU of the server, against a no-op tool", "ms", 2.0)
    durable = ground.figure("", "the same, against a tool that makes one durable insert by hand", "ms")
    memory = {
        era: ground.figure(
            "P12", f"{clients} blocked MCP calls, memory each, against a bare server's, {names[era]}", "KiB", 1.3
        )
        for era in eras
    }
    meanwhile = {
        (era, p): ground.figure("", f"a send while they wait, p{p}, against the same send unloaded, {names[era]}", "ms")
        for era in eras
        for p in (50, 99)
    }

    async def once() -> None:
        sends = ground.scale.calls(SENDS)
        for era in eras:
            async with bare(ground.dsn) as target:
                floor = await measure(target, era, clients, sends)
            async with ours(ground.dsn, tokens) as target:
                own = await measure(target, era, clients, sends)
            cpu.add(floor.cpu_ms, own.cpu_ms)
            durable.add(floor.cpu_of_keep_ms, own.cpu_of_keep_ms)
            memory[era].add(floor.kib_each, own.kib_each)
            for p in (50, 99):
                meanwhile[era, p].add(percentile(own.unloaded_ms, p), percentile(own.loaded_ms, p))

    yield once


async def main(rounds: int) -> str:
    """Both eras on a database of its own; gives the table."""
    async with ground(USUAL) as here, waiting_clients(here, eras=("auto", "legacy")) as once:
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            await once()
        return table(here.figures)
