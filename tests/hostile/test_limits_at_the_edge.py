"""What was left open at the edge: settings that mean nothing, calls that were not counted, notifications of a token
that nobody can check.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from agent_messaging import AgentMessaging
from agent_messaging_mcp.cli import main
from agent_messaging_mcp.http.app import build
from agent_messaging_mcp.service import Service, opened
from agent_messaging_mcp.settings import Settings
from tests.conftest import connect
from tests.mcp_server.foreign import calling
from tests.mcp_server.serving import config_of, serving, tokens_of
from tests.mcp_server.test_edge_outage import interruptible, until
from tests.mcp_server.wire import Headers, Wire, bearer, head_of, initialize, legacy

BAD_HOSTS = (
    *("https://agents.example.org", "agents.example.org/", "agents.example.org/mcp", "*", "*.example.org"),
    *("", " ", "agents.example.org:99999", "agents.example.org:http", "::1", "a b", "a,b", "user@agents.example.org"),
    *("agents.example.org:*:*", ".example.org", "\u0430gents.example.org", "agents.example.org\n", "[::1"),
)
BAD_ORIGINS = (
    *("app.example.org", "https://app.example.org/", "https://app.example.org/page", "*", "https://*.example.org"),
    *("null", "", "file://", "https://", "ws://app.example.org", "https://user@app.example.org", "https://a b"),
    *("HTTPS://app.example.org", "https://app.example.org:99999", "chrome-extension://abc", "https//app.example.org"),
)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the command would serve with, instead of serving."""
    found: list[Settings] = []
    # As a module: the package has the command itself under this name.
    monkeypatch.setattr(sys.modules["agent_messaging_mcp.cli.serve"], "_serve", found.append)
    return found


