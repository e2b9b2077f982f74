"""The page docs/benchmarks.md: what was measured, where, and what reached what."""

from __future__ import annotations

import asyncio
import datetime
import os
import platform
from pathlib import Path

from benchmarks.figures import Figure, table

NOTES = """\
(a) one row, one commit. (b) one function that looks up, inserts and notifies in one transaction. (c) a coalescing
writer: one multi-row INSERT and one NOTIFY for each batch. (d) a durable insert and a NOTIFY there and back. (e)
durable questions and answers over (c), woken by NOTIFY, or by hand-over inside the process where that is said. All of
them are in `benchmarks/`, as somebody would write them by hand; none keeps a promise of the product's but durability.

A row without a number or a bound is told beside the others and judged by nobody.
"""

BOUNDED_BY = {
    "P4": (
        "between two processes, a claim and a look at the outcome each take two to four times what a fetch by"
        " key takes: the one decides who handles, the other joins three tables."
    ),
    "P5": (
        "(b) waits for the disk, twice for each round trip, and ours for the processors: where a flush takes "
        "longer the ratio rises (5 × at 950 round trips/s of (b), 2.5 to 3 × at 2,000)."
    ),
    "P8": (
        "two statements, one of them flushed, are 0.55 ms of it; deciding by the rules and making the signal "
        "are the rest."
    ),
    "P11": (
        "a no-op tool never leaves the processor. A bare server whose tool makes one insert by hand is 1.4 to"
        " 1.6 times the no-op already; against that one see the row below."
    ),
}
"""What keeps a figure from its bound, as far as it is known; shown where the bound was not reached."""


def page(figures: list[Figure], *, version: str, rounds: int, picture: Path | None) -> str:
    """The page in Markdown."""
    drawn = "" if picture is None else f"\n![throughput and latency against concurrency]({picture.name})\n"
    missed = [figure for figure in figures if figure.reached is False]
    judged = [figure for figure in figures if figure.reached is not None]
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`. Each speed is a ratio to a floor that was measured in the same run on the same\n"
        f"database, interleaved; medians of {rounds} rounds. The machine is shared and noisy: the ratios count.\n\n"
        f"{where(version)}. {len(judged) - len(missed)} of {len(judged)} bounds reached.\n\n"
        f"{table(figures)}\n\n{NOTES}{_bounds(missed)}{drawn}"
    )


def _bounds(missed: list[Figure]) -> str:
    known = [number for number in BOUNDED_BY if any(figure.number == number for figure in missed)]
    if not known:
        return ""
    lines = "\n".join(f"- {number}: {BOUNDED_BY[number]}" for number in known)
    return f"\nWhat bounds those that were not reached:\n\n{lines}\n"


def where(version: str) -> str:
    """Date, machine and versions."""
    today = datetime.datetime.now(datetime.UTC).date()
    loop = type(asyncio.get_running_loop()).__module__.split(".")[0]
    return (
        f"{today}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores,\n"
        f"Python {platform.python_version()} ({loop}), {version.split(' on ')[0]}"
    )
