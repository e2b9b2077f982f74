"""A host of its own process, made to be killed: `caller JSON`, with the arguments of `host` or of `network_host`.

Each line on its standard input is a tool and its arguments; the calls are made side by side, and nobody is told what
comes of them. It says `connected` once it is.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.mcp_server.hosts import Host, host, network_host


async def main(given: dict[str, Any]) -> None:
    connecting = network_host(**given) if "address" in given else host(**given)
    async with connecting as connected:
        print("connected", flush=True)
        await call(connected)


async def call(connected: Host) -> None:
    calls: list[asyncio.Task[Any]] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        tool, arguments = json.loads(line)
        calls.append(asyncio.create_task(connected.result(tool, **arguments)))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