@pytest.mark.requirement("mcp:edge:entries")
@pytest.mark.parametrize(
    ("option", "entry"),
    [*(("--allowed-host", host) for host in BAD_HOSTS), *(("--allowed-origin", origin) for origin in BAD_ORIGINS)],
)
def test_an_entry_of_the_allow_list_that_nothing_can_match_is_refused_at_the_start(
    option: str, entry: str, served: list[Settings]
) -> None:
    good = {"--allowed-host": "good.example.org", "--allowed-origin": "https://good.example.org"}[option]
    result = CliRunner().invoke(main, ["serve", option, good, option, entry])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {option} (AGENT_MESSAGING_ALLOWED_")
    assert repr(entry[:80]) in result.output
    assert "for example" in result.output
    assert served == []


@pytest.mark.requirement("mcp:edge:entries")
@pytest.mark.parametrize("name", ["HOSTS", "ORIGINS"])
def test_an_entry_in_the_environment_is_refused_too(
    name: str, served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AGENT_MESSAGING_ALLOWED_{name}", "https://good.example.org, https://bad.example.org/")
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 1
    assert f"AGENT_MESSAGING_ALLOWED_{name}" in result.output
    assert served == []
    doctor = CliRunner().invoke(main, ["doctor", "--json"])
    [edge] = [check for check in json.loads(doctor.output)["checks"] if check["check"] == "edge"]
    assert edge["result"] == "failing"
    assert f"AGENT_MESSAGING_ALLOWED_{name}" in edge["do"]


@pytest.mark.requirement("mcp:edge:entries")
@pytest.mark.parametrize("given", [{"allowed_hosts": ("*",)}, {"allowed_origins": ("https://a.example.org/",)}])
def test_no_server_is_built_that_would_leave_an_entry_out(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="can match"):
        build(Settings(**given), Service(opened()))


@pytest.mark.requirement("mcp:edge:allowed")
async def test_a_page_is_let_read_whichever_way_its_origin_is_written_in_the_allow_list(dsn: str) -> None:
    token = (await tokens_of(dsn, "alice"))["alice"]
    allowed = "https://App.Example.org:443, http://tool.example.org:3000, https://[2001:db8::1]:8443"
    pages = ("https://app.example.org", "http://tool.example.org:3000", "https://[2001:db8::1]:8443")
    async with serving(dsn, AGENT_MESSAGING_ALLOWED_ORIGINS=allowed) as server:
        wire = Wire(server.address)
        for page in pages:
            asked = [("Origin", page), ("Access-Control-Request-Method", "POST")]
            answer = await wire.request("OPTIONS", "/mcp", asked)
            assert (answer.status, answer.headers.get("access-control-allow-origin")) == (200, page)
            headers, body = initialize()
            answer = await wire.request("POST", "/mcp", [bearer(token), ("Origin", page), *headers], body)
            assert (answer.status, answer.headers.get("access-control-allow-origin")) == (200, page)


WRONG: list[dict[str, Any]] = [
    {"name": "send", "arguments": {}},
    {"name": "send", "arguments": {"to": "bob", "message": "x", "nonsense": 1}},
    {"name": "speak", "arguments": {"meeting": "m7f3", "turn": "soon"}},
]
TRIES = 60
"""Enough to use up an allowance of six, on a machine that takes seconds for each."""


@pytest.mark.requirement("mcp:limits:rate")
@pytest.mark.parametrize("kind", ["current", "legacy", "sse"])
async def test_calls_that_are_wrong_are_counted_like_others(dsn: str, kind: str) -> None:
    """Each costs a look at a token, a parser and a line of the log."""
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn, AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE="6") as server:
        wire = Wire(server.address)
        async with calling(wire, tokens["alice"], kind) as alice, calling(wire, tokens["bob"], kind) as bob:
            result: dict[str, Any] = {}
            for wrong in itertools.islice(itertools.cycle(WRONG), TRIES):
                result = (await alice.call("tools/call", wrong))["result"]
                if not result.get("isError"):
                    break
            assert result["structuredContent"]["status"] == "not_now", "it may go on for ever"
            assert "you have made 6 calls within a minute" in result["structuredContent"]["now"]
            assert (await bob.tool("list_agents", {}))["result"]["structuredContent"]["status"] == "agents"


@pytest.mark.requirement("mcp:limits:rate")
async def test_calls_of_tools_that_there_are_not_use_up_the_allowance_too(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice")
    async with serving(dsn, AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE="1") as server:
        wire = Wire(server.address)
        for _ in range(TRIES):
            await wire.call(tokens["alice"], "tools/call", {"name": "nothing", "arguments": {}})
            result = (await wire.tool(tokens["alice"], "list_agents", {}))["structuredContent"]
            if result["status"] == "not_now":
                return
        raise AssertionError("a call each time, and it may go on for ever")


@pytest.mark.requirement("mcp:limits:connecting")
async def test_whoever_connects_over_and_over_is_slowed_and_may_call_all_the_same(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn, AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE="6") as server:
        wire = Wire(server.address)
        session = await wire.session(tokens["alice"])
        for method, params in (("ping", {}), ("initialize", json.loads(initialize()[1])["params"])):
            headers, body = legacy(method, params)
            given = [bearer(tokens["alice"]), *headers, *([("Mcp-Session-Id", session)] if method == "ping" else [])]
            message: dict[str, Any] = {}
            for _ in range(TRIES):
                message = (await wire.request("POST", "/mcp", given, body)).message()
                if "error" in message:
                    break
            assert message["error"]["code"] == -32029, f"{method} may go on for ever"
            assert 1 <= message["error"]["data"]["retryAfterSeconds"] <= 10
        # Its calls have an allowance of their own, and so has its neighbour.
        assert (await wire.tool(tokens["alice"], "list_agents", {}))["structuredContent"]["status"] == "agents"
        await wire.session(tokens["bob"])


WAIT = {"name": "check_inbox", "arguments": {"wait_seconds": 50}}
WAITING = 77


def cancellations() -> list[bytes]:
    """What ends a wait, and what is so badly written that somebody might take it for that."""
    params = f'"params":{{"requestId":{WAITING}}}'
    method = '"method":"notifications/cancelled"'
    return [
        body.encode()
        for body in (
            f'{{"jsonrpc":"2.0",{method},{params}}}',
            f'{{"jsonrpc":"2.0","id":null,{method},{params}}}',
            f'{{"jsonrpc":"2.0","id":true,{method},{params}}}',
            f'{{"jsonrpc":"2.0","id":[1],{method},{params}}}',
            f'{{"jsonrpc":"2.0","id":1.5,{method},{params}}}',
            f'{{"jsonrpc":"2.0","id":3,"method":"ping",{method},{params}}}',
            f'{{"jsonrpc":"2.0",{method},"method":"ping",{params}}}',
            f'{{"jsonrpc":"2.0",{method},"extra":{{"id":1,"method":"ping"}},{params}}}',
            f'[{{"jsonrpc":"2.0",{method},{params}}}]',
            f'\ufeff{{"jsonrpc":"2.0",{method},{params}}}',
            f'{{"jsonrpc":"2.0","method":"notifications\\/cancelled",{params}}}',
        )
    ]


@asynccontextmanager
async def waiting(wire: Wire, token: str, kind: str) -> AsyncGenerator[tuple[str, Headers, Callable[[], Any]]]:
    """A wait in a session: where the session is posted to, with which headers, and what reads the answer."""
    headers, body = legacy("tools/call", WAIT, id_=WAITING)
    if kind == "sse":
        async with calling(wire, token, "sse") as caller:
            stream = caller._sse  # pyright: ignore[reportPrivateUsage]
            assert stream is not None
            assert (await wire.request("POST", stream.path, [bearer(token), *headers], body)).status == 202

            async def next_message() -> dict[str, Any]:
                while (message := await stream.message()).get("id") != WAITING:
                    pass
                return message

            yield stream.path, headers, next_message
        return
    session = [*headers, ("Mcp-Session-Id", await wire.session(token))]
    fixed = [("Host", f"127.0.0.1:{wire.port}"), ("Content-Length", str(len(body))), bearer(token)]
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    try:
        writer.write(head_of("POST", "/mcp", [*fixed, *session]) + body)

        async def answer() -> dict[str, Any]:
            while not (line := await reader.readline()).startswith(b"data: {"):
                assert line, "the stream ended without an answer"
            return json.loads(line[6:])

        yield "/mcp", session, answer
    finally:
        writer.close()


@pytest.mark.requirement("mcp:edge:outage")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["legacy", "sse"])
async def test_in_an_outage_a_revoked_token_cancels_nothing(dsn: str, kind: str) -> None:
    mine, stolen = [(await tokens_of(dsn, "alice"))["alice"] for _ in range(2)]
    async with (
        interruptible(dsn, AGENT_MESSAGING_MAX_WAIT_SECONDS="100") as (wire, proxy),
        AgentMessaging[Any](config_of(dsn)) as sdk,
        connect(dsn) as database,
    ):
        await until(wire, stolen, works=True)  # this process has seen it good
        async with waiting(wire, mine, kind) as (path, headers, answer):
            with anyio.fail_after(30):
                while not await database.fetchval("SELECT count(*) FROM attachments WHERE kind = 'wait'"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await sdk.tokens.revoke(stolen.split("_")[1])
            await proxy.refuse()
            await until(wire, mine, works=False)
            for body in cancellations():
                tried = await wire.request("POST", path, [bearer(stolen), *headers], body)
                assert tried.status == 503 or b'"method":"ping"' in body, (body, tried)
            # A request is still answered as one: who posts to a stream does not look at the response.
            ask = legacy("tools/list", {}, id_=900)[1]
            assert (await wire.request("POST", path, [bearer(stolen), *headers], ask)).status in (200, 202)
            await proxy.accept()
            await until(wire, mine, works=True)
            await sdk.register_agent("bob", "default", "Bob")
            await sdk.async_conversation.send("bob", "alice", "here")
            with anyio.fail_after(60):
                ended = await answer()
    assert ended["result"]["structuredContent"]["status"] == "items", "the thief has ended the wait"
