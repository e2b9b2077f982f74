"""The floor of everything over MCP: a bare server of the SDK, with a tool that does nothing, one that waits, and one
that makes a durable insert into `DATABASE_URL` as one would write it by hand.

`python -m benchmarks.bare_server` listens on a free port and says which; with `stdio` it serves on standard input and
output.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

import asyncpg
import uvicorn
from mcp.server import MCPServer

_holding = 0
_pool: asyncpg.Pool[Any] | None = None
_never = asyncio.Event()

server = MCPServer("bare", version="1", log_level="WARNING")


@server.tool()
async def noop(to: str, message: str) -> str:
    """Does nothing."""
    return f"{to}: {len(message)}"


@server.tool()
async def keep(to: str, message: str) -> str:
    """Keeps a message, and answers when it is safe."""
    global _pool
    if _pool is None:
        _pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=1)
    await _pool.execute("INSERT INTO floor_messages (recipient, content) VALUES ($1, $2)", to, message)
    return f"{to}: {len(message)}"


@server.tool()
async def wait(wait_seconds: float) -> str:
    """Waits for what never comes."""
    global _holding
    _holding += 1
    try:
        async with asyncio.timeout(wait_seconds):
            await _never.wait()
    finally:
        _holding -= 1
    return "it came"


@server.tool()
async def holding() -> int:
    """How many waits are held."""
    return _holding


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=2_048)
    config = uvicorn.Config(
        server.streamable_http_app(),
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=1,
    )
    print(f"Listening: http://127.0.0.1:{listening.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    if "stdio" in sys.argv:
        asyncio.run(server.run_stdio_async())
    else:
        main()
