"""Measures whether a noisy agent harms anybody but itself: `python -m tests.hostile.noisy [--waits 5000]`.

Agents ask and answer each other in pairs over HTTP, first alone and then beside one that begins as many waits, floods
and wrong calls as it can. The exit code is 1 if the neighbours' 99th percentile is twice what it was, or more.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio

from agent_messaging_db import embedded
from tests.hostile.noise import NICE, Noise, noisy_process
from tests.mcp_server.serving import serving, tokens_of
from tests.mcp_server.wire import Wire
from tools.figures import record

ROUNDS = 5
START_SECONDS = 2.0
"""Until the process of the noise makes some."""
WORST = 2.0
"""How many times slower the neighbours may get."""
PAIRS = (("alice", "bob"), ("carol", "dave"), ("erin", "frank"))
PACE = 0.3
"""Seconds between two questions of a neighbour: those who answer stay below their own rate."""


async def answers(wire: Wire, token: str, ready: anyio.Event) -> None:
    """Answer whatever is asked."""
    await wire.tool(token, "list_agents", {})
    ready.set()
    cursor = ""
    while True:
        read = await wire.tool(token, "check_inbox", {"after": cursor, "wait_seconds": 20})
        cursor = read["structuredContent"].get("cursor", "")
        for item in read["structuredContent"].get("items", ()):
            if item["kind"] == "question":
                await wire.tool(token, "reply", {"question": item["question"], "message": "yes"})


async def asked(wire: Wire, token: str, to: str, count: int, *, within: float = math.inf) -> list[float]:
    """How long each of an agent's questions took, in seconds; none is asked after so many seconds."""
    took: list[float] = []
    first = time.perf_counter()
    for number in range(count):
        began = time.perf_counter()
        if began - first > within:
            break
        result = await wire.tool(token, "send_and_wait", {"to": to, "message": f"{number} {began}"})
        took.append(time.perf_counter() - began)
        assert result["structuredContent"]["status"] == "answered", result
        await asyncio.sleep(max(0, PACE - took[-1]))
    return took


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


async def measured(dsn: str, waits: int, every: float, questions: int) -> tuple[list[float], list[float], Noise]:
    """The neighbours' times alone and beside the noise, in turns, so that both see the same machine."""
    tokens = await tokens_of(dsn, "mallory", "victim", *itertools.chain(*PAIRS))
    alone: list[float] = []
    beside: list[float] = []
    sum_ = Noise()
    async with serving(dsn) as quiet, anyio.create_task_group() as tasks:
        wire = Wire(quiet.address)
        for _, answerer in PAIRS:
            ready = anyio.Event()
            tasks.start_soon(answers, wire, tokens[answerer], ready)
            await ready.wait()

        async def all_ask(count: int, *, within: float = math.inf) -> list[float]:
            each = (asked(wire, tokens[one], other, count // len(PAIRS), within=within) for one, other in PAIRS)
            return list(itertools.chain(*await asyncio.gather(*each)))

        await all_ask(10 * len(PAIRS))
        for _ in range(ROUNDS):
            alone += await all_ask(questions // ROUNDS)
            share = waits // ROUNDS
            async with noisy_process(quiet.address, tokens["mallory"], total=share, every=every) as noise:
                await asyncio.sleep(START_SECONDS)
                beside += await all_ask(questions // ROUNDS, within=share * every - START_SECONDS)
            sum_.asked += noise.asked
            sum_.refused += noise.refused
            sum_.most_held = max(sum_.most_held, noise.most_held)
        tasks.cancel_scope.cancel()
    return alone, beside, sum_


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description="Whether a noisy agent harms anybody but itself.")
    parser.add_argument("--waits", type=int, default=5_000, help="requests of the noisy agent (default: 5000)")
    parser.add_argument("--every", type=float, default=0.02, help="seconds between two of them (default: 0.02)")
    parser.add_argument("--questions", type=int, default=1_000, help="of the neighbours, each way (default: 1000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="agent-messaging-noisy-") as directory:
        held = asyncio.run(embedded.ensure(Path(directory, "server"), linger=0))
        try:
            alone, beside, noise = asyncio.run(measured(held.dsn, given.waits, given.every, given.questions))
        finally:
            held.release()
            embedded.stop(Path(directory, "server"))
    slower = p99(beside) / p99(alone)
    facts = {
        "p50_alone": f"{statistics.median(alone) * 1_000:.1f} ms",
        "p99_alone": f"{p99(alone) * 1_000:.1f} ms",
        "p50_beside": f"{statistics.median(beside) * 1_000:.1f} ms",
        "p99_beside": f"{p99(beside) * 1_000:.1f} ms",
        "questions_beside": len(beside),
        "times_slower": round(slower, 2),
    }
    print(f"the noise is a process of its own, at nice {NICE}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"asked: {dict(noise.asked)}\nrefused: {dict(noise.refused)}")
    kept = slower < WORST and noise.total >= given.waits * 0.9 and noise.refused.total() > 0
    record("R17", "a neighbour's questions beside one agent's noise", tried=noise.total, broken=int(not kept), **facts)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
