"""What is somebody else's is as unknown as what is not, over the network, whoever holds which handle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent_messaging import AgentMessaging
from tests.mcp_server.foreign import (
    STRANGERS,
    Caller,
    attacks,
    calling,
    everything,
    pages,
    populated,
    said,
    swapped,
    unknown_like,
)
from tests.mcp_server.serving import config_of, serving, tokens_of
from tests.mcp_server.wire import Wire, bearer, legacy, modern
from tests.promises import kept

UNLIMITED = {"AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE": "1000000"}
KINDS = ("current", "legacy", "sse")
SECRETS = ("secret", "between us", "Ours")


def is_no(answer: Mapping[str, Any]) -> bool:
    """Whether it says that something was not done, or shows nothing."""
    if "error" in answer:
        return answer["error"]["code"] == -32602
    result = answer["result"]
    return bool(result.get("isError")) or not result["structuredContent"].get("items")


@pytest.mark.requirement("mcp:identity:foreign")
async def test_a_foreign_handle_opens_nothing_and_is_told_from_an_unknown_one_by_nothing(dsn: str) -> None:
    world = await populated(dsn)
    count = 0
    async with serving(dsn, **UNLIMITED) as served:
        wire = Wire(served.address)
        before = await everything(dsn)
        for kind in KINDS:
            async with calling(wire, world.tokens["mallory"], kind) as mallory:
                tools: set[str] = set()
                for tool, arguments, foreign in attacks(world, all_forms=kind == "current"):
                    answer = await mallory.tool(tool, arguments)
                    assert is_no(answer), (kind, tool, arguments, answer)
                    assert not any(secret in str(answer) for secret in SECRETS), (tool, arguments, answer)
                    nothing = unknown_like(foreign)
                    other = await mallory.tool(tool, swapped(arguments, foreign, nothing))
                    assert said(answer, foreign) == said(other, nothing), (kind, tool, arguments)
                    tools.add(tool)
                    count += 1
                assert len(tools) == 14
                count += await foreign_pages(mallory, kind, list(pages(world, all_forms=kind == "current")))
                count += await completions(mallory, [*world.meetings, *STRANGERS, "", "m", "e", "alice,e"])
        assert await everything(dsn) == before
    kept("R13", "every tool and resource with foreign handles", tried=count)
    assert count >= 700


async def foreign_pages(caller: Caller, kind: str, addresses: list[tuple[str, str]]) -> int:
    """Read and follow what is somebody else's; gives how often that was tried."""
    count = 0
    for uri, foreign in addresses:
        nothing = unknown_like(foreign)
        for method, params in {
            "resources/read": {"uri": uri},
            **({"resources/subscribe": {"uri": uri}} if kind != "current" else {}),
            **(
                {"subscriptions/listen": {"notifications": {"resourceSubscriptions": ["messaging://inbox", uri]}}}
                if kind == "current"
                else {}
            ),
        }.items():
            answer = await caller.call(method, params)
            assert answer["error"]["code"] == -32602, (method, uri, answer)
            other = await caller.call(method, swapped(params, foreign, nothing))
            assert said(answer, foreign) == said(other, nothing), (method, uri)
            count += 1
    return count


async def completions(caller: Caller, values: list[str]) -> int:
    """Complete whatever can be completed; only what the caller may see is offered."""
    count = 0
    for ref, name in (
        ({"type": "ref/resource", "uri": "messaging://conversations/{agent}{?before}"}, "agent"),
        ({"type": "ref/resource", "uri": "messaging://meetings/{meeting}"}, "meeting"),
        ({"type": "ref/prompt", "name": "hold_meeting"}, "agents"),
        ({"type": "ref/prompt", "name": "join_meeting"}, "meeting"),
    ):
        for value in values:
            answer = await caller.call("completion/complete", {"ref": ref, "argument": {"name": name, "value": value}})
            offered = answer["result"]["completion"]["values"]
            last = [text.rpartition(",")[2] for text in offered]
            assert not set(STRANGERS) & set(last), (name, value, offered)
            assert name != "meeting" or len(offered) <= 1, "a meeting of others"
            count += 1
    return count


