"""P14: how much an agent has to read; the same on every machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mcp import Client

from agent_messaging import Config
from agent_messaging_mcp.identity import always
from agent_messaging_mcp.server import build_server
from agent_messaging_mcp.service import Service, opened_for
from agent_messaging_mcp.settings import Settings
from benchmarks.ground import Ground, Round

NAMES = ("ann", "ben", "cleo", "dan")
TURNS = 12
SPEECH = "I propose that we do it on Thursday, for the reasons that were given. " * 4


class Reader:
    """An agent that counts what it is given to read, but for what the others have said."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.characters = {"text": 0, "structure": 0}

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; a host shows its model either the text or the structure."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result
        assert result.structured_content is not None
        text = "".join(getattr(block, "text", "") for block in result.content)
        structure = json.dumps(result.structured_content, ensure_ascii=False, separators=(",", ":"))
        for channel, shown in (("text", text), ("structure", structure)):
            self.characters[channel] += len(shown) - shown.count(SPEECH) * len(SPEECH)
        return result.structured_content

    async def goes_on(self, meeting: str, result: dict[str, Any]) -> None:
        """Speak on every turn until the meeting has ended."""
        while "ended" not in result["now"]:
            if "speak(" in result["now"]:
                result = await self.call("speak", meeting=meeting, turn=result["turn"], message=SPEECH, wait_seconds=50)
            else:
                result = await self.call("attend_meeting", meeting=meeting, wait_seconds=50)


@asynccontextmanager
async def words(ground: Ground) -> AsyncGenerator[Round]:
    tools = ground.figure(
        "P14", "`tools/list`: name, description and input schema of every tool", "characters", 8_000, absolute=True
    )
    results = ground.figure(
        "P14",
        f"all tool results of a meeting of {len(NAMES)}, {TURNS} turns, without the speeches; who reads most",
        "characters",
        4_000,
        absolute=True,
    )

    async def once() -> None:
        if tools.ours:
            return  # the words are the same every time
        async with AsyncExitStack() as stack:
            readers = [Reader(name, await stack.enter_async_context(client(ground.dsn, name))) for name in NAMES]
            listed = (await readers[0].client.list_tools()).tools
            read = [{"name": t.name, "description": t.description, "inputSchema": t.input_schema} for t in listed]
            tools.add_absolute(len(json.dumps(read, ensure_ascii=False, separators=(",", ":"))))
            async with asyncio.timeout(120):
                await meet(readers)
            results.add_absolute(max(max(reader.characters.values()) for reader in readers))

    yield once


async def meet(readers: list[Reader]) -> None:
    for reader in readers:
        await reader.client.call_tool("list_agents", {})
    chair, *others = readers
    created = await chair.call(
        "create_meeting", title="Thursday", agents=list(NAMES[1:]), agenda="When to do it.", max_turns=TURNS
    )
    meeting = str(created["meeting"])

    async def attend(reader: Reader) -> None:
        await reader.call("check_inbox", wait_seconds=50)
        await reader.goes_on(meeting, await reader.call("attend_meeting", meeting=meeting, wait_seconds=50))

    attending = [asyncio.create_task(attend(other)) for other in others]
    while True:
        status = (await chair.client.call_tool("get_meeting", {"meeting": meeting})).structured_content or {}
        if json.dumps(status).count("attending") >= len(others):
            break
        await asyncio.sleep(0.05)
    await chair.goes_on(meeting, await chair.call("start_meeting", meeting=meeting, message=SPEECH, wait_seconds=50))
    await asyncio.gather(*attending)


@asynccontextmanager
async def client(dsn: str, name: str) -> AsyncGenerator[Client]:
    """A host of this agent, in this process."""
    settings = Settings(agent=name)
    config = Config(database_url=dsn)  # pyright: ignore[reportArgumentType]
    service = Service(opened_for(name, "default", config))
    server, _ = build_server(settings, service, always(name))
    try:
        async with Client(server) as client:
            yield client
    finally:
        await service.close()
