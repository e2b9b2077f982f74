"""P4 to P7: asking and waiting for the answer, alone, in pairs and in a crowd, in one process and between two."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg

from benchmarks.answering import another
from benchmarks.floor_asking import Answers, PlainAnswers
from benchmarks.ground import Ground, Round, opened
from benchmarks.product import Product
from benchmarks.timing import medians_ms, rate

PAIRS = 32


@asynccontextmanager
async def asking(ground: Ground) -> AsyncGenerator[Round]:
    scale = ground.scale
    alone = ground.figure("P4", "send_and_wait, 1 pair, p50, against hand-over in the process (e)", "ms", 1.4)
    pairs = ground.figure("P5", "send_and_wait, 32 pairs, against NOTIFY (e)", "round trips/s", 0.6, least=True)
    plain = ground.figure(
        "P5", "send_and_wait, 32 pairs, against a function call a write (b)", "round trips/s", 5.0, least=True
    )
    async with asyncpg.create_pool(ground.dsn, min_size=8, max_size=8) as pool, opened(ground.dsn) as sdk:
        by_hand, by_notify = Answers(pool, by_notify=False), Answers(pool, by_notify=True)
        by_function = PlainAnswers(pool)
        await by_hand.start(ground.dsn)
        product = Product(sdk)
        await product.prepare(pairs=PAIRS, answering=True)
        await product.ask(0)

        async def once() -> None:
            alone.add(*await medians_ms(by_hand.ask, lambda: product.ask(0), scale.calls(300)))
            # Each listens only while it is measured: both hear the same channel.
            each = scale.calls(20)
            await by_notify.start(ground.dsn)
            bare = await rate(lambda _: by_notify.ask(), callers=PAIRS, each=each)
            ours = await rate(product.ask, callers=PAIRS, each=each)
            pairs.add(bare, ours)
            await by_notify.stop()
            await by_function.start(ground.dsn)
            bare = await rate(lambda _: by_function.ask(), callers=PAIRS, each=scale.calls(5))
            await by_function.stop()
            plain.add(bare, await rate(product.ask, callers=PAIRS, each=each))

        yield once


@asynccontextmanager
async def asking_in_a_crowd(ground: Ground) -> AsyncGenerator[Round]:
    callers = ground.scale.crowd
    crowd = ground.figure(
        "P6", f"send_and_wait, {callers:,} pairs, none fails, against NOTIFY (e)", "round trips/s", 0.4, least=True
    )
    async with asyncpg.create_pool(ground.dsn, min_size=8, max_size=8) as pool, opened(ground.dsn) as sdk:
        by_notify = Answers(pool, by_notify=True)
        product = Product(sdk)
        await product.prepare(pairs=callers, answering=True)
        await product.ask(0)

        async def once() -> None:
            await by_notify.start(ground.dsn)
            bare = await rate(lambda _: by_notify.ask(), callers=callers, each=3)
            await by_notify.stop()
            crowd.add(bare, await rate(product.ask, callers=callers, each=3))

        yield once


@asynccontextmanager
async def asking_another_process(ground: Ground) -> AsyncGenerator[Round]:
    alone = ground.figure("P4", "the same, the handler in another process, against NOTIFY (e)", "ms", 1.5)
    pairs = ground.figure(
        "P7", "send_and_wait, 32 pairs between two processes, against NOTIFY (e)", "round trips/s", 0.45, least=True
    )
    async with (
        asyncpg.create_pool(ground.dsn, min_size=8, max_size=8) as pool,
        opened(ground.dsn) as sdk,
    ):
        product = Product(sdk)
        await product.prepare(pairs=PAIRS)
        floor = Answers(pool, by_notify=True, answers=False)
        await floor.start(ground.dsn)
        try:
            async with (
                another("benchmarks.floor_asking", ground.dsn),
                another("benchmarks.answering", ground.dsn, str(PAIRS)),
            ):

                async def once() -> None:
                    alone.add(*await medians_ms(floor.ask, lambda: product.ask(0), ground.scale.calls(300)))
                    each = ground.scale.calls(20)
                    bare = await rate(lambda _: floor.ask(), callers=PAIRS, each=each)
                    pairs.add(bare, await rate(product.ask, callers=PAIRS, each=each))

                yield once
        finally:
            await floor.stop()
