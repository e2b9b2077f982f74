"""Whoever says that it is somebody else, wherever a request has room for it, stays who its token says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.mcp_server.foreign import World, calling, everything, populated, said
from tests.mcp_server.serving import serving
from tests.mcp_server.wire import Headers, Wire, bearer, modern
from tests.promises import kept

UNLIMITED = {"AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE": "1000000"}

ARGUMENTS = (
    *("sender", "from", "from_", "agent", "as", "as_agent", "me", "identity", "caller", "user", "sub", "subject"),
    *("agent_id", "external_id", "on_behalf_of", "organization", "token", "authorization", "_meta", "context", "ctx"),
    *("call_", "view", "desk", "self", "SENDER", "from-agent", "__class__"),
)
METADATA: tuple[Mapping[str, Any], ...] = (
    {"sender": "bob"},
    {"agent": "bob", "from": "bob", "identity": "bob"},
    {"subject": "bob", "sub": "bob", "client_id": "bob"},
    {"user": {"access_token": {"subject": "bob"}}},
    {"io.modelcontextprotocol/clientInfo": {"name": "bob", "version": "1"}},
    {"io.modelcontextprotocol/agent": "bob"},
    {"agent-messaging/agent": "bob", "agent_messaging.agent": "bob"},
)
HEADERS = (
    *("X-Agent", "X-Agent-Messaging-Agent", "X-User", "X-Forwarded-User", "X-Remote-User", "Remote-User", "From"),
    *("X-Sender", "X-Subject", "X-Client-Id", "Mcp-Agent", "Mcp-Param-Agent", "Mcp-Param-Sender", "X-On-Behalf-Of"),
    *("X-Original-User", "Cookie", "User-Agent"),
)


def baseline(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    """A call of each tool that bob could make, and mallory cannot, or that would show that it is made as bob."""
    [meeting, *_] = world.meetings
    [question, *_] = world.questions
    yield "list_agents", {}
    yield "check_inbox", {"from_agent": "alice"}
    yield "send", {"to": "mallory", "message": "As bob."}
    yield "send_and_wait", {"to": "mallory", "message": "As bob?", "wait_seconds": 0}
    yield "reply", {"question": question, "message": "As bob."}
    yield "end_conversation", {"with_agent": "bob"}
    yield "get_conversation", {"with_agent": "bob"}
    yield "create_meeting", {"title": "As bob", "agents": ["mallory"]}
    yield "attend_meeting", {"meeting": meeting, "wait_seconds": 0}
    yield "start_meeting", {"meeting": meeting, "message": "As bob.", "wait_seconds": 0}
    yield "speak", {"meeting": meeting, "turn": 1, "message": "As bob.", "wait_seconds": 0}
    yield "leave_meeting", {"meeting": meeting}
    yield "end_meeting", {"meeting": meeting}
    yield "get_meeting", {"meeting": meeting}


@pytest.mark.requirement("mcp:identity:smuggled")
async def test_nothing_but_the_token_says_who_calls(dsn: str) -> None:
    world = await populated(dsn)
    mine, theirs = world.tokens["mallory"], world.tokens["bob"]
    count = 0
    async with serving(dsn, **UNLIMITED) as served:
        wire = Wire(served.address)
        session = await wire.session(theirs)
        async with wire.sse(theirs) as sse:
            addresses = (
                "/mcp?agent=bob&sender=bob",
                f"/mcp?access_token={theirs}",
                f"/mcp?{sse.path.partition('?')[2]}",
            )
            headers = [
                *[[(name, "bob")] for name in HEADERS],
                [("Mcp-Session-Id", session)],
                [("X-Authorization", f"Bearer {theirs}"), ("Proxy-Authorization", f"Bearer {theirs}")],
                [("Cookie", f"session={session}; access_token={theirs}; agent=bob")],
                [("Last-Event-ID", f"{session}_1")],
            ]
            await wire.tool(mine, "list_agents", {})  # what waits for mallory itself has been shown
            before = await everything(dsn)
            for tool, arguments in baseline(world):

                async def call(
                    more: Headers = (),
                    path: str = "/mcp",
                    *,
                    extra: Mapping[str, Any] = {},
                    meta: Mapping[str, Any] = {},
                ) -> dict[str, Any]:
                    params = {"name": tool, "arguments": {**arguments, **extra}, "_meta": meta}  # noqa: B023 - called at once
                    own, body = modern("tools/call", params)
                    answer = await wire.request("POST", path, [bearer(mine), *own, *more], body)
                    assert answer.status == 200, answer
                    return answer.message()

                plain = await call()
                assert (
                    "mallory" in str(plain) or plain["result"]["isError"] or tool in ("check_inbox", "get_conversation")
                )
                for answer in (
                    *[await call(some) for some in headers],
                    *[await call(path=path) for path in addresses],
                    *[await call(meta=meta) for meta in METADATA],
                ):
                    assert said(answer) == said(plain), (tool, answer)
                    count += 1
                for name in ARGUMENTS:
                    refused = (await call(extra={name: "bob"}))["result"]
                    assert refused["isError"], (tool, name)
                    assert refused["content"][0]["text"].startswith(f"{tool} has no argument {name}; it has "), refused
                    count += 1
            assert await everything(dsn) == before
    kept("R13", "smuggled senders", tried=count)
    assert count >= 700


@pytest.mark.requirement("mcp:identity:smuggled")
@pytest.mark.parametrize("kind", ["legacy", "sse"])
async def test_a_client_may_call_itself_what_it_likes(dsn: str, kind: str) -> None:
    world = await populated(dsn)
    async with serving(dsn, **UNLIMITED) as served:
        wire = Wire(served.address)
        async with (
            calling(wire, world.tokens["mallory"], kind, client="bob") as posing,
            calling(wire, world.tokens["mallory"], kind, client="test") as plain,
        ):
            await plain.tool("list_agents", {})  # what waits for mallory itself has been shown
            before = await everything(dsn)
            for tool, arguments in baseline(world):
                expected = said(await plain.tool(tool, arguments))
                assert said(await posing.tool(tool, arguments)) == expected, tool
                params = {"name": tool, "arguments": arguments, "_meta": {"sender": "bob", "agent": "bob"}}
                answer = await posing.call("tools/call", params, [("X-Agent", "bob"), ("From", "bob")])
                assert said(answer) == expected, tool
            assert await everything(dsn) == before


@pytest.mark.requirement("mcp:identity:smuggled")
async def test_what_is_sent_is_from_whoever_sends_it(dsn: str) -> None:
    world = await populated(dsn)
    async with serving(dsn, **UNLIMITED) as served:
        wire = Wire(served.address)
        for number, header in enumerate(HEADERS):
            params = {
                "name": "send",
                "arguments": {"to": "bob", "message": f"<{number}>"},
                "_meta": {"sender": "alice"},
            }
            own, body = modern("tools/call", params)
            given = [bearer(world.tokens["mallory"]), *own, (header, "alice")]
            answer = await wire.request("POST", "/mcp?sender=alice", given, body)
            assert answer.message()["result"]["structuredContent"]["status"] == "sent"
        inbox = await wire.tool(world.tokens["bob"], "check_inbox", {"from_agent": "mallory"})
        sent = [item for item in inbox["structuredContent"]["items"] if item["kind"] == "message"]
        assert [(item["from"], item["text"]) for item in sent] == [("mallory", f"<{n}>") for n in range(len(HEADERS))]
