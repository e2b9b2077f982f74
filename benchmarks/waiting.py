"""P9: thousands of agents blocked in one process. `python -m benchmarks.waiting DSN COUNT SENDS` is that process."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from agent_messaging import AgentMessaging
from benchmarks.floor import BODY
from benchmarks.ground import Ground, Round, opened
from benchmarks.loop import run
from benchmarks.timing import durations_ms, percentile

POOL = 10
LISTENER_AND_LEASE = 2
FIRST = 50
"""Waits that are there before anything is measured: what the first ones bring along is paid once."""


@asynccontextmanager
async def waiting(ground: Ground) -> AsyncGenerator[Round]:
    waits = ground.scale.waits
    what = f"{waits:,} agents blocked in one process, half on a question and half on a message"
    memory = ground.figure("P9", f"{what}: memory each", "KiB", 4, absolute=True)
    connections = ground.figure("P9", "the same: connections", "", POOL + LISTENER_AND_LEASE, absolute=True)
    p50 = ground.figure("", "the same: a send meanwhile, p50, against p50 unloaded", "ms")
    p99 = ground.figure("P9", "the same: a send meanwhile, p99, against p99 unloaded", "ms", 2.0)

    async def once() -> None:
        found = await blocked(ground.dsn, waits, sends=ground.scale.calls(500))
        memory.add_absolute(found["kib_each"])
        connections.add_absolute(found["connections"])
        for figure, p in ((p50, 50), (p99, 99)):
            figure.add(percentile(found["unloaded_ms"], p), percentile(found["loaded_ms"], p))

    yield once


async def blocked(dsn: str, waits: int, *, sends: int) -> dict[str, Any]:
    """What a process of its own says of so many waits."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.waiting", dsn, str(waits), str(sends), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, "the process with the waits has failed"
    return json.loads(said)


async def measure(dsn: str, waits: int, sends: int) -> dict[str, Any]:
    async with opened(dsn, max_pool_size=POOL) as sdk:
        await register(sdk, waits + FIRST)

        async def send() -> None:
            await sdk.async_conversation.send("waker", "reader", BODY)

        await durations_ms(send, min(sends, 50))
        tasks: list[asyncio.Task[Any]] = []
        await block(sdk, tasks, range(FIRST))
        unloaded = await durations_ms(send, sends)
        before = resident_kib()
        await block(sdk, tasks, range(FIRST, FIRST + waits))
        kib_each = (resident_kib() - before) / waits
        loaded = await durations_ms(send, sends)
        assert not any(task.done() for task in tasks), "a wait has ended meanwhile"
        connections = await count_connections(dsn)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"kib_each": kib_each, "connections": connections, "unloaded_ms": unloaded, "loaded_ms": loaded}


async def register(sdk: AgentMessaging[Any], waits: int) -> None:
    await sdk.register_organization("bench", "Bench", exist_ok=True)
    names = ["waker", "reader", *(f"{role}{number}" for number in range(waits) for role in ("blocked", "silent"))]
    for begin in range(0, len(names), 200):
        await asyncio.gather(
            *(sdk.register_agent(name, "bench", name, exist_ok=True) for name in names[begin : begin + 200])
        )


async def block(sdk: AgentMessaging[Any], tasks: list[asyncio.Task[Any]], numbers: range) -> None:
    """Begin these waits, and see them all wait."""
    for number in numbers:
        me, other = f"blocked{number}", f"silent{number}"
        if number % 2:
            wait = sdk.sync_conversation.send_and_wait(me, other, BODY, timeout=600)
        else:
            wait = sdk.async_conversation.wait_for_message(me, other, timeout=600)
        tasks.append(asyncio.create_task(wait))
    async with asyncio.timeout(300):
        while sdk.measures.snapshot().waits_open < len(tasks):  # noqa: ASYNC110 - nothing tells when the last one sleeps
            await asyncio.sleep(0.05)
    await asyncio.sleep(2.5)  # the sweep that tells of them has run
    gc.collect()


async def count_connections(dsn: str) -> int:
    database: asyncpg.Connection[Any] = await asyncpg.connect(dsn)
    try:
        # The run itself has none open to this database while this process measures.
        return await database.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await database.close()


def resident_kib() -> float:
    return float(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])


if __name__ == "__main__":
    print(json.dumps(run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
