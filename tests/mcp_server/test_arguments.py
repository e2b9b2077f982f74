"""A string is taken exactly as sent, what says nothing is left out, and what is wrong is named before
anything is done.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated, Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field

from agent_messaging_mcp.arguments import Content, WaitSeconds, published
from agent_messaging_mcp.identity import always
from agent_messaging_mcp.metrics import Numbers
from agent_messaging_mcp.server import build_server
from agent_messaging_mcp.service import Service
from agent_messaging_mcp.settings import Settings
from agent_messaging_mcp.text import names
from tests.mcp_server.readers import text_of


class Recorded:
    """A server with one tool that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []

        async def tool(
            call_: Context[Any, Any],
            message: Content,
            to: Annotated[Any, Field(description="Who.")],
            agents: list[str],
            turn: int,
            after: str = "",
            force: bool = False,
            limit: int = 20,
            wait_seconds: WaitSeconds = 45,
            optional: Annotated[Any, Field(description="Text.")] = None,
        ) -> CallToolResult:
            self.given.append({name: value for name, value in locals().items() if name not in ("self", "call_")})
            return CallToolResult(
                content=[TextContent(type="text", text="done")], structured_content={"now": "", "status": ""}
            )

        tool_ = published(
            tool,
            name="tool",
            description="A tool.",
            annotations=ToolAnnotations(),
            context_argument="call_",
            count=Numbers().called,
        )
        self.server = MCPServer("test", version="1", tools=[tool_])

    async def call(self, **arguments: Any) -> CallToolResult:
        async with Client(self.server) as client:
            return await client.call_tool("tool", arguments)

    async def given_for(self, **arguments: Any) -> dict[str, Any]:
        result = await self.call(**{"message": "m", "to": "bob", "agents": [], "turn": 1, **arguments})
        assert not result.is_error, text_of(result)
        return self.given[-1]


@pytest.mark.requirement("mcp:arguments:exact")
@pytest.mark.parametrize(
    "message",
    [
        "null",
        "true",
        "3",
        '{"a":1}',
        "[1, 2]",
        '"quoted"',
        "",
        " ",
        "\n",
        None,
        3,
        True,
        1.5,
        [1],
        {"a": None},
    ],
)
async def test_a_message_is_taken_exactly_as_sent(message: Any) -> None:
    given = (await Recorded().given_for(message=message))["message"]
    assert given == message
    assert type(given) is type(message)


@pytest.mark.requirement("mcp:arguments:names")
@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bob", ["bob"]),
        ("bob, carol ,dave,", ["bob", "carol", "dave"]),
        (["bob", " carol "], ["bob", "carol"]),
        ('["bob", "carol"]', ["bob", "carol"]),
        ("[bob, carol]", ["bob", "carol"]),
        ("*", ["*"]),
        ("", []),
    ],
)
async def test_names_come_as_a_list_or_as_text(value: Any, found: list[str]) -> None:
    assert names(value) == found
    assert (await Recorded().given_for(agents=value))["agents"] == found


@pytest.mark.requirement("mcp:arguments:neutral")
async def test_what_says_nothing_equals_leaving_it_out() -> None:
    recorded = Recorded()
    left_out = await recorded.given_for()
    assert await recorded.given_for(after=None, force=None, limit=None, wait_seconds=None, optional=None) == left_out
    assert await recorded.given_for(after="", force="", limit="", wait_seconds="") == left_out


async def test_numbers_and_flags_are_read_from_text_too() -> None:
    given = await Recorded().given_for(turn="3", limit="7", wait_seconds="1.5", force="true", after=12)
    assert (given["turn"], given["limit"], given["wait_seconds"], given["force"], given["after"]) == (
        3,
        7,
        1.5,
        True,
        "12",
    )


@pytest.mark.requirement("mcp:arguments:named")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, ["tool needs message and to and agents and turn", "after (optional)"]),
        (
            {"message": "m", "to": "b", "agents": [], "turn": 1, "mesage": "x"},
            ["tool has no argument mesage", "message, to"],
        ),
        (
            {"message": "m", "to": "b", "agents": [], "turn": "soon"},
            ['turn must be a whole number, and is "soon"'],
        ),
        ({"message": "m", "to": "b", "agents": [], "turn": 1.5}, ["turn must be a whole number, and is 1.5"]),
        (
            {"message": "m", "to": "b", "agents": [1], "turn": 1},
            ["agents must be a list of names, and is [1]"],
        ),
        (
            {"message": "m", "to": "b", "agents": [], "turn": 1, "force": "maybe"},
            ["force must be true or false"],
        ),
        (
            {"message": "m", "to": "b", "agents": [], "turn": 1, "wait_seconds": []},
            ["wait_seconds must be a number"],
        ),
        (
            {"message": "m", "to": "b", "agents": [], "turn": 1, "after": {}},
            ["after must be text, and is {}"],
        ),
    ],
)
async def test_a_wrong_argument_is_named_and_nothing_is_done(arguments: dict[str, Any], words: list[str]) -> None:
    recorded = Recorded()
    result = await recorded.call(**arguments)
    said = text_of(result)
    assert result.is_error
    assert result.structured_content is None
    assert all(word in said for word in words), said
    assert said.endswith("Nothing was done.")
    assert "pydantic" not in said
    assert "Error executing" not in said
    assert recorded.given == []


@pytest.mark.requirement("mcp:arguments:named")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_wrong_argument_is_named_before_the_database_is_up(mode: Any) -> None:
    async def unreachable(_stack: AsyncExitStack) -> Any:
        raise OSError("no database")

    service = Service(unreachable)
    server, _ = build_server(Settings(agent="alice"), service, always("alice"))
    async with Client(server, mode=mode) as client:
        for tool in (await client.list_tools()).tools:
            result = await client.call_tool(tool.name, {"nonsense": 1})
            assert result.is_error
            assert text_of(result).startswith(f"{tool.name} has no argument nonsense; it has ")
    await service.close()
