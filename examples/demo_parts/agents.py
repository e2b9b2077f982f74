"""One agent: an MCP client that reads the structured content of results, like a host, and reacts to it."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import anyio
from mcp import Client
from mcp_types import TextContent, TextResourceContents

from demo_parts.script import PARTS, THINKING, Line
from demo_parts.transcript import Transcript

Structure = dict[str, Any]


class DemoError(Exception):
    """Something did not go as it should."""


class Agent:
    """An agent and its part. All it knows of the others is what the tools tell it."""

    def __init__(self, name: str, client: Client, transcript: Transcript) -> None:
        self.name = name
        self._client = client
        self._transcript = transcript
        self._part = PARTS[name]
        self._lines = deque(self._part.lines)
        self._cursor = ""

    def tell(self, text: str, *, words: str = "") -> None:
        self._transcript.tell(self.name, text, words=words)

    async def think(self) -> None:
        await anyio.sleep(THINKING)

    async def call(self, tool: str, **arguments: Any) -> Structure:
        """Call a tool; gives what a host shows its model. Raises DemoError for what the tool calls a
        mistake.
        """
        result = await self._client.call_tool(tool, arguments)
        if result.is_error or result.structured_content is None:
            said = " ".join(part.text for part in result.content if isinstance(part, TextContent))
            raise DemoError(f"{self.name}: {tool}({arguments}) failed: {said}")
        return result.structured_content

    async def introduce(self) -> None:
        """Find out who one is: the server knows, no tool takes a name."""
        found = await self.call("list_agents")
        self.tell(f"is connected as {found['you']!r}, protocol {self._client.protocol_version}")

    async def next_items(self) -> list[Structure]:
        """Wait until anything needs the agent, as an idle host does."""
        began = time.monotonic()
        while not (items := await self.look(wait_seconds=30)):
            pass
        first = items[0]
        self.tell(f"waited {waited(began)} for something to do: {article(first['kind'])} from {first['from']}")
        return items

    async def look(self, *, wait_seconds: float = 0) -> list[Structure]:
        """Look into the inbox; what came the last time is marked read by it, and not before."""
        result = await self.call("check_inbox", after=self._cursor, wait_seconds=wait_seconds)
        self._cursor = result.get("cursor", "")
        return result.get("items", [])

    async def work(self) -> None:
        """React to what comes: answer questions, respond to messages, take part in a meeting; then leave."""
        while True:
            for item in await self.next_items():
                match item["kind"]:
                    case "question":
                        await self.answer(item)
                    case "message":
                        await self.respond(item)
                    case "invitation":
                        await self.take_part(item["meeting"])
                        return
                    case kind:
                        raise DemoError(f"{self.name}: did not expect {kind}: {item}")

    async def answer(self, question: Structure) -> None:
        await self.think()
        self.tell(f"answers {question['from']}:", words=self._part.answer)
        await self.call("reply", question=question["question"], message=self._part.answer)

    async def respond(self, message: Structure) -> None:
        await self.think()
        self.tell(f"writes back to {message['from']}, and does not wait:", words=self._part.response)
        await self.call("send", to=message["from"], message=self._part.response)

    async def take_part(self, meeting: str) -> None:
        """Attend a meeting, use each turn, and go on until the meeting has ended."""
        self.tell(f"attends {meeting}")
        began = time.monotonic()
        ending = await self.use_turns(await self.call("attend_meeting", meeting=meeting), began)
        if ending["status"] != "meeting_ended":
            raise DemoError(f"{self.name} does not know what to say: {ending['now']}")
        self.tell(f"learns that the meeting has ended ({ending['ended']}):", words=ending["outcome"])

    async def use_turns(self, result: Structure, began: float) -> Structure:
        """Take one's turns until the meeting has ended or there is a turn without a line for it; gives that
        result. `began` is when the first wait did.
        """
        meeting = result["meeting"]
        while result["status"] != "meeting_ended":
            if result["status"] != "your_turn":
                result = await self.call("attend_meeting", meeting=meeting)
                continue
            self.tell(f"has turn {result['turn']} after waiting {waited(began)}{whom(result)}")
            if not self._lines:
                return result
            line = self._lines.popleft()
            await self.think()
            began = time.monotonic()
            result = await self.take_turn(meeting, result["turn"], line)
        if self._lines:
            raise DemoError(f"{self.name}: the meeting ended before {list(self._lines)} was said")
        return result

    async def take_turn(self, meeting: str, turn: int, line: Line) -> Structure:
        """Say a line, or pass; returns with the next turn, or the end."""
        if not line.words:
            self.tell("passes")
            return await self.call("speak", meeting=meeting, turn=turn)
        hands_over = f", and hands the floor to {line.then}" if line.then else ""
        self.tell(f"says{hands_over}:", words=line.words)
        return await self.call("speak", meeting=meeting, turn=turn, message=line.words, next_speaker=line.then)

    def first_line(self) -> Line:
        """The line that opens the meeting of its host."""
        return self._lines.popleft()

    async def read(self, uri: str) -> str:
        """Read a resource."""
        contents = (await self._client.read_resource(uri)).contents
        return "\n".join(part.text for part in contents if isinstance(part, TextResourceContents))


def waited(began: float) -> str:
    """How long it is since `began`."""
    return f"{time.monotonic() - began:.1f} s"


def whom(result: Structure) -> str:
    """For whom a turn was awaited: who spoke or passed since one's last turn."""
    spoke = [speech["from"] for speech in result.get("said", ())]
    passed = [event.removesuffix(" passed") for event in result.get("events", ()) if event.endswith(" passed")]
    names = list(dict.fromkeys([*spoke, *passed]))
    return f" for {' and '.join(names)}" if names else ""


def article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
