"""Sessions of the 2025 era: whoever opens too many loses its own oldest."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from agent_messaging_mcp.http.sessions import MOST_SESSIONS
from tests.mcp_server.serving import Served, serving, tokens_of

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}


class Caller:
    """One agent's requests, with no client that would keep its sessions in order."""

    def __init__(self, server: Served, token: str, http: httpx2.AsyncClient) -> None:
        self._url = f"{server.address}/mcp"
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
        self._http = http

    async def opens_a_session(self) -> str:
        answer = await self._http.post(self._url, json=INITIALIZE, headers=self._headers)
        assert answer.status_code == 200, answer.text
        return answer.headers["mcp-session-id"]

    async def uses(self, session: str) -> int:
        headers = {**self._headers, "mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
        return (await self._http.post(self._url, json=PING, headers=headers)).status_code


@pytest.mark.requirement("mcp:limits:sessions")
async def test_an_agent_that_opens_ever_more_sessions_loses_its_own_oldest(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn) as server, httpx2.AsyncClient(timeout=90) as http:
        alice, bob = Caller(server, tokens["alice"], http), Caller(server, tokens["bob"], http)
        of_bob = await bob.opens_a_session()
        kept = await alice.opens_a_session()
        lost = await alice.opens_a_session()
        others = [await alice.opens_a_session() for _ in range(MOST_SESSIONS - 2)]
        assert await alice.uses(kept) == 200  # and is no longer the oldest
        last = await alice.opens_a_session()
        async with asyncio.timeout(90):
            while await alice.uses(lost) != 404:  # it is ended beside the request that was one too many
                pass
        assert {await alice.uses(session) for session in (kept, *others, last)} == {200}
        assert await bob.uses(of_bob) == 200
