"""P1, P2, P3: sending, alone and in a crowd."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg

from benchmarks.floor import Functions, Inserts, Writer
from benchmarks.ground import Ground, Round, opened
from benchmarks.product import Product
from benchmarks.timing import medians_ms, rate

FEW = 32


@asynccontextmanager
async def sending(ground: Ground) -> AsyncGenerator[Round]:
    scale = ground.scale
    crowd = f"async send, {scale.crowd:,} senders, against a coalescing writer (c)"
    alone = ground.figure("P1", "async send, 1 sender, by p50, against a row a commit (a)", "sends/s", 0.6, least=True)
    by_hand = ground.figure("", "the same floor beside (b): look-up, insert and NOTIFY in one transaction", "ms")
    few = ground.figure("P2", "async send, 32 senders, against a coalescing writer (c)", "sends/s", 0.4, least=True)
    plain = ground.figure("P2", "async send, 32 senders, against 32 connections (a)", "sends/s", 1.0, least=True)
    many = ground.figure("P3", crowd, "sends/s", 0.4, least=True)
    keyed = ground.figure("P3", f"{crowd}, an idempotency key on every send", "sends/s", 0.3, least=True)
    async with asyncpg.create_pool(ground.dsn, min_size=FEW, max_size=FEW) as pool, opened(ground.dsn) as sdk:
        inserts, functions, writer = Inserts(pool), Functions(pool), Writer(pool)
        product = Product(sdk)
        await product.prepare(pairs=max(scale.crowd, FEW))
        keys = itertools.count()

        async def once() -> None:
            times = scale.calls(500)
            bare, ours = await medians_ms(lambda: inserts.send("a", "b"), lambda: product.send(0), times)
            alone.add(1000 / bare, 1000 / ours)
            by_hand.add(
                *await medians_ms(lambda: inserts.send("a", "b"), lambda: functions.send("asker0", "reader0"), times)
            )
            each = scale.calls(60)
            bare = await rate(lambda _: writer.send("a", "b"), callers=FEW, each=each)
            ours = await rate(product.send, callers=FEW, each=each)
            few.add(bare, ours)
            bare = await rate(lambda _: inserts.send("a", "b"), callers=FEW, each=each)
            ours = await rate(product.send, callers=FEW, each=each)
            plain.add(bare, ours)
            each = scale.calls(5)
            bare = await rate(lambda _: writer.send("a", "b"), callers=scale.crowd, each=each)
            ours = await rate(product.send, callers=scale.crowd, each=each)
            many.add(bare, ours)
            ours = await rate(lambda caller: product.send(caller, key=f"k{next(keys)}"), callers=scale.crowd, each=each)
            keyed.add(bare, ours)

        yield once
