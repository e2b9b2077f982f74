"""Peers that do a part of the work, beside ours in one run: enqueueing a message, and waking whoever waits for one.

pgqueuer and procrastinate are job queues over PostgreSQL and LISTEN/NOTIFY. They promise other things; what is compared
is one durable row a call, and how soon a worker that waits has it. Neither is needed: what is not installed is said.
"""

# Not in the environment of `make check`: only `make bench` installs them.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Any

import asyncpg

from benchmarks.floor import BODY
from benchmarks.ground import Ground, Round, opened
from benchmarks.product import Product
from benchmarks.timing import medians_ms

Peer = tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]]
"""Enqueue a message; enqueue one and wait until a worker has it."""


@asynccontextmanager
async def peers(ground: Ground) -> AsyncGenerator[Round]:
    openers = {"pgqueuer": pgqueuer, "procrastinate": procrastinate}
    missing = [name for name in openers if find_spec(name) is None]
    if missing:
        print(f"not installed, so not measured: {', '.join(missing)} (`make bench` installs them)", file=sys.stderr)
    async with AsyncExitStack() as stack:
        sdk = await stack.enter_async_context(opened(ground.dsn))
        product = Product(sdk)
        await product.prepare(pairs=1)
        arrived = Arrivals()
        sdk.register_handler("answerer0")(arrived.handle)
        await sdk.get_agent("answerer0")

        async def wake() -> None:
            await arrived.after(sdk.async_conversation.send("asker0", "answerer0", BODY))

        measured = []
        for name in openers.keys() - set(missing):
            enqueue = ground.figure("", f"send, 1 sender, p50, beside {name}'s enqueue", "ms")
            wakes = ground.figure("", f"send until a handler has it, p50, beside {name}", "ms")
            dsn = await ground.database(name)
            measured.append((enqueue, wakes, await stack.enter_async_context(openers[name](dsn))))

        async def once() -> None:
            times = ground.scale.calls(100)
            for enqueue, wakes, (put, put_and_wait) in measured:
                enqueue.add(*await medians_ms(put, lambda: product.send(0), times))
                wakes.add(*await medians_ms(put_and_wait, wake, times))

        yield once


class Arrivals:
    """One job at a time, and the moment when it has arrived."""

    def __init__(self) -> None:
        self._here: asyncio.Future[None] | None = None

    async def handle(self, *_: Any, **__: Any) -> None:
        if self._here is not None and not self._here.done():
            self._here.set_result(None)

    async def after(self, put: Awaitable[Any]) -> None:
        self._here = asyncio.get_running_loop().create_future()
        await put
        async with asyncio.timeout(30):
            await self._here
        self._here = None


@asynccontextmanager
async def pgqueuer(dsn: str) -> AsyncGenerator[Peer]:
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    arrived = Arrivals()
    sending, working = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    queries = Queries(AsyncpgDriver(sending))
    await queries.install()
    worker = PgQueuer(AsyncpgDriver(working))
    worker.entrypoint("wake")(arrived.handle)
    running = asyncio.create_task(worker.run(batch_size=1))
    try:
        yield (
            lambda: queries.enqueue("nobody", BODY.encode()),
            lambda: arrived.after(queries.enqueue("wake", BODY.encode())),
        )
    finally:
        worker.shutdown.set()
        await asyncio.wait([running], timeout=10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sending.close()
        await working.close()


@asynccontextmanager
async def procrastinate(dsn: str) -> AsyncGenerator[Peer]:
    from procrastinate import App, PsycopgConnector

    arrived = Arrivals()
    app = App(connector=PsycopgConnector(conninfo=dsn, min_size=2, max_size=4))
    wake = app.task(name="wake", queue="wake")(arrived.handle)
    ignored = app.task(name="ignored", queue="nobody")(arrived.handle)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        running = asyncio.create_task(
            app.run_worker_async(queues=["wake"], install_signal_handlers=False, concurrency=1)
        )
        try:
            yield (
                lambda: ignored.defer_async(body=BODY),
                lambda: arrived.after(wake.defer_async(body=BODY)),
            )
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
