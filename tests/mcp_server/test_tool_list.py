"""What every agent's context pays for: the list of tools, small, and in a form that no host refuses."""

from __future__ import annotations

import json
from typing import Any

import mcp_types as types
import pytest
from mcp.server import MCPServer

from agent_messaging_mcp import tools
from agent_messaging_mcp.calls import Agendas, Desk
from agent_messaging_mcp.limits import Rate
from agent_messaging_mcp.metrics import Numbers
from agent_messaging_mcp.service import Service
from agent_messaging_mcp.waits import Waits

KEYWORDS = {"type", "description", "properties", "required", "items", "enum"}
TYPES = {"string", "integer", "number", "boolean", "array", "object"}

TABLE = {
    "check_inbox": ["after?", "from_agent?", "wait_seconds?", "limit?"],
    "send": ["to", "message", "key?"],
    "send_and_wait": ["to", "message", "wait_seconds?", "reply_within_seconds?", "key?"],
    "reply": ["question", "message", "decline?"],
    "end_conversation": ["with_agent"],
    "get_conversation": ["with_agent", "after?", "limit?"],
    "list_agents": ["query?"],
    "create_meeting": [
        "title",
        "agents",
        "agenda?",
        "turn_seconds?",
        "quorum?",
        "start_within_seconds?",
        "max_turns?",
    ],
    "attend_meeting": ["meeting", "wait_seconds?"],
    "start_meeting": ["meeting", "message", "next_speaker?", "force?", "wait_seconds?"],
    "speak": ["meeting", "turn", "message?", "next_speaker?", "wait_seconds?"],
    "leave_meeting": ["meeting", "new_host?"],
    "end_meeting": ["meeting", "outcome?"],
    "get_meeting": ["meeting", "after?", "limit?"],
}


async def never_opened(_stack: object) -> Any:
    raise AssertionError("listing tools needs no database")


@pytest.fixture
async def listed() -> list[types.Tool]:
    desk = Desk(Service(never_opened), Waits(longest=50, progress_interval=10), Agendas(), Rate(600), Numbers())
    return await MCPServer("test", version="1", tools=tools.bound(desk)).list_tools()


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.requirement("mcp:tools:fourteen")
async def test_there_are_fourteen_tools_with_these_arguments(listed: list[types.Tool]) -> None:
    found = {
        tool.name: [
            name if name in tool.input_schema.get("required", ()) else f"{name}?"
            for name in tool.input_schema["properties"]
        ]
        for tool in listed
    }
    assert found == TABLE


@pytest.mark.requirement("mcp:identity:no-argument")
async def test_no_argument_says_who_the_caller_is(listed: list[types.Tool]) -> None:
    arguments = {name for tool in listed for name in tool.input_schema["properties"]}
    assert arguments.isdisjoint({"sender", "agent", "me", "as", "from", "host", "identity", "token", "call_"})


@pytest.mark.requirement("mcp:tools:size")
async def test_the_list_is_small(listed: list[types.Tool]) -> None:
    read = [{"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema} for tool in listed]
    whole = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed]
    print(f"\nname, description, input schema: {len(compact(read))} characters")
    print(f"tools/list: {len(compact(whole).encode())} bytes")
    assert len(compact(read)) <= 8_000
    assert len(compact(whole).encode()) <= 24 * 1024


@pytest.mark.requirement("mcp:tools:portable")
async def test_input_schemas_use_what_every_host_accepts(listed: list[types.Tool]) -> None:
    def check(schema: dict[str, Any], where: str) -> None:
        assert set(schema) <= KEYWORDS, where
        assert schema.get("type") in TYPES, f"{where} has no single type"
        assert (schema["type"] == "array") == ("items" in schema), where
        for name, inner in schema.get("properties", {}).items():
            check(inner, f"{where}.{name}")
        if "items" in schema:
            check(schema["items"], f"{where}[]")
        assert set(schema.get("required", ())) <= set(schema.get("properties", ()))

    for tool in listed:
        check(tool.input_schema, tool.name)


@pytest.mark.requirement("mcp:tools:annotations")
async def test_every_tool_says_what_it_does_to_the_world(listed: list[types.Tool]) -> None:
    for tool in listed:
        hints = tool.annotations
        assert hints is not None
        assert hints.title
        assert None not in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint)
        assert hints.open_world_hint is False
        assert not (hints.read_only_hint and hints.destructive_hint)
        assert tool.output_schema is not None
        assert tool.output_schema["required"] == ["now", "status"]
    read_only = {tool.name for tool in listed if tool.annotations and tool.annotations.read_only_hint}
    assert read_only == {"get_conversation", "list_agents", "get_meeting"}
