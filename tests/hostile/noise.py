"""One agent that does all it can to be in the way: waits by the thousand, floods of large messages, calls that are
wrong, connections over and over.

`python -m tests.hostile.noise ADDRESS` does it in a process of its own, with the token that it reads.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.mcp_server.wire import Answer, Wire, bearer, initialize

ROOT = Path(__file__).parents[2]
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


NICE = 10
"""How far the process of its own steps back: its work is no work of the server's."""


@asynccontextmanager
async def noisy_process(address: str, token: str, *, total: int, every: float) -> AsyncGenerator[Noise]:
    """The same in a process of its own, so that whoever measures does not measure that too; counted at the end of the
    block, until which it is waited for.
    """
    command = [sys.executable, "-m", "tests.hostile.noise", address, "--total", str(total), "--every", str(every)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT)
    assert process.stdin is not None
    noise = Noise()
    try:
        process.stdin.write(f"{token}\n".encode())
        await process.stdin.drain()
        yield noise
        found = json.loads((await process.communicate())[0])
        noise.asked, noise.refused, noise.most_held = Counter(found["asked"]), Counter(found["refused"]), found["held"]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _alone(address: str, token: str, total: int, every: float) -> None:
    async with noisy(Wire(address), token, total=total, every=every) as noise:
        while noise.total < total:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)  # for what was asked last to be refused
    print(json.dumps({"asked": noise.asked, "refused": noise.refused, "held": noise.most_held}))


def main() -> None:
    """Make the noise that the arguments say, and print what came of it."""
    parser = argparse.ArgumentParser(description="The noise of one agent; its token is read from standard input.")
    parser.add_argument("address")
    parser.add_argument("--total", type=int, required=True)
    parser.add_argument("--every", type=float, required=True)
    given = parser.parse_args()
    os.nice(NICE)
    asyncio.run(_alone(given.address, sys.stdin.readline().strip(), given.total, given.every))


def _refusal(answer: Answer) -> str | None:
    if answer.status != 200:
        return f"status {answer.status}"
    message = answer.message()
    if "error" in message:
        return f"error {message['error']['code']}"
    structure = message["result"].get("structuredContent") or {}
    return structure["now"].partition(":")[2][:30] if structure.get("status") == "not_now" else None


if __name__ == "__main__":
    main()
