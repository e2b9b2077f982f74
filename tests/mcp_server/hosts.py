"""Hosts for scenarios: official clients of the server, in this process or over a pipe, in either era."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult
from pydantic import SecretStr

from agent_messaging.config import Config
from agent_messaging_mcp.identity import always
from agent_messaging_mcp.server import build_server
from agent_messaging_mcp.service import Service, opened_for
from agent_messaging_mcp.settings import Settings
from tests.mcp_server.readers import Read, read_structure, read_text, text_of

Transport = Literal["memory", "stdio"]
Era = Literal["auto", "legacy"]
Channel = Literal["text", "structure"]

MATRIX: list[tuple[Transport, Era]] = [
    ("memory", "auto"),
    ("memory", "legacy"),
    ("stdio", "auto"),
    ("stdio", "legacy"),
]
everywhere = pytest.mark.parametrize(("transport", "era"), MATRIX, ids=["-".join(pair) for pair in MATRIX])
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


def config_of(dsn: str) -> Config:
    return Config(database_url=SecretStr(dsn))


def server_parameters(
    dsn: str, agent: str, *, organization: str = "default", **environment: str
) -> StdioServerParameters:
    """How a host starts the server of `agent` as a process of its own."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "agent_messaging_mcp", "--agent", agent, "--organization", organization],
        env={"DATABASE_URL": dsn, "PATH": os.environ.get("PATH", ""), **environment},
    )