@pytest.mark.requirement("mcp:identity:foreign")
async def test_nothing_tells_when_an_agent_of_another_organization_appears(dsn: str) -> None:
    """The very same calls, before and after it is registered: not a byte changes."""
    tokens = await tokens_of(dsn, "alice", "bob")

    async def everything_said(caller: Caller) -> list[str]:
        answers: list[Mapping[str, Any]] = []
        for name in ("bobby", "eve"):
            for tool, arguments in (
                ("send", {"to": name, "message": "x"}),
                ("send", {"to": ["bob", name], "message": "x"}),
                ("send_and_wait", {"to": name, "message": "x", "wait_seconds": 0}),
                ("check_inbox", {"from_agent": name}),
                ("end_conversation", {"with_agent": name}),
                ("get_conversation", {"with_agent": name}),
                ("create_meeting", {"title": "x", "agents": [name]}),
                ("list_agents", {"query": name}),
                ("list_agents", {}),
            ):
                answers.append(await caller.tool(tool, arguments))
            answers.append(await caller.call("resources/read", {"uri": f"messaging://conversations/{name}"}))
        return [said(answer) for answer in answers]

    async with serving(dsn, **UNLIMITED) as served, calling(Wire(served.address), tokens["alice"], "current") as alice:
        before = await everything_said(alice)
        await tokens_of(dsn, "bobby", "eve", organization="abroad")
        assert await everything_said(alice) == before


@pytest.mark.requirement("mcp:identity:permission")
async def test_organizations_that_allow_each_other_reach_each_other_until_one_takes_it_back(dsn: str) -> None:
    home = await tokens_of(dsn, "alice", organization="home")
    abroad = await tokens_of(dsn, "eve", organization="abroad")
    async with (
        AgentMessaging[Any](config_of(dsn)) as sdk,
        serving(dsn, **UNLIMITED) as served,
        calling(Wire(served.address), home["alice"], "current") as alice,
        calling(Wire(served.address), abroad["eve"], "legacy") as eve,
    ):

        async def told(caller: Caller, tool: str, **arguments: Any) -> dict[str, Any]:
            return (await caller.tool(tool, arguments))["result"]

        async def both_are_strangers() -> None:
            for caller, other in ((alice, "eve"), (eve, "alice")):
                for tool, arguments in (
                    ("send", {"to": other, "message": "x"}),
                    ("send_and_wait", {"to": other, "message": "x", "wait_seconds": 0}),
                    ("get_conversation", {"with_agent": other}),
                    ("create_meeting", {"title": "x", "agents": [other]}),
                    ("check_inbox", {"from_agent": other}),
                ):
                    answer, nobody = await told(caller, tool, **arguments), unknown_like(other)
                    assert answer["isError"], (tool, answer)
                    assert said(answer, other) == said(
                        await told(caller, tool, **swapped(arguments, other, nobody)), nobody
                    )
                listed = (await told(caller, "list_agents"))["structuredContent"].get("items", [])
                assert listed == []
                refused = await caller.call("resources/read", {"uri": f"messaging://conversations/{other}"})
                assert refused["error"]["code"] == -32602

        for caller in (alice, eve):
            await told(caller, "list_agents")
        await both_are_strangers()
        await sdk.allow_organization("home", "abroad")
        await both_are_strangers()  # one side is not enough
        await sdk.disallow_organization("home", "abroad")
        await sdk.allow_organization("abroad", "home")
        await both_are_strangers()  # nor is the other

        await sdk.allow_organization("home", "abroad")
        asked = await told(alice, "send_and_wait", to="eve", message="Together?", wait_seconds=0)
        question = asked["structuredContent"]["question"]
        assert (await told(eve, "reply", question=question, message="Yes."))["structuredContent"][
            "status"
        ] == "answered"
        assert [item["agent"] for item in (await told(eve, "list_agents"))["structuredContent"]["items"]] == ["alice"]
        later = await told(alice, "send_and_wait", to="eve", message="Still?", wait_seconds=0)

        await sdk.disallow_organization("abroad", "home")
        await both_are_strangers()
        # What was said stays; but to answer would be to reach the other.
        open_question = later["structuredContent"]["question"]
        before = await everything(dsn)
        for decline in (False, True):
            refused = await told(eve, "reply", question=open_question, message="Yes.", decline=decline)
            nothing = unknown_like(open_question)
            unknown = await told(eve, "reply", question=nothing, message="Yes.", decline=decline)
            assert said(refused, open_question) == said(unknown, nothing)
        assert await everything(dsn) == before
        assert "Still?" in str(await told(eve, "check_inbox"))


