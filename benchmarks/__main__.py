"""`make bench`: the product beside its floors, round by round, as ratios; writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from agent_messaging import AgentMessaging, Config
from agent_messaging_db import embedded, migrate
from benchmarks import floor, scaling, sizes, tasks, waiting_clients
from benchmarks.product import Product

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


@dataclass
class Figure:
    """One row: what is compared, by which unit, and the bound its ratio is to reach."""

    number: str
    what: str
    unit: str
    reach: float
    higher_is_better: bool
    floors: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(own / base for own, base in zip(self.ours, self.floors, strict=True))

    @property
    def reached(self) -> bool:
        return self.ratio >= self.reach if self.higher_is_better else self.ratio <= self.reach

    def row(self) -> list[str]:
        sign = "≥" if self.higher_is_better else "≤"
        return [
            self.number,
            self.what,
            f"{statistics.median(self.floors):.3g} {self.unit}",
            f"{statistics.median(self.ours):.3g} {self.unit}",
            f"{self.ratio:.2f} ×",
            f"{sign} {self.reach:g} ×",
            "reached" if self.reached else "not reached",
        ]


async def median_ms(one: Callable[[], Awaitable[Any]], times: int) -> float:
    """The median duration of a call, one after the other."""
    durations: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await one()
        durations.append(time.perf_counter() - began)
    return statistics.median(durations) * 1000


async def rate(one: Callable[[int], Awaitable[Any]], *, callers: int, each: int) -> float:
    """Calls per second by so many callers at once."""

    async def caller(number: int) -> None:
        for _ in range(each):
            await one(number)

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return callers * each / (time.perf_counter() - began)


async def measure(dsn: str, rounds: int) -> tuple[list[Figure], str]:
    """Run every cell in turn, `rounds` times."""
    await floor.prepare(dsn)
    lone = Figure("P1", "async send, 1 sender, by p50, against a row a commit", "sends/s", 0.6, True)
    batch = Figure("P2", "async send, 32 senders, against a coalescing writer", "sends/s", 0.4, True)
    plain = Figure("P2", "async send, 32 senders, against 32 connections", "sends/s", 1.0, True)
    many = Figure("P3", "async send, 1,000 senders, against a coalescing writer", "sends/s", 0.4, True)
    ask = Figure("P4", "send_and_wait, handler in the same process, against hand-over", "ms", 1.4, False)
    pairs = Figure("P5", "send_and_wait, 32 pairs, against NOTIFY", "round trips/s", 0.6, True)
    crowd = Figure("P6", "send_and_wait, 1,000 pairs, against NOTIFY", "round trips/s", 0.4, True)
    hand = Figure("P8", "meeting of 3, speak called to next unblocked, against a durable ping-pong", "ms", 2.0, False)
    figures = [lone, batch, plain, many, ask, pairs, crowd, hand]
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=32) as pool,
        AgentMessaging[Any](Config(database_url=dsn)) as sdk,  # pyright: ignore[reportArgumentType]
    ):
        version = await pool.fetchval("SELECT version()")
        inserts, writer = floor.Inserts(pool), floor.Writer(pool)
        by_hand, by_notify, ping = (
            floor.Answers(pool, by_notify=False),
            floor.Answers(pool, by_notify=True),
            floor.PingPong(),
        )
        await by_notify.start(dsn)
        await ping.start(dsn)
        product = Product(sdk)
        await product.prepare(pairs=1000)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            lone.floors.append(1000 / await median_ms(lambda: inserts.send("a", "b"), 300))
            lone.ours.append(1000 / await median_ms(product.send_one, 300))
            for figure, callers, each, bare in (
                (batch, 32, 60, writer.send),
                (plain, 32, 60, inserts.send),
                (many, 1000, 4, writer.send),
            ):
                figure.floors.append(await rate(lambda _, bare=bare: bare("a", "b"), callers=callers, each=each))
                figure.ours.append(await rate(product.send, callers=callers, each=each))
            ask.floors.append(await median_ms(by_hand.ask, 200))
            ask.ours.append(await median_ms(lambda: product.ask(0), 200))
            for figure, callers, each in ((pairs, 32, 20), (crowd, 1000, 2)):
                figure.floors.append(await rate(lambda _: by_notify.ask(), callers=callers, each=each))
                figure.ours.append(await rate(product.ask, callers=callers, each=each))
            hand.floors.append(await median_ms(ping.round, 60))
            hand.ours.append(await product.hand_over_ms(turns=60))
        await by_notify.stop()
        await ping.stop()
    return figures, version


def report(figures: list[Figure], version: str, rounds: int) -> str:
    """The table in Markdown."""
    head = ["", "what", "floor", "ours", "ratio", "reach", ""]
    lines = [head, ["---"] * len(head), *(figure.row() for figure in figures)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`. Each speed is a ratio to a floor on bare asyncpg, measured in the same run on the\n"
        f"same database, interleaved; medians of {rounds} rounds. The machine is shared and noisy.\n\n"
        f"{today}, {platform.machine()}, Python {platform.python_version()}, {version.split(' on ')[0]}, "
        f"event loop {type(asyncio.get_running_loop()).__module__.split('.')[0]}.\n\n{table}\n"
    )


async def main(rounds: int) -> str:
    """Measure on a database of its own; gives the page."""
    with tempfile.TemporaryDirectory(prefix="agent-messaging-bench-") as directory:
        server = await embedded.ensure(Path(directory), linger=0)
        try:
            connection = await asyncpg.connect(server.dsn)
            await migrate.migrate(connection)
            await connection.close()
            figures, version = await measure(server.dsn, rounds)
        finally:
            server.release()
            embedded.stop(Path(directory))
    return report(figures, version, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=["speed", "waiting-clients", "tasks", "scaling", "sizes"], default="speed"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    if arguments.what in ("scaling", "sizes"):
        print(asyncio.run(scaling.main(arguments.rounds) if arguments.what == "scaling" else sizes.main()))
        sys.exit()
    if arguments.what == "waiting-clients":
        print(asyncio.run(waiting_clients.main(arguments.rounds)))
        sys.exit()
    if arguments.what == "tasks":
        print(asyncio.run(tasks.main()))
        sys.exit()
    try:
        import uvloop
    except ImportError:
        text = asyncio.run(main(arguments.rounds))
    else:
        text = uvloop.run(main(arguments.rounds))
    print(text)
    arguments.page.write_text(text, encoding="utf-8")
