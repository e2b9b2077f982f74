"""How soon what came is known to an agent that makes no call: as a task, at another server process than the one that
gave it, and by `agent-messaging watch --exec`. Bounds, not ratios: they hold on a quiet machine.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from pydantic import SecretStr

from agent_messaging import AgentMessaging, Config
from agent_messaging_db import embedded, migrate
from benchmarks.waiting_clients import process

TIMES = 40
"""How often each is measured."""
_FIRST = 5
"""Measured and left out: what only the first ones pay."""
_BOUND = 20
_WAIT = 3_600
_VERSION = "2026-07-28"
_META = {
    "io.modelcontextprotocol/protocolVersion": _VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}


@dataclass
class Figure:
    """One row: what took how long, and in which time it is to be done at the latest."""

    what: str
    within_ms: float
    took_ms: list[float] = field(default_factory=list[float])

    def row(self) -> str:
        longest = max(self.took_ms)
        cells = (
            self.what,
            f"{statistics.median(self.took_ms):.1f} ms",
            f"{longest:.1f} ms",
            f"< {self.within_ms:g} ms",
            "reached" if longest < self.within_ms else "not reached",
        )
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Caller:
    """An agent's host that takes tasks, at one server process."""

    http: httpx2.AsyncClient
    url: str

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return await self._request("tools/call", tool, {"name": tool, "arguments": arguments})

    async def task(self, id: str) -> dict[str, Any]:
        return await self._request("tasks/get", id, {"taskId": id})

    async def _request(self, method: str, name: str, params: dict[str, Any]) -> dict[str, Any]:
        answered = await self.http.post(
            self.url,
            headers={"MCP-Protocol-Version": _VERSION, "Mcp-Method": method, "Mcp-Name": name},
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": _META}},
        )
        answer: dict[str, Any] = answered.json()
        assert "result" in answer, answer
        assert not answer["result"].get("isError"), answer
        return answer["result"]


@asynccontextmanager
async def caller(url: str, token: str) -> AsyncGenerator[Caller]:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        yield Caller(http, url)


async def settling(alice: Caller, elsewhere: Caller, bob: Caller) -> list[Figure]:
    """Alice is given a task at one process; bob sends there, and she asks at another."""
    given = Figure("a wait of an hour is answered with a task", 100)
    settled = Figure("from the beginning of a send, `tasks/get` at another process tells it", 100)
    for number in range(_FIRST + TIMES):
        began = time.perf_counter()
        task = await alice.call("check_inbox", wait_seconds=_WAIT)
        given.took_ms.append(_since(began))
        assert task["resultType"] == "task", task
        assert (await elsewhere.task(task["taskId"]))["status"] == "working"

        began = time.perf_counter()
        await bob.call("send", to="alice", message=f"number {number}")
        while (state := await elsewhere.task(task["taskId"]))["status"] == "working":
            assert _since(began) < _BOUND * 1_000, "it does not settle"
        settled.took_ms.append(_since(began))
        told = state["result"]["structuredContent"]
        assert [item["text"] for item in told["items"]] == [f"number {number}"]
        await elsewhere.call("check_inbox", after=told["cursor"])
    return [given, settled]


async def waking(dsn: str, bob: Caller) -> Figure:
    """Bob sends to dave, whose inbox is watched."""
    figure = Figure("from the beginning of a send, `watch --exec` has started the command", 200)
    watching = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent_messaging_mcp", "watch", "--agent", "dave", "--exec", "echo started"),
        env={**os.environ, "DATABASE_URL": dsn},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert watching.stdout is not None
    try:
        for number in range(_FIRST + TIMES):
            began = time.perf_counter()
            await bob.call("send", to="dave", message=f"number {number}")
            async with asyncio.timeout(_BOUND):
                while await watching.stdout.readline() != b"started\n":
                    pass
            figure.took_ms.append(_since(began))
    finally:
        watching.terminate()
        await watching.wait()
    return figure


async def measure(dsn: str) -> list[Figure]:
    """Everything, on this database."""
    tokens: dict[str, str] = {}
    async with AgentMessaging[Any](Config(database_url=SecretStr(dsn))) as sdk:
        await sdk.register_organization("default", "Bench")
        for name in ("alice", "bob", "dave"):
            await sdk.register_agent(name, "default", name)
            await sdk.as_agent(name).called()
            tokens[name] = (await sdk.tokens.create(name)).token
    serve = ("agent_messaging_mcp", "serve", "--port", "0")
    async with (
        process(*serve, DATABASE_URL=dsn, EXCHANGE_BUDGET="0") as (first, _),
        process(*serve, DATABASE_URL=dsn, EXCHANGE_BUDGET="0") as (second, _),
        caller(first, tokens["alice"]) as alice,
        caller(second, tokens["alice"]) as elsewhere,
        caller(first, tokens["bob"]) as bob,
    ):
        figures = [*await settling(alice, elsewhere, bob), await waking(dsn, bob)]
    for figure in figures:
        del figure.took_ms[:_FIRST]
    return figures


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1_000


async def main() -> str:
    """Measure on a database of its own; gives the table in Markdown."""
    with tempfile.TemporaryDirectory(prefix="agent-messaging-bench-") as directory:
        server = await embedded.ensure(Path(directory), linger=0)
        try:
            connection = await asyncpg.connect(server.dsn)
            await migrate.migrate(connection)
            await connection.close()
            figures = await measure(server.dsn)
        finally:
            server.release()
            embedded.stop(Path(directory))
    head = f"| what, {TIMES} times | p50 | longest | to be done | |\n| --- | --- | --- | --- | --- |"
    return "\n".join([head, *(figure.row() for figure in figures)])


if __name__ == "__main__":
    print(asyncio.run(main()))
