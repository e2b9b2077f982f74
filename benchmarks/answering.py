"""A process that answers: `python -m benchmarks.answering DSN PAIRS`, until its input ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from benchmarks.ground import opened
from benchmarks.loop import run
from benchmarks.product import Product


@asynccontextmanager
async def another(*module: str) -> AsyncGenerator[None]:
    """A process of ours that is ready when it has said something, and ends when its input does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            said = await process.stdout.readline()
        assert said, f"{module[0]} has failed"
        yield
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def serve(dsn: str, pairs: int) -> None:
    """Answer until standard input ends."""
    async with opened(dsn) as sdk:
        Product(sdk).answer(pairs)
        await sdk.get_agent("answerer0")  # the first call writes the registrations
        print("answering", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    run(serve(sys.argv[1], int(sys.argv[2])))
