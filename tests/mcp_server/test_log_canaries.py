"""A secret in every field of every call, over each transport: none reaches the log, at DEBUG, in success, refusal and
outage; nor the page of metrics.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import uvicorn
from mcp import MCPError
from pydantic import SecretStr
from sse_starlette.sse import AppStatus

from agent_messaging import AgentMessagingError, Config
from agent_messaging_mcp.http.app import build
from agent_messaging_mcp.service import Service, opened
from agent_messaging_mcp.settings import Settings
from tests.mcp_server.hosts import Era, Host, Transport, host, network_host
from tests.mcp_server.logging_to import Lines, logged
from tests.mcp_server.serving import tokens_of
from tests.protocol import world
from tests.protocol.test_outages import Operator, operator

__all__ = ["operator"]  # a fixture

SECRET = "xyzzy"
BOUND = 150
WIRES: list[tuple[Transport, Era]] = [
    ("memory", "auto"),
    ("memory", "legacy"),
    ("http", "auto"),
    ("http", "legacy"),
    ("sse", "auto"),
    ("sse", "legacy"),
]


@asynccontextmanager
async def listening(dsn: str) -> AsyncGenerator[str]:
    """The server of many agents, in this process; gives its address."""
    AppStatus.disable_automatic_graceful_drain()
    built = build(Settings(), Service(opened(Config(database_url=SecretStr(dsn), database_patience=0.2))))
    config = uvicorn.Config(built.app, port=0, http="h11", ws="none", lifespan="on", log_config=None)
    listener = uvicorn.Server(config)
    listener.install_signal_handlers = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    serving = asyncio.create_task(listener.serve())
    try:

        async def started() -> bool:
            return listener.started

        await world.eventually(started)
        (socket, *_) = listener.servers[0].sockets
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        await built.drain()
        listener.should_exit = True
        async with asyncio.timeout(BOUND):
            await serving


@asynccontextmanager
async def connected(dsn: str, transport: Transport, era: Era, *agents: str) -> AsyncGenerator[list[Host]]:
    """A host for each of these agents."""
    async with AsyncExitStack() as stack:
        if transport == "memory":
            yield [await stack.enter_async_context(host(dsn, agent, era=era)) for agent in agents]
            return
        tokens = await tokens_of(dsn, *agents)
        address = await stack.enter_async_context(listening(dsn))
        hosts = [network_host(address, tokens[agent], agent, transport=transport, era=era) for agent in agents]
        yield [await stack.enter_async_context(each) for each in hosts]


async def everything(alice: Host, bob: Host) -> None:
    """Each tool, with a secret wherever somebody can write something."""
    text = f"{SECRET} text"
    await bob.call("list_agents", query=SECRET)
    await alice.call("send", to="bob", message={SECRET: text}, key=f"{SECRET}-1")
    asking = {"to": "bob", "message": text, "wait_seconds": 0, "key": f"{SECRET}-2"}
    question = (await alice.status("send_and_wait", **asking))["question"]
    await bob.call("reply", question=question, message=text)
    await alice.call("check_inbox")
    second = (await alice.status("send_and_wait", to="bob", message=f"{text} 2", wait_seconds=0))["question"]
    await bob.call("reply", question=second, message=f"{SECRET} reason", decline=True)
    await alice.call("get_conversation", with_agent="bob")
    created = await alice.status("create_meeting", title=SECRET, agenda=text, agents="bob")
    meeting = created["meeting"]
    await bob.call("attend_meeting", meeting=meeting, wait_seconds=0)
    await alice.call("start_meeting", meeting=meeting, message=text, wait_seconds=0)
    await bob.call("attend_meeting", meeting=meeting, wait_seconds=0)
    await bob.call("speak", meeting=meeting, turn=2, message=text, wait_seconds=0)
    await alice.call("get_meeting", meeting=meeting)
    await alice.call("end_meeting", meeting=meeting, outcome=text)
    await bob.call("leave_meeting", meeting=meeting)
    await alice.call("end_conversation", with_agent="bob")


async def nothing(alice: Host) -> None:
    """Each tool, refused: for a name that is none, an argument too many, one of another type, a key used twice."""
    for tool, argument in (
        ("send", "to"),
        ("send_and_wait", "to"),
        ("end_conversation", "with_agent"),
        ("get_conversation", "with_agent"),
        ("check_inbox", "from_agent"),
        ("check_inbox", "after"),
        ("reply", "question"),
        ("create_meeting", "agents"),
        ("attend_meeting", "meeting"),
        ("start_meeting", "meeting"),
        ("speak", "meeting"),
        ("leave_meeting", "meeting"),
        ("end_meeting", "meeting"),
        ("get_meeting", "meeting"),
    ):
        filled = {"message": SECRET} if tool in ("send", "send_and_wait", "reply", "start_meeting", "speak") else {}
        filled |= {"turn": 1} if tool == "speak" else {}
        filled |= {"title": SECRET} if tool == "create_meeting" else {}
        for value in (SECRET, f"{SECRET} {SECRET}\n", f"{SECRET}\x1b[2K"):
            await alice.result(tool, **filled, **{argument: value})
    await alice.result("send", to="bob", message=f"{SECRET} another", key=f"{SECRET}-1")
    await alice.result("send", to="bob", message=SECRET, **{SECRET: SECRET})
    await alice.result("send", to="bob", message=SECRET, key="k" * 300 + SECRET)
    await alice.result("list_agents", query=[SECRET])
    for uri in (f"messaging://conversations/{SECRET}", f"messaging://{SECRET}", f"{SECRET}://"):
        with suppress(MCPError):
            await alice.client.read_resource(uri)
    with suppress(MCPError):
        await alice.client.call_tool(SECRET, {SECRET: SECRET})
    with suppress(MCPError):
        await alice.client.get_prompt(SECRET, {SECRET: SECRET})


def clean(lines: Lines) -> None:
    """There is a log, each line of it an object, and the secret is in none."""
    found = [line for line in lines.all() if SECRET in line]
    assert found == []
    assert all("event" in line for line in lines.objects())


@pytest.mark.requirement("logs:canaries")
@pytest.mark.parametrize(("transport", "era"), WIRES, ids=["-".join(pair) for pair in WIRES])
async def test_nothing_that_somebody_wrote_reaches_the_log(
    dsn: str, operator: Operator, transport: Transport, era: Era
) -> None:
    with logged("DEBUG") as lines:
        async with asyncio.timeout(BOUND), connected(dsn, transport, era, "alice", "bob") as (alice, bob):
            await everything(alice, bob)
            await nothing(alice)
            async with operator.outage():
                for tool, arguments in (
                    ("send", {"to": "bob", "message": SECRET}),
                    ("check_inbox", {"after": SECRET}),
                ):
                    # Over SSE the SDK's client waits for ever for a call that was refused before it was read.
                    with suppress(MCPError, httpx2.HTTPError, TimeoutError):
                        async with asyncio.timeout(1):
                            await alice.result(tool, **arguments)
    clean(lines)


@pytest.mark.requirement("logs:canaries")
async def test_no_credential_reaches_the_log_however_it_is_sent(dsn: str) -> None:
    with logged("DEBUG", access=True) as lines:
        tokens = await tokens_of(dsn, "alice")
        token = tokens["alice"]
        async with asyncio.timeout(BOUND), listening(dsn) as address, httpx2.AsyncClient(timeout=90) as client:
            bearers = [f"Bearer {given}" for given in (token, SECRET, f"{SECRET}.{SECRET}.x")]
            paths = ["/mcp", f"/mcp?token={token}", f"/sse?access_token={SECRET}", f"/messages/?session_id={SECRET}"]
            for header, path in itertools.product([*bearers, f"Basic {SECRET}", token], paths):
                for body in (b"{}", f'{{"{SECRET}": "'.encode(), SECRET.encode()):
                    await client.post(f"{address}{path}", headers={"Authorization": header}, content=body)
            await client.get(f"{address}/{SECRET}?{SECRET}", headers={"Host": SECRET, "Origin": f"https://{SECRET}"})
    assert urlsplit(address).port
    assert any(line["event"] == "access" for line in lines.objects())
    assert token.split("_", 2)[2] not in lines.getvalue()
    # The path of a request is told, as it is what somebody looks for in these lines; its query is not.
    assert [line for line in lines.objects() if SECRET in str(line) and line.get("path") != f"/{SECRET}"] == []


@pytest.mark.requirement("logs:canaries")
async def test_the_password_of_the_database_reaches_no_line() -> None:
    nowhere = f"postgresql://nobody:{SECRET}@127.0.0.1:1/none"
    with logged("DEBUG") as lines:
        async with host(nowhere, "alice") as alice:
            with pytest.raises(MCPError):
                await alice.result("send", to="bob", message=SECRET)
    assert any(line["level"] == "warning" for line in lines.objects()), "it is told that there is none"
    clean(lines)


@pytest.mark.requirement("logs:canaries")
async def test_what_the_library_is_given_reaches_no_line(dsn: str, operator: Operator) -> None:
    with logged("DEBUG") as lines:
        async with world.opened(dsn, "alice", "bob", database_patience=0, max_delivery_attempts=1) as sdk:
            given: dict[str, Any] = {"metadata": {SECRET: SECRET}, "idempotency_key": SECRET}

            @sdk.register_handler("bob")
            async def fails(message: Any, _context: Any) -> None:
                raise ValueError(message)

            with suppress(AgentMessagingError):
                await sdk.sync_conversation.send_and_wait("alice", "bob", SECRET, 20, **given)
            with suppress(AgentMessagingError):
                await sdk.async_conversation.send("alice", "bob", f"{SECRET} 2", **given)
            async with operator.outage():
                with suppress(AgentMessagingError):
                    await sdk.async_conversation.send("alice", "bob", SECRET)
    assert any("was given up" in line["event"] for line in lines.objects())
    clean(lines)