@pytest.mark.requirement("mcp:identity:session")
async def test_a_session_is_used_by_its_own_agent_alone(dsn: str) -> None:
    """Whoever learns the id of a session has nothing: with another's token it is as unknown as any."""
    tokens = await tokens_of(dsn, "alice", "bob", "mallory")
    spare = (await tokens_of(dsn, "alice"))["alice"]
    stranger = "0" * 32
    client = {"name": "alice", "version": "1"}
    prompt = {"type": "ref/prompt", "name": "join_meeting"}
    methods = (
        ("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}),
        ("ping", {}),
        ("tools/list", {}),
        ("tools/call", {"name": "send", "arguments": {"to": "bob", "message": "I am in."}}),
        ("tools/call", {"name": "check_inbox", "arguments": {}}),
        ("resources/read", {"uri": "messaging://inbox"}),
        ("resources/subscribe", {"uri": "messaging://inbox"}),
        ("resources/unsubscribe", {"uri": "messaging://inbox"}),
        ("completion/complete", {"ref": prompt, "argument": {"name": "meeting", "value": ""}}),
        ("prompts/list", {}),
        ("logging/setLevel", {"level": "debug"}),
        ("nonsense", {}),
    )
    count = 0
    async with serving(dsn, **UNLIMITED) as served:
        wire = Wire(served.address)
        session = await wire.session(tokens["alice"])
        async with wire.sse(tokens["alice"]) as sse:
            for thief in ("bob", "mallory"):
                for method, params in methods:
                    headers, body = legacy(method, params)
                    given = [bearer(tokens[thief]), *headers]
                    answers = [
                        await wire.request("POST", "/mcp", [*given, ("Mcp-Session-Id", id)], body)
                        for id in (session, stranger)
                    ]
                    answers += [
                        await wire.request("POST", f"/messages/?session_id={id}", given, body)
                        for id in (sse.path.rpartition("=")[2], stranger)
                    ]
                    assert {answer.status for answer in answers} == {404}, (method, answers)
                    assert answers[0] == answers[1]
                    assert answers[2] == answers[3]
                    count += 2
                for method in ("GET", "DELETE"):
                    headers, _ = legacy("", {})
                    given = [bearer(tokens[thief]), *headers]
                    stolen, none = [
                        await wire.request(method, "/mcp", [*given, ("Mcp-Session-Id", id)])
                        for id in (session, stranger)
                    ]
                    assert (stolen.status, stolen) == (404, none)
                    count += 1
                # Cancelling somebody else's request, and answering in somebody else's name.
                for body in (
                    b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}',
                    b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
                ):
                    given = [bearer(tokens[thief]), *legacy("", {})[0]]
                    stolen = await wire.request("POST", "/mcp", [*given, ("Mcp-Session-Id", session)], body)
                    over_sse = await wire.request("POST", sse.path, given, body)
                    assert (stolen.status, over_sse.status) == (404, 404)
                    count += 2
            # A request of the current era needs no session, and is nobody's but its token's.
            params = {"name": "list_agents", "arguments": {}}
            headers, body = modern("tools/call", params)
            given = [bearer(tokens["bob"]), *headers, ("Mcp-Session-Id", session)]
            answer = await wire.request("POST", f"/mcp?{sse.path.partition('?')[2]}", given, body)
            assert answer.message()["result"]["structuredContent"]["you"] == "bob"
            # The session is unharmed, and its agent may go on in it with another token of its own.
            for token in (tokens["alice"], spare):
                mine = Caller(wire, token, session=session)
                assert (await mine.tool("list_agents", {}))["result"]["structuredContent"]["you"] == "alice"
                over_sse = await wire.request(
                    "POST", sse.path, [bearer(token), *legacy("", {})[0]], legacy("ping", {})[1]
                )
                assert over_sse.status == 202
            listening = await wire.request(
                "GET", "/mcp", [bearer(tokens["alice"]), *legacy("", {})[0], ("Mcp-Session-Id", session)]
            )
            assert listening.status == 200
    kept("R13", "sessions with another's token", tried=count)
    assert count >= 50
