"""A Python program whose agents wait by the library: `python -m chaos.recovery_program`, told what to do in lines.

It takes and gives the same lines as an MCP server on standard input and output, so that whoever measures both measures
alike; but it serves any agent, and each call is one call of the library.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from uuid import UUID

from agent_messaging import AgentMessaging, AgentMessagingError

Json = dict[str, Any]
_LONGEST_LINE = 2**24


class Program:
    """The calls that are open, and what is said of them."""

    def __init__(self, sdk: AgentMessaging[Any]) -> None:
        self._sdk = sdk
        self._open = 0

    async def serve(self, message: Json) -> None:
        """Make one call, and say what came of it."""
        number, given = message["id"], message["params"]
        self._open += 1
        watching = asyncio.create_task(self._watch(number))
        try:
            status = await self._call(given["name"], given["arguments"])
            _say({"id": number, "result": {"isError": False, "structuredContent": {"status": status}}})
        except AgentMessagingError as refused:
            _say({"id": number, "result": {"isError": True, "content": [{"type": "text", "text": repr(refused)}]}})
        finally:
            watching.cancel()
            self._open -= 1

    async def _call(self, tool: str, given: Json) -> str:
        match tool:
            case "ready":
                return "ready"
            case "send_and_wait":
                await self._sdk.sync_conversation.send_and_wait(
                    given["agent"], given["to"], given["message"], given["wait_seconds"], idempotency_key=given["key"]
                )
                return "answered"
            case "attend_meeting":
                meeting = UUID(given["meeting_id"])
                signal = await self._sdk.meeting.attend_meeting(given["agent"], meeting, given["wait_seconds"])
                return signal.reason
            case _:
                page = await self._sdk.inbox.wait(given["agent"], given["wait_seconds"])
                return "items" if page.items else "waiting"

    async def _watch(self, number: int) -> None:
        while self._sdk.measures.snapshot().waits_open < self._open:  # noqa: ASYNC110 - it counts, and tells nobody
            await asyncio.sleep(0.01)
        _say({"method": "notifications/progress", "params": {"progressToken": number}})


def _say(message: Json) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Serve until the input ends."""
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with AgentMessaging[Any]() as sdk, asyncio.TaskGroup() as calls:
        program = Program(sdk)
        while line := await reader.readline():
            calls.create_task(program.serve(json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main())
