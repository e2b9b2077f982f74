"""The picture: throughput and latency against concurrency, ours beside the floors."""

# Not in the environment of `make check`: only `make bench` installs them.
# pyright: reportMissingImports=false

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.floor import Inserts, Writer
from benchmarks.floor_asking import Answers
from benchmarks.ground import Ground, opened
from benchmarks.product import Product
from benchmarks.timing import percentile, rate

CALLERS = (1, 4, 16, 64, 256)
CALLS = 600
"""At each point, shared by the callers."""


@dataclass
class Curve:
    """What one way of doing it gave at each number of callers."""

    name: str
    ours: bool
    rates: list[float] = field(default_factory=list[float])
    p50s_ms: list[float] = field(default_factory=list[float])


async def curves(ground: Ground) -> dict[str, list[Curve]]:
    """Measure both panels of the picture, by title."""
    async with asyncpg.create_pool(ground.dsn, min_size=32, max_size=32) as pool, opened(ground.dsn) as sdk:
        inserts, writer, answers = Inserts(pool), Writer(pool), Answers(pool, by_notify=True)
        product = Product(sdk)
        await product.prepare(pairs=max(CALLERS), answering=True)
        await answers.start(ground.dsn)
        try:
            return {
                "async send": await measure(
                    {
                        "a row a commit (a)": lambda _: inserts.send("a", "b"),
                        "a coalescing writer (c)": lambda _: writer.send("a", "b"),
                        "agent-messaging": product.send,
                    }
                ),
                "send_and_wait": await measure(
                    {"by hand, with NOTIFY (e)": lambda _: answers.ask(), "agent-messaging": product.ask}
                ),
            }
        finally:
            await answers.stop()


async def measure(ways: dict[str, Callable[[int], Awaitable[Any]]]) -> list[Curve]:
    found = {name: Curve(name, ours=name == "agent-messaging") for name in ways}
    for callers in CALLERS:
        for name, one in ways.items():
            durations: list[float] = []

            async def timed(caller: int, one: Callable[[int], Awaitable[Any]] = one, into: list[float] = durations):
                began = time.perf_counter()
                await one(caller)
                into.append((time.perf_counter() - began) * 1000)

            found[name].rates.append(await rate(timed, callers=callers, each=max(CALLS // callers, 3)))
            found[name].p50s_ms.append(percentile(durations, 50))
    return list(found.values())


async def draw(ground: Ground, path: Path) -> bool:
    """Measure and draw; says whether matplotlib is there to do it."""
    if find_spec("matplotlib") is None:
        print("not drawn: matplotlib is not installed (`make bench` installs it)", file=sys.stderr)
        return False
    _draw(await curves(ground), path)
    return True


def _draw(panels: dict[str, list[Curve]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    # The same picture gives the same file, and its words stay words.
    mpl.rcParams.update({"svg.hashsalt": "agent-messaging", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(panels), figsize=(9, 6), sharex=True, squeeze=False, layout="constrained")
    for column, (title, lines) in enumerate(panels.items()):
        above, below = axes[0][column], axes[1][column]
        above.set_title(title)
        for curve in lines:
            style: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 2.2 if curve.ours else 1.2}
            if not curve.ours:
                style["linestyle"] = "--"
            above.plot(CALLERS, curve.rates, label=curve.name, **style)
            below.plot(CALLERS, curve.p50s_ms, label=curve.name, **style)
        for axis, label in ((above, "calls per second"), (below, "p50, ms")):
            axis.set_xscale("log", base=4)
            axis.set_yscale("log")
            axis.set_xticks(CALLERS, [str(callers) for callers in CALLERS])
            axis.set_ylabel(label)
            axis.grid(visible=True, which="major", linewidth=0.3)
        above.legend(frameon=False)
        below.set_xlabel("callers at once")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
