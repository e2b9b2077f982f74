"""Write `docs/tools.md` from the tools that the server really serves: `python tools/describe_tools.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NoReturn

import mcp_types as types
from mcp import Client

from agent_messaging_mcp.identity import always
from agent_messaging_mcp.server import build_server
from agent_messaging_mcp.service import Service
from agent_messaging_mcp.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tools.md"

HEAD = """\
# Tools, resources and prompts

What a client of the MCP server is offered, written from the server itself by `tools/describe_tools.py`; do
not edit.

No tool has an argument that says who is calling. In an optional argument `""`, or 0 where 0 means
nothing, equals leaving it out. Every result is given as text and as structured content, each complete by itself.
"""


async def served() -> tuple[list[types.Tool], list[types.Resource], list[types.ResourceTemplate], list[types.Prompt]]:
    """What the server lists. It needs no database for that."""

    async def not_needed(_stack: object) -> NoReturn:
        raise OSError("no list needs a database")

    service = Service(not_needed)
    server, _ = build_server(Settings(agent="docs", log_level="CRITICAL"), service, always("docs"))
    async with Client(server) as client:
        listed = (
            (await client.list_tools()).tools,
            (await client.list_resources()).resources,
            (await client.list_resource_templates()).resource_templates,
            (await client.list_prompts()).prompts,
        )
    await service.close()
    return listed


def page() -> str:
    """The whole page."""
    tools, resources, templates, prompts = asyncio.run(served())
    parts = [
        HEAD,
        "## Tools\n",
        *map(tool_section, tools),
        "## Resources\n",
        "| URI | what it shows |\n|---|---|",
    ]
    parts += [f"| `{resource.uri}` | {resource.description} |" for resource in resources]
    parts += [f"| `{template.uri_template}` | {template.description} |" for template in templates]
    parts += ["\n## Prompts\n", "| prompt | arguments | what it sets an agent to |\n|---|---|---|"]
    for prompt in prompts:
        arguments = ", ".join(f"`{argument.name}`" for argument in prompt.arguments or ())
        parts.append(f"| `{prompt.name}` | {arguments} | {prompt.description} |")
    return "\n".join(parts) + "\n"


def tool_section(tool: types.Tool) -> str:
    """One tool: what it is for, its arguments, and what it does to the world."""
    required = tool.input_schema.get("required", ())
    lines = [f"### {tool.name}\n", f"{tool.description}\n", "| argument | type | |\n|---|---|---|"]
    for name, schema in tool.input_schema["properties"].items():
        optional = "" if name in required else " (optional)"
        lines.append(f"| `{name}`{optional} | {schema['type']} | {schema.get('description', '')} |")
    hints = tool.annotations or types.ToolAnnotations()
    said = [
        words
        for words, holds in (
            ("changes nothing", hints.read_only_hint),
            ("ends something", hints.destructive_hint),
            ("may be repeated", hints.idempotent_hint),
        )
        if holds
    ]
    lines.append(f"\nHints to hosts: {', '.join(said)}.\n" if said else "")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
