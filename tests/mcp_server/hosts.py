"""Hosts for scenarios: official clients of the server, in this process, over a pipe or over the network, in either
era.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from agent_messaging_mcp.identity import always
from agent_messaging_mcp.server import build_server
from agent_messaging_mcp.service import Service, opened_for
from agent_messaging_mcp.settings import Settings
from tests.mcp_server.readers import Read, read_structure, read_text, text_of
from tests.mcp_server.serving import config_of, serving, tokens_of

Transport = Literal["memory", "stdio", "sse", "http"]
Era = Literal["auto", "legacy"]
Channel = Literal["text", "structure"]

# What needs a process on every side is told by one scenario (test_transports.py); the others stay where they are fast.
NETWORK: list[tuple[Transport, Era]] = [("http", "auto"), ("http", "legacy"), ("sse", "auto"), ("sse", "legacy")]
WIRES: list[tuple[Transport, Era]] = [("stdio", "auto"), ("stdio", "legacy"), *NETWORK]
every_wire = pytest.mark.parametrize(("transport", "era"), WIRES, ids=["-".join(pair) for pair in WIRES])
both_eras = pytest.mark.parametrize("era", ["auto", "legacy"])
both_channels = pytest.mark.parametrize("channel", ["text", "structure"])


@dataclass
class Host:
    """One agent's host: its client, and the one channel of results that its model is shown."""

    agent: str
    client: Client
    channel: Channel = "structure"

    async def result(self, tool: str, /, **arguments: Any) -> CallToolResult:
        return await self.client.call_tool(tool, arguments)

    async def call(self, tool: str, /, **arguments: Any) -> Read:
        """What the model reads of a call that is no mistake. Both channels are well-formed, whichever it reads."""
        result = await self.result(tool, **arguments)
        assert not result.is_error, text_of(result)
        text, structure = read_text(text_of(result)), read_structure(result.structured_content)
        assert text.now == structure.now
        assert text.also == structure.also
        return text if self.channel == "text" else structure

    async def status(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured content of a call that is no mistake."""
        result = await self.result(tool, **arguments)
        assert not result.is_error, text_of(result)
        assert result.structured_content is not None
        return result.structured_content

    async def mistake(self, tool: str, /, **arguments: Any) -> str:
        """What is said of a call that is one."""
        result = await self.result(tool, **arguments)
        assert result.is_error, text_of(result)
        assert result.structured_content is None
        said = text_of(result)
        assert "Traceback" not in said
        assert "Error executing" not in said
        return said


@asynccontextmanager
async def host(
    dsn: str,
    agent: str,
    *,
    transport: Transport = "memory",
    era: Era = "auto",
    channel: Channel = "structure",
    organization: str = "default",
    max_wait_seconds: float = 50.0,
    progress_interval: float = 10.0,
    **client_options: Any,
) -> AsyncGenerator[Host]:
    """A host of `agent` on the database `dsn`."""
    if transport == "stdio":
        parameters = server_parameters(
            dsn,
            agent,
            organization=organization,
            AGENT_MESSAGING_MAX_WAIT_SECONDS=str(max_wait_seconds),
            AGENT_MESSAGING_PROGRESS_INTERVAL=str(progress_interval),
        )
        async with Client(parameters, mode=era, **client_options) as client:
            yield Host(agent, client, channel)
        return
    settings = Settings(agent=agent, max_wait_seconds=max_wait_seconds, progress_interval=progress_interval)
    service = Service(opened_for(agent, organization, config_of(dsn)))
    server, _ = build_server(settings, service, always(agent))
    try:
        async with Client(server, mode=era, **client_options) as client:
            yield Host(agent, client, channel)
    finally:
        await service.close()


@asynccontextmanager
async def network_host(
    address: str, token: str, agent: str, *, transport: Transport, era: Era = "auto", **client_options: Any
) -> AsyncGenerator[Host]:
    """A host of `agent` at a server on the network; an `auto` host over SSE speaks the current revision too."""
    headers = {"Authorization": f"Bearer {token}"}
    if transport == "sse":
        async with Client(sse_client(f"{address}/sse", headers=headers), mode=era, **client_options) as client:
            yield Host(agent, client)
        return
    assert transport == "http"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(90, read=300)) as http,
        Client(streamable_http_client(f"{address}/mcp", http_client=http), mode=era, **client_options) as client,
    ):
        yield Host(agent, client)


@dataclass(frozen=True)
class Wire:
    """One kind of wire: how each agent's host is connected, here or in a process of its own."""

    arguments: Callable[[str], dict[str, Any]]

    def connect(self, agent: str, **client_options: Any) -> AbstractAsyncContextManager[Host]:
        """A host of the agent; it takes what `Client` takes besides."""
        arguments = self.arguments(agent) | client_options
        return network_host(**arguments) if "address" in arguments else host(**arguments)


@asynccontextmanager
async def wired(
    dsn: str,
    *agents: str,
    transport: Transport,
    era: Era,
    max_wait_seconds: float = 50.0,
    progress_interval: float = 10.0,
) -> AsyncGenerator[Wire]:
    """Hosts of these agents on one kind of wire: of a server each on stdio, of one for all on the network."""
    same: dict[str, Any] = {"transport": transport, "era": era}
    if transport in ("memory", "stdio"):
        same |= {"dsn": dsn, "max_wait_seconds": max_wait_seconds, "progress_interval": progress_interval}
        yield Wire(lambda agent: {"agent": agent, **same})
        return
    tokens = await tokens_of(dsn, *agents)
    async with serving(
        dsn,
        AGENT_MESSAGING_MAX_WAIT_SECONDS=str(max_wait_seconds),
        AGENT_MESSAGING_PROGRESS_INTERVAL=str(progress_interval),
    ) as served:
        yield Wire(lambda agent: {"agent": agent, "address": served.address, "token": tokens[agent], **same})


def server_parameters(
    dsn: str, agent: str, *, organization: str = "default", **environment: str
) -> StdioServerParameters:
    """How a host starts the server of `agent` as a process of its own."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "agent_messaging_mcp", "--agent", agent, "--organization", organization],
        env={"DATABASE_URL": dsn, "PATH": os.environ.get("PATH", ""), **environment},
    )
