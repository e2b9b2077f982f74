"""While the database is away nobody can tell whether a token is good: none is refused for good, and none gets in."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from agent_messaging import AgentMessaging
from chaos.proxy import Proxy
from tests.conftest import connect
from tests.mcp_server.issuing import AUDIENCE, issuing
from tests.mcp_server.serving import Served, config_of, tokens_of
from tests.mcp_server.wire import Wire, bearer, initialize, legacy, modern

SEND = {"name": "send", "arguments": {"to": "bob", "message": "I am in."}}


@asynccontextmanager
async def interruptible(dsn: str, **environment: str) -> AsyncGenerator[tuple[Wire, Proxy]]:
    """A server whose database can be taken away. It is killed at the end, not stopped: it may be away still."""
    with tempfile.TemporaryDirectory(prefix="agm-proxy-") as directory:  # `tmp_path` may be too long for a socket
        proxy = Proxy(dsn, Path(directory))
        await proxy.accept()
        served = Served(proxy.dsn, DATABASE_PATIENCE="0.3", **environment)
        try:
            await served.start()
            yield Wire(served.address), proxy
            assert "Traceback" not in served.log
        finally:
            await served.kill()
            await proxy.close()


async def until(wire: Wire, token: str, *, works: bool) -> None:
    """Wait until calls are answered with a result, or no longer are."""
    with anyio.fail_after(90):
        while True:
            answer = await wire.call(token, "tools/list")
            if (answer.status == 200 and "result" in answer.message()) == works:
                return
            await asyncio.sleep(0.1)


@pytest.mark.requirement("mcp:edge:outage")
async def test_while_the_database_is_away_nobody_is_refused_for_good(dsn: str) -> None:
    token, unseen = [(await tokens_of(dsn, "alice"))["alice"] for _ in range(2)]
    async with issuing("RS256") as issuer:
        environment = {"OAUTH_ISSUER": issuer.url, "OAUTH_AUDIENCE": AUDIENCE}
        async with interruptible(dsn, **environment) as (wire, proxy):
            await until(wire, token, works=True)
            await proxy.refuse()
            await until(wire, token, works=False)
            # A call with a token that was good is answered as a call: who posts to a stream reads nothing else.
            answer = await wire.call(token, "tools/call", SEND)
            assert answer.message()["error"]["code"] == -32603
            calls = [("POST", "/mcp", modern("tools/call", SEND))]
            others = [("POST", "/mcp", initialize())]
            others += [
                (method, path, ([], b"")) for method, path in (("GET", "/mcp"), ("GET", "/sse"), ("DELETE", "/mcp"))
            ]
            for good, routes_ in ((token, others), (unseen, calls + others), (issuer.token("rs256"), calls + others)):
                for method, path, (headers, body) in routes_:
                    answer = await wire.request(method, path, [bearer(good), *headers], body)
                    assert answer.status == 503, (method, path, answer)
                    assert int(answer.headers["retry-after"]) > 0
                    assert "Traceback" not in answer.text
                    assert good not in answer.text
            assert (await wire.request("POST", "/mcp", [bearer("nonsense")])).status == 401
            assert (await wire.request("GET", "/healthz")).status == 200
            assert (await wire.request("GET", "/readyz")).status == 503
            await proxy.accept()
            for good in (token, unseen, issuer.token("rs256")):
                await until(wire, good, works=True)
                assert (await wire.tool(good, "list_agents", {}))["structuredContent"]["you"] == "alice"


@pytest.mark.requirement("mcp:edge:outage")
async def test_an_outage_does_not_make_a_revoked_token_good_again(dsn: str) -> None:
    mine, stolen = [(await tokens_of(dsn, "alice"))["alice"] for _ in range(2)]
    async with interruptible(dsn) as (wire, proxy):
        await until(wire, stolen, works=True)  # this process has seen it good
        sessions = [await wire.session(mine) for _ in range(3)]
        async with AgentMessaging[Any](config_of(dsn)) as sdk:
            await sdk.tokens.revoke(stolen.split("_")[1])
        await proxy.refuse()
        await until(wire, mine, works=False)
        assert "result" not in (await wire.call(stolen, "tools/call", SEND)).text
        headers, body = initialize()
        for session in sessions:
            given = [bearer(stolen), *headers, ("Mcp-Session-Id", session)]
            assert (await wire.request("DELETE", "/mcp", given)).status == 503
            assert (await wire.request("GET", "/mcp", given)).status == 503
        # More than an agent may have: each would end one of its own.
        more = [wire.request("POST", "/mcp", [bearer(stolen), *headers], body) for _ in range(70)]
        for opened in await asyncio.gather(*more):
            assert opened.status == 503
            assert "mcp-session-id" not in opened.headers
        assert (await wire.request("GET", "/sse", [bearer(stolen)])).status == 503
        await proxy.accept()
        await until(wire, mine, works=True)
        for session in sessions:
            headers, body = legacy("ping", {})
            answer = await wire.request("POST", "/mcp", [bearer(mine), *headers, ("Mcp-Session-Id", session)], body)
            assert answer.status == 200, "the thief has ended it"
        assert (await wire.call(stolen, "tools/list")).status == 401
    async with connect(dsn) as database:
        assert await database.fetchval("SELECT count(*) FROM messages") == 0


@pytest.mark.requirement("mcp:edge:outage")
async def test_a_token_that_was_seen_revoked_is_no_longer_one_that_was_good(dsn: str) -> None:
    mine, stolen = [(await tokens_of(dsn, "alice"))["alice"] for _ in range(2)]
    async with interruptible(dsn) as (wire, proxy):
        for good in (mine, stolen):
            await until(wire, good, works=True)
        async with AgentMessaging[Any](config_of(dsn)) as sdk:
            await sdk.tokens.revoke(stolen.split("_")[1])
        await until(wire, stolen, works=False)
        await proxy.refuse()
        await until(wire, mine, works=False)
        assert (await wire.call(mine, "tools/call", SEND)).status == 200, "it was good: the call is what fails"
        assert (await wire.call(stolen, "tools/call", SEND)).status == 503, "not even as far as the call"
