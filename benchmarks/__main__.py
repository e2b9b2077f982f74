"""`make bench`: the product beside its floors, round by round, as ratios; writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import families, report, scaling, sizes, tasks, waiting_clients
from benchmarks.figures import Figure
from benchmarks.ground import LARGE, SMALLEST, USUAL, Ground, Scale, ground
from benchmarks.loop import run
from benchmarks.picture import draw

APART: dict[str, Callable[[int], Coroutine[Any, Any, str]]] = {
    "waiting-clients": waiting_clients.main,
    "tasks": lambda _: tasks.main(),
    "scaling": scaling.main,
    "sizes": lambda _: sizes.main(),
}
"""What is measured by itself, with a table of its own."""
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


async def measure(here: Ground, chosen: set[str], rounds: int) -> list[Figure]:
    """Run each family that has one of these figures; gives the figures that were chosen, and what belongs to them."""
    for numbers, family in families.FAMILIES.items():
        if not chosen & set(numbers):
            continue
        await at_rest(here)
        async with family(here) as once:
            for number in range(rounds):
                began = time.monotonic()
                await once()
                took = time.monotonic() - began
                print(f"{', '.join(numbers)}: round {number + 1} of {rounds}, {took:.0f} s", file=sys.stderr)
    return [figure for figure in here.figures if not figure.number or figure.number in chosen]


async def at_rest(here: Ground) -> None:
    """Do now what the last family left to the server: else it vacuums and writes while the next one is measured."""
    connection = await asyncpg.connect(here.dsn)
    try:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def main(scale: Scale, chosen: set[str], rounds: int, page: Path | None) -> str:
    """Measure on a database of its own, and draw the picture beside `page`, if there is one; gives the page."""
    async with ground(scale) as here:
        connection = await asyncpg.connect(here.dsn)
        version = await connection.fetchval("SELECT version()")
        await connection.close()
        figures = await measure(here, chosen, rounds)
        picture = None if page is None else page.with_suffix(".svg")
        if picture is not None and not await draw(here, picture):
            picture = None
        return report.page(figures, version=version, rounds=rounds, picture=picture)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["speed", *APART], default="speed")
    parser.add_argument("--only", metavar="P1,P4", help="these figures alone; nothing is written")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="5 million messages, 10,000 waits; nothing is written")
    parser.add_argument(
        "--smallest", action="store_true", help="a few calls each, to see that it runs; nothing is written"
    )
    parser.add_argument("--page", type=Path, help=f"where to write (default: {PAGE.relative_to(PAGE.parent.parent)})")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    if given.what in APART:
        print(run(APART[given.what](given.rounds)))
        sys.exit()
    only = families.chosen(given.only, given.large)
    partly = given.only or given.large or given.smallest
    scale = LARGE if given.large else SMALLEST if given.smallest else USUAL
    page = given.page if partly else given.page or PAGE
    text = run(main(scale, only, given.rounds, page))
    print(text)
    if page is not None:
        page.write_text(text, encoding="utf-8")
