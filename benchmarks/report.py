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
        f"{table(figures)}\n\n{NOTES}{drawn}"
    )


def where(version: str) -> str:
    """Date, machine and versions."""
    today = datetime.datetime.now(datetime.UTC).date()
    loop = type(asyncio.get_running_loop()).__module__.split(".")[0]
    return (
        f"{today}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores,\n"
        f"Python {platform.python_version()} ({loop}), {version.split(' on ')[0]}"
    )
