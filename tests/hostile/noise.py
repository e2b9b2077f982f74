"""One agent that does all it can to be in the way: waits by the thousand, floods of large messages, calls that are
wrong, connections over and over.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.mcp_server.wire import Answer, Wire, bearer, initialize

LARGE = "x" * 262_000


@dataclass
class Noise:
    """What the noisy agent asked for, and what came of it."""

    asked: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    held: int = 0
    most_held: int = 0

    @property
    def total(self) -> int:
        return self.asked.total()


def _calls() -> list[tuple[str, dict[str, Any]]]:
    wait = {"name": "check_inbox", "arguments": {"wait_seconds": 45}}
    return [
        ("wait", wait),
        ("wait", {"name": "send_and_wait", "arguments": {"to": "victim", "message": "?", "wait_seconds": 45}}),
        ("wait", wait),
        ("flood", {"name": "send", "arguments": {"to": "victim", "message": LARGE}}),
        ("wait", wait),
        ("wrong call", {"name": "send", "arguments": {"nonsense": "x" * 1_000}}),
        ("wait", wait),
        ("read", {"name": "list_agents", "arguments": {"query": "a"}}),
    ]


@asynccontextmanager
async def noisy(wire: Wire, token: str, *, total: int, every: float) -> AsyncGenerator[Noise]:
    """Have one agent begin a request `every` so many seconds, `total` of them, until the block ends."""
    noise = Noise()
    running: set[asyncio.Task[None]] = set()

    async def one(kind: str, params: dict[str, Any]) -> None:
        noise.asked[kind] += 1
        noise.held += kind == "wait"
        noise.most_held = max(noise.held, noise.most_held)
        try:
            if kind == "connection":
                headers, body = initialize()
                answer = await wire.request("POST", "/mcp", [bearer(token), *headers], body)
            else:
                answer = await wire.call(token, "tools/call", params)
            if why := _refusal(answer):
                noise.refused[why] += 1
        except (OSError, TimeoutError):
            noise.refused["no answer"] += 1
        finally:
            noise.held -= kind == "wait"

    async def all_of_them() -> None:
        calls = [*_calls(), ("connection", dict[str, Any]())]
        for kind, params in itertools.islice(itertools.cycle(calls), total):
            task = asyncio.create_task(one(kind, params))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(every)

    making = asyncio.create_task(all_of_them())
    try:
        yield noise
    finally:
        for task in (making, *running):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await making
        await asyncio.gather(*running, return_exceptions=True)


def _refusal(answer: Answer) -> str | None:
    if answer.status != 200:
        return f"status {answer.status}"
    message = answer.message()
    if "error" in message:
        return f"error {message['error']['code']}"
    structure = message["result"].get("structuredContent") or {}
    return structure["now"].partition(":")[2][:30] if structure.get("status") == "not_now" else None
