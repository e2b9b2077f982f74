"""A token that is revoked is shut out of every server process at once, of open calls and streams too."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import httpx2
import pytest
from mcp import MCPError
from mcp.client.subscriptions import SubscriptionLost
from mcp_types.version import LATEST_HANDSHAKE_VERSION

from tests.mcp_server.hosts import NETWORK, Era, Host, network_host
from tests.mcp_server.serving import Served, serving, tokens_of

WAIT = 45
REVOKED_WITHIN = 10
"""Seconds, where one is promised; their waits would last 50."""


class Opened:
    """What is open with one token, each with the moment at which it ended."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Task[float]] = {}

    def add(self, name: str, until_its_end: Callable[[], Awaitable[object]]) -> None:
        async def end() -> float:
            await until_its_end()
            return time.time()

        self._open[name] = asyncio.create_task(end())

    @property
    def still_open(self) -> set[str]:
        return {name for name, task in self._open.items() if not task.done()}

    @property
    def names(self) -> set[str]:
        return set(self._open)

    async def forget(self) -> None:
        for task in self._open.values():
            task.cancel()
        await asyncio.wait(self._open.values())

    async def ended(self) -> dict[str, float]:
        await asyncio.wait(self._open.values(), timeout=WAIT)
        assert self.still_open == set()
        return {name: task.result() for name, task in self._open.items()}


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": LATEST_HANDSHAKE_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


class Raw:
    """Requests without a client library, of one token at one process."""

    def __init__(self, served: Served, token: str, http: httpx2.AsyncClient) -> None:
        self.served = served
        self._http = http
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": LATEST_HANDSHAKE_VERSION,
        }
        self.session: dict[str, str] = {}

    async def status(self, method: str, path: str, **options: Any) -> int:
        headers = self._headers | self.session
        async with self._http.stream(method, f"{self.served.address}{path}", headers=headers, **options) as response:
            return response.status_code

    async def begin_session(self) -> None:
        response = await self._http.post(f"{self.served.address}/mcp", headers=self._headers, json=INITIALIZE)
        self.session = {"Mcp-Session-Id": response.headers["mcp-session-id"]}
        notified = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert await self.status("POST", "/mcp", json=notified) == 202

    async def subscribe(self, uri: str) -> None:
        request = {"jsonrpc": "2.0", "id": 2, "method": "resources/subscribe", "params": {"uri": uri}}
        assert await self.status("POST", "/mcp", json=request) == 200

    async def stream(self, path: str) -> Callable[[], Awaitable[object]]:
        """Open a stream; gives what ends when it does, properly."""
        request = self._http.build_request("GET", f"{self.served.address}{path}", headers=self._headers | self.session)
        response = await self._http.send(request, stream=True)
        assert response.status_code == 200

        async def until_its_end() -> None:
            async for _ in response.aiter_raw():
                pass

        return until_its_end


@pytest.mark.requirement("mcp:processes:revoked")
async def test_a_revoked_token_ends_whatever_is_open_with_it_at_every_process(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with (
        serving(dsn) as one,
        serving(dsn) as two,
        httpx2.AsyncClient(timeout=httpx2.Timeout(90, read=300)) as http,
        AsyncExitStack() as stack,
    ):
        opened, others = Opened(), Opened()
        raws: list[Raw] = []
        held: list[tuple[Opened, str, Host, Era]] = []
        for place, served in (("one", one), ("two", two)):
            raw = Raw(served, tokens["alice"], http)
            await raw.begin_session()
            await raw.subscribe("messaging://inbox")
            raws.append(raw)
            opened.add(f"{place}: GET stream of a subscription", await raw.stream("/mcp"))
            opened.add(f"{place}: SSE connection", await raw.stream("/sse"))
            for agent, holding in (("alice", opened), ("bob", others)):
                for transport, era in NETWORK:
                    host = await stack.enter_async_context(
                        network_host(served.address, tokens[agent], agent, transport=transport, era=era)
                    )
                    await host.call("list_agents")
                    held.append((holding, f"{place}: {transport}", host, era))
        # All at once, when everybody is there: no wait is held for longer than 50 seconds.
        for holding, where, host, era in held:
            holding.add(f"{where} {era}: wait", waits(host))
            if era == "auto":
                holding.add(f"{where}: listen stream", listens(host))
        await asyncio.sleep(1.5)  # longer than a token is trusted and than a look takes
        assert opened.still_open == opened.names
        revoked_at = await revoke(dsn, tokens["alice"])
        ended = {name: at - revoked_at for name, at in (await opened.ended()).items()}
        for name, seconds in ended.items():
            print(f"{name}: ended after {seconds:.2f} s")
        assert max(ended.values()) < REVOKED_WITHIN
        for raw in raws:
            for method, path in (("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/sse")):
                assert await raw.status(method, path) == 401
            assert await raw.status("POST", f"/messages/?session_id={'0' * 32}") == 401
            assert await raw.status("POST", "/mcp", json=INITIALIZE) == 401
        assert others.still_open == others.names, "another agent is not concerned"
        await others.forget()


def waits(host: Host) -> Callable[[], Awaitable[object]]:
    async def until_its_end() -> None:
        with pytest.raises(MCPError):
            await host.result("check_inbox", wait_seconds=50)

    return until_its_end


def listens(host: Host) -> Callable[[], Awaitable[object]]:
    async def until_its_end() -> None:
        async with host.client.listen(resource_subscriptions=["messaging://agents"]) as stream:
            with pytest.raises(SubscriptionLost):
                async for _ in stream:
                    pass

    return until_its_end


async def revoke(dsn: str, token: str) -> float:
    """Have an operator revoke the token, in yet another process; gives the moment, in seconds since 1970."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent_messaging_mcp", "token", "revoke", token.split("_")[1], "--json"),
        env={"DATABASE_URL": dsn, "PATH": os.environ.get("PATH", "")},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return datetime.fromisoformat(json.loads(output)["revoked_at"]).timestamp()
