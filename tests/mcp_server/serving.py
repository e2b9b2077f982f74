"""A server on the network as a process of its own, and the tokens to call it with."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
from anyio.from_thread import start_blocking_portal
from pydantic import SecretStr

from agent_messaging import AgentMessaging
from agent_messaging.config import Config

START_SECONDS = 90
DRAIN_SECONDS = 30
"""What a process has, from SIGTERM to its end."""

_LISTENING = re.compile(r"Listening: (http://127\.0\.0\.1:\d+)/mcp")


def config_of(dsn: str) -> Config:
    return Config(database_url=SecretStr(dsn))


async def tokens_of(dsn: str, *agents: str, organization: str = "default") -> dict[str, str]:
    """A token for each of these agents, which are registered if they are not."""
    async with AgentMessaging[Any](config_of(dsn)) as sdk:
        await sdk.register_organization(organization, organization, exist_ok=True)
        for agent in agents:
            await sdk.register_agent(agent, organization, agent, exist_ok=True)
        return {agent: (await sdk.tokens.create(agent)).token for agent in agents}


class Served:
    """`agent-messaging serve` on a database. It can be stopped and started again, at the same address."""

    def __init__(self, dsn: str, **environment: str) -> None:
        self.dsn = dsn
        self.address = ""
        self.log = ""
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the process, and wait until it is ready."""
        port = self.address.rpartition(":")[2] or "0"
        self.log = ""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "agent_messaging_mcp", "serve", "--port", port),
            env={
                "DATABASE_URL": self.dsn,
                "PATH": os.environ.get("PATH", ""),
                "EXCHANGE_BUDGET": "0",  # the calls of a test are many, and no loop
                **self._environment,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self._process.stderr is not None
        async with asyncio.timeout(START_SECONDS):
            while not (found := _LISTENING.search(self.log)):
                line = await self._process.stderr.readline()
                assert line, f"it ended: {self.log}"
                self.log += line.decode()
        self.address = found[1]
        self._reading = asyncio.create_task(self._read(self._process.stderr))
        async with asyncio.timeout(START_SECONDS), httpx2.AsyncClient(timeout=START_SECONDS) as client:
            while (await client.get(f"{self.address}/readyz")).status_code != 200:  # noqa: ASYNC110 - it has no event to set
                await asyncio.sleep(0.05)

    async def stop(self) -> float:
        """Ask the process to end, as an operator does. It ends well, and says nothing bad; gives how long it took."""
        assert self._process is not None
        assert self._process.returncode is None, f"it ended by itself: {self.log}"
        began = time.perf_counter()
        self._process.terminate()
        async with asyncio.timeout(DRAIN_SECONDS):
            code = await self._process.wait()
        took = time.perf_counter() - began
        await self.kill()
        assert code == 0, self.log
        assert "Traceback" not in self.log, self.log
        return took

    async def kill(self) -> None:
        """Leave nothing running, whatever state it is in."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading
        self._process = self._reading = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.log += line.decode(errors="replace")


@asynccontextmanager
async def serving(dsn: str, **environment: str) -> AsyncGenerator[Served]:
    """A server process for as long as the block runs; at its end it must end well."""
    served = Served(dsn, **environment)
    try:
        await served.start()
        yield served
        if served.is_running:
            await served.stop()
    finally:
        await served.kill()


@contextmanager
def serving_many(dsn: str, **environment: str) -> Generator[Served]:
    """The same for a fixture that several tests share: an event loop of its own looks after the process."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(dsn, **environment)) as served,
    ):
        yield served
