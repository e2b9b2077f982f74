"""What the conformance suite calls, reads and gets: tools, resources and prompts by the names that it knows.

The texts and shapes are the suite's; the scenarios' descriptions in `@modelcontextprotocol/conformance` ask for them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from agent_messaging_mcp.calls import Desk
from tools.conformance import inputs, waits

WATCHED = "test://watched-resource"
_WATCHED_HERE = "messaging://inbox"
_STEP_SECONDS = 0.05

SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def _png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
        + chunk(b"IEND", b"")
    )


def _wav() -> bytes:
    """One silent sample."""
    body = (
        b"WAVE" + b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 16_000, 2, 16) + b"data" + struct.pack("<Ih", 2, 0)
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


PNG = _png()
IMAGE = ImageContent(type="image", data=base64.b64encode(PNG).decode(), mime_type="image/png")
AUDIO = AudioContent(type="audio", data=base64.b64encode(_wav()).decode(), mime_type="audio/wav")


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


async def test_simple_text() -> str:
    """A text."""
    return "This is a simple text response for testing."


async def test_image_content() -> list[ImageContent]:
    """An image."""
    return [IMAGE]


async def test_audio_content() -> list[AudioContent]:
    """A sound."""
    return [AUDIO]


async def test_embedded_resource() -> list[EmbeddedResource]:
    """A resource inside a result."""
    return [_embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


async def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Several kinds of content at once."""
    data = json.dumps({"test": "data", "value": 123})
    return [
        _text("Multiple content types test:"),
        IMAGE,
        _embedded("test://mixed-content-resource", "application/json", data),
    ]


async def test_error_handling() -> str:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


async def test_tool_with_progress(ctx: Context[Any, Any]) -> str:
    """Reports how far it is."""
    for step in (0, 50, 100):
        await ctx.report_progress(step, 100, f"Completed step {step} of 100")
        await asyncio.sleep(_STEP_SECONDS)
    return "Done."


async def test_logging_tool(ctx: Context[Any, Any]) -> str:
    """Logs; the client must not see it unless it asked to."""
    await ctx.info("A word that nobody asked for")
    return "Done."


async def test_missing_capability(ctx: Context[Any, Any]) -> str:
    """Needs a client that offers sampling."""
    if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool needs the client's sampling",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return "Sampling is there."


async def test_x_mcp_header(
    region: Annotated[
        str, Field(description="Also in the header Mcp-Param-Region", json_schema_extra={"x-mcp-header": "Region"})
    ],
) -> str:
    """Has an argument that is sent in a header too."""
    return f"region={region}"


async def test_trigger_tool_change(ctx: Context[Any, Any]) -> str:
    """Says that the list of tools has changed."""
    await ctx.notify_tools_changed()
    return "Done."


async def test_trigger_prompt_change(ctx: Context[Any, Any]) -> str:
    """Says that the list of prompts has changed."""
    await ctx.notify_prompts_changed()
    return "Done."


async def test_reconnection(ctx: Context[Any, Any]) -> str:
    """Drops its own stream; the client is to come back for the rest."""
    await ctx.close_sse_stream()
    await asyncio.sleep(_STEP_SECONDS)
    return "Done."


async def json_schema_2020_12_tool() -> str:
    """Publishes a schema with much of what JSON Schema offers."""
    return "Done."


def static_text() -> str:
    """A text that never changes."""
    return "This is the content of the static text resource."


def static_binary() -> bytes:
    """An image that never changes."""
    return PNG


def template(id: str) -> str:
    """One of many."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def watched() -> str:
    """A page that can be subscribed to."""
    return "Watched resource content"


def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with two arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
    """A prompt with a resource inside."""
    return [
        UserMessage(content=_embedded(resourceUri, "text/plain", "Embedded resource content for testing.")),
        UserMessage(content=_text("Please process the embedded resource above.")),
    ]


def test_prompt_with_image() -> list[UserMessage]:
    """A prompt with an image."""
    return [UserMessage(content=IMAGE), UserMessage(content=_text("Please analyze the image above."))]


TOOLS: tuple[Callable[..., Any], ...] = (
    test_simple_text,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
    test_error_handling,
    test_tool_with_progress,
    test_logging_tool,
    test_missing_capability,
    test_x_mcp_header,
    test_trigger_tool_change,
    test_trigger_prompt_change,
    test_reconnection,
    json_schema_2020_12_tool,
    *inputs.TOOLS,
)
PROMPTS: tuple[Callable[..., Any], ...] = (
    test_simple_prompt,
    test_prompt_with_arguments,
    test_prompt_with_embedded_resource,
    test_prompt_with_image,
    inputs.test_input_required_result_prompt,
)


NAMES = frozenset({*(tool.__name__ for tool in TOOLS), *waits.NAMES})
"""The tools of the suite."""


def add_to(server: MCPServer[Any], desk: Desk) -> None:
    """Put all of it on a server, beside what that offers already."""
    waits.go_on()
    for tool in (*TOOLS, *waits.tools(desk)):
        server.tool(structured_output=False)(tool)
    for prompt in PROMPTS:
        server.prompt()(prompt)
    server.resource("test://static-text", mime_type="text/plain")(static_text)
    server.resource("test://static-binary", mime_type="image/png")(static_binary)
    server.resource("test://template/{id}/data", mime_type="application/json")(template)
    server.resource(WATCHED, mime_type="text/plain")(watched)
    server.middleware.append(_adapted)


async def _adapted(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Two things that can only be had on the way in or out.

    The suite subscribes to a resource of its own; the server's own subscriptions are to be tried, so it gets one
    of them. And a tool's schema is made from its function, which has no words for `if` and `$anchor`.
    """
    params: Mapping[str, Any] = ctx.params or {}
    if ctx.method in ("resources/subscribe", "resources/unsubscribe") and params.get("uri") == WATCHED:
        return await call_next(replace(ctx, params={**params, "uri": _WATCHED_HERE}))
    result = await call_next(ctx)
    if ctx.method == "tools/list" and isinstance(result, Mapping):
        tools = [
            {**tool, "inputSchema": SCHEMA_2020_12} if tool["name"] == json_schema_2020_12_tool.__name__ else tool
            for tool in result["tools"]
        ]
        return {**result, "tools": tools}
    return result
