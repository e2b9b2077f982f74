"""Over MCP, agents that would thank each other for ever are told to stop, in words that say what to do instead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent_messaging import AgentMessaging
from tests.mcp_server.serving import config_of, serving, tokens_of
from tests.mcp_server.wire import Wire
from tests.protocol.world import fetch

BUDGET = 20


async def thanks(wire: Wire, token: str, other: str) -> dict[str, Any]:
    """An agent that thanks for whatever it gets, until it is told something else; gives what it was told."""
    cursor = ""
    while True:
        read = await wire.tool(token, "check_inbox", {"after": cursor, "wait_seconds": 20})
        cursor = read["structuredContent"].get("cursor", "")
        for _ in read["structuredContent"].get("items", ()):
            sent = (await wire.tool(token, "send", {"to": other, "message": "Thank you!"}))["structuredContent"]
            if sent["status"] != "sent":
                return sent


async def loop(dsn: str, **environment: str) -> tuple[dict[str, Any], int]:
    """What the first of two agents that thank each other is told that is stopped, and how much was sent by then."""
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn, **{"EXCHANGE_BUDGET": str(BUDGET), **environment}) as server:
        wire = Wire(server.address)
        loops = [
            asyncio.create_task(thanks(wire, tokens["alice"], "bob")),
            asyncio.create_task(thanks(wire, tokens["bob"], "alice")),
        ]
        await wire.tool(tokens["alice"], "send", {"to": "bob", "message": "Well done."})
        async with asyncio.timeout(120):
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
    return done.pop().result(), (await fetch(dsn, "SELECT count(*) FROM messages"))[0][0]


@pytest.mark.requirement("etiquette:loops")
@pytest.mark.requirement("mcp:etiquette:paused")
async def test_two_agents_that_thank_each_other_for_ever_are_stopped_by_the_budget(dsn: str) -> None:
    told, sent = await loop(dsn, MAX_HOPS="0")
    assert sent == BUDGET
    assert told["status"] == "paused"
    assert told["now"].startswith("Not sent: you and ")
    assert "no thanks" in told["now"]
    assert "send_and_wait" in told["now"]
    assert 0 < told["seconds_left"] <= 600


@pytest.mark.requirement("etiquette:loops")
@pytest.mark.requirement("mcp:etiquette:hops")
async def test_without_a_budget_they_are_stopped_because_each_message_follows_from_the_other(dsn: str) -> None:
    told, sent = await loop(dsn, EXCHANGE_BUDGET="0")
    assert sent == 17
    assert (told["status"], told["hop"]) == ("paused", 17)
    assert "do not pass on" in told["now"]


@pytest.mark.requirement("mcp:etiquette:paused")
async def test_who_is_paused_may_ask_and_answer(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn, EXCHANGE_BUDGET="1") as server:
        wire = Wire(server.address)

        async def tool(agent: str, name: str, **arguments: Any) -> dict[str, Any]:
            return (await wire.tool(tokens[agent], name, arguments))["structuredContent"]

        assert (await tool("alice", "send", to="bob", message="1"))["status"] == "sent"
        assert (await tool("bob", "send", to="alice", message="2"))["status"] == "paused"
        asked = await tool("bob", "send_and_wait", to="alice", message="?", wait_seconds=0)
        assert asked["status"] == "waiting"
        assert (await tool("alice", "reply", question=asked["question"], message="!"))["status"] == "answered"
        assert (await tool("alice", "send", to="bob", message="3"))["status"] == "paused"


@pytest.mark.requirement("mcp:etiquette:silenced")
async def test_a_silenced_agent_is_told_so_and_reads_what_it_likes(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn) as server, AgentMessaging[Any](config_of(dsn)) as operator:
        wire = Wire(server.address)

        async def tool(agent: str, name: str, **arguments: Any) -> dict[str, Any]:
            return (await wire.tool(tokens[agent], name, arguments))["structuredContent"]

        asked = await tool("bob", "send_and_wait", to="alice", message="?", wait_seconds=0)
        await operator.silences.silence_agent("alice", seconds=3600)
        (item,) = (await tool("alice", "check_inbox"))["items"]
        assert item["question"] == asked["question"]
        for name, arguments in (
            ("send", {"to": "bob", "message": "1"}),
            ("send", {"to": "*", "message": "1"}),
            ("send_and_wait", {"to": "bob", "message": "?"}),
            ("reply", {"question": asked["question"], "message": "1"}),
            ("create_meeting", {"title": "t", "agents": "bob"}),
        ):
            told = await tool("alice", name, **arguments)
            assert told["status"] == "silenced", (name, told)
            assert "an operator has silenced you" in told["now"]
            assert 0 < told["seconds_left"] <= 3600
        (alice,) = (await tool("bob", "list_agents"))["items"]
        assert alice["presence"].endswith(", silenced")
        assert (await tool("bob", "send", to="alice", message="you still get this"))["status"] == "sent"
