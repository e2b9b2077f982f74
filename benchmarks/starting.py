"""P13: from the start of a stdio server to its first tool result, as a host lives through it."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

from agent_messaging_db import embedded
from benchmarks.ground import Ground, Round

STARTS = 3
"""In a round: a single start is shorter than many a disturbance."""


@asynccontextmanager
async def starting(ground: Ground) -> AsyncGenerator[Round]:
    later = ground.figure(
        "P13", "stdio start to first tool result, embedded database running, against a bare server", "s", 1.6
    )
    first = ground.figure("P13", "the first start ever, `initdb` included", "s", 6, absolute=True)

    async def once() -> None:
        with tempfile.TemporaryDirectory(prefix="agent-messaging-bench-") as directory:
            data_dir = Path(directory)
            try:
                first.add_absolute(await ours(data_dir))
                share = await embedded.ensure(data_dir)
                try:
                    pairs = [(await bare(), await ours(data_dir)) for _ in range(STARTS)]
                finally:
                    share.release()
                for floor, own in pairs:
                    later.add(floor, own)
            finally:
                embedded.stop(data_dir)

    yield once


async def bare() -> float:
    """Seconds of the bare server."""
    return await first_result(["-m", "benchmarks.bare_server", "stdio"], {}, "noop", {"to": "x", "message": "y"})


async def ours(data_dir: Path) -> float:
    """Seconds of ours, on the embedded database of this directory."""
    environment = {"AGENT_MESSAGING_DATA_DIR": str(data_dir)}
    return await first_result(["-m", "agent_messaging_mcp", "--agent", "starter"], environment, "list_agents", {})


async def first_result(module: list[str], environment: dict[str, str], tool: str, arguments: dict[str, Any]) -> float:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PG", "POSTGRES_", "DATABASE"))
    }
    parameters = StdioServerParameters(command=sys.executable, args=module, env=inherited | environment)
    began = time.perf_counter()
    async with Client(parameters) as client:
        result = await client.call_tool(tool, arguments)
        elapsed = time.perf_counter() - began
        assert not result.is_error, result
    return elapsed
