"""Measures how soon fifty agents that echo each other are silenced: `python -m tests.hostile.echo [--rounds 5]`.

The exit code is 1 if anything was accepted after the switch had committed, or if it took a second or more until the
switch had returned and the last handler rested.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from agent_messaging_db import embedded
from tests.conftest import connect
from tests.hostile.echoing import echoing
from tests.protocol.world import ORGANIZATION, eventually, fetch, opened
from tools.figures import record

AGENTS = 50
TWICE = 2
LONGEST = 1.0
"""Seconds that silence may take."""
_AT_WORK = "SELECT FROM deliveries WHERE read_at IS NULL AND claimed_by IS NOT NULL LIMIT 1"


@dataclass(frozen=True, slots=True)
class Round:
    """One echo, silenced: how fast it was before, how long the switch took, and until the last handler rested; what
    was accepted after the switch had committed.
    """

    per_second: float
    switched: float
    at_rest: float
    afterwards: int


async def measured(dsn: str, messages: int) -> Round:
    """Let an echo grow to so many messages, and silence it."""
    async with echoing(dsn, agents=AGENTS, times=TWICE, max_hops=0) as echo, opened(dsn) as operator:
        began = time.perf_counter()
        await echo.begin()
        await eventually(lambda: fetch(dsn, f"SELECT FROM messages OFFSET {messages} LIMIT 1"))
        per_second = messages / (time.perf_counter() - began)
        async with connect(dsn) as database:
            before = time.perf_counter()
            await operator.silences.silence_organization(ORGANIZATION)
            switched = time.perf_counter() - before
            count = await database.fetchval("SELECT count(*) FROM messages")
            while await database.fetchrow(_AT_WORK) is not None:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.005)
            at_rest = time.perf_counter() - before
            await asyncio.sleep(3)
            afterwards = await database.fetchval("SELECT count(*) FROM messages") - count
    return Round(per_second, switched, at_rest, afterwards)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description="How soon fifty agents that echo each other are silenced.")
    parser.add_argument("--rounds", type=int, default=5, help="echoes (default: 5)")
    parser.add_argument("--messages", type=int, default=1_500, help="how far each one grows before (default: 1500)")
    given = parser.parse_args()
    rounds: list[Round] = []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory(prefix="agent-messaging-echo-") as directory:
            held = asyncio.run(embedded.ensure(Path(directory, "server"), linger=0))
            try:
                rounds.append(asyncio.run(measured(held.dsn, given.messages)))
            finally:
                held.release()
        print(rounds[-1])
    late = sum(one.afterwards > 0 or one.at_rest >= LONGEST for one in rounds)
    record(
        "R17",
        "echoes of fifty agents, silenced",
        tried=len(rounds),
        broken=late,
        messages_a_second_before=round(statistics.median(one.per_second for one in rounds)),
        switch_median=f"{statistics.median(one.switched for one in rounds) * 1_000:.1f} ms",
        switch_most=f"{max(one.switched for one in rounds) * 1_000:.1f} ms",
        at_rest_most=f"{max(one.at_rest for one in rounds) * 1_000:.1f} ms",
        accepted_afterwards=sum(one.afterwards for one in rounds),
    )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
