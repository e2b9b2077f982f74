"""A server that stops gives every held call its result before it ends the stream that carries it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from tests.mcp_server.serving import Served, serving, tokens_of
from tests.mcp_server.wire import SseSession, Wire, bearer, legacy

HELD = 16
BOUND = 90


async def until_held(served: Served, waits: int) -> None:
    """So many waits are held by this process."""
    async with asyncio.timeout(BOUND), httpx2.AsyncClient(timeout=90) as client:
        page = ""
        while f"agent_messaging_held_waits {waits:.1f}" not in page:
            await asyncio.sleep(0.05)
            page = (await client.get(f"{served.address}/metrics")).text


async def rest(sse: SseSession) -> list[dict[str, Any]]:
    """The messages that are still to come, up to the end of the stream."""
    messages: list[dict[str, Any]] = []
    while True:
        try:
            messages.append(await sse.message())
        except asyncio.IncompleteReadError:
            return messages


@pytest.mark.requirement("mcp:processes:restart")
async def test_all_results_of_one_stream_are_written_before_it_is_ended(dsn: str) -> None:
    token = (await tokens_of(dsn, "alice"))["alice"]
    async with serving(dsn) as served:
        wire = Wire(served.address)
        async with wire.sse(token) as sse:
            params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            for id_, (method, given) in enumerate(
                [("initialize", params)]
                + [("tools/call", {"name": "check_inbox", "arguments": {"wait_seconds": 50}})] * HELD
            ):
                headers, body = legacy(method, given, id_=id_)
                assert (await wire.request("POST", sse.path, [bearer(token), *headers], body)).status == 202
                if method == "initialize":
                    await sse.message()
                    ready = b'{"jsonrpc": "2.0", "method": "notifications/initialized"}'
                    await wire.request("POST", sse.path, [bearer(token), *headers], ready)
            await until_held(served, HELD)
            await served.stop()
            messages = await rest(sse)
            assert sorted(message["id"] for message in messages) == list(range(1, HELD + 1))
            for message in messages:
                assert message["result"]["structuredContent"]["status"] == "waiting"
                assert "about to restart" in message["result"]["structuredContent"]["now"]
