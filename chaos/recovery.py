"""`python -m chaos recovery`: how long blocked waits and held turns take to recover from faults (R6, R7).

Every wait is timed from the fault, or from PostgreSQL's return, to the end of the last call that its client made for
it; one that did not end is `inf`. What it waits for happens during the fault or right after it. Where a stdio server is
killed, its host starts it again: what a start takes without more ado is measured, and allowed on top.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.grounds import Ground, ground
from chaos.proxy_link import Fault as Proxied
from chaos.recovery_faults import BATCHES, REACH, Fault
from chaos.recovery_group import Client, Group, Waiter, group, ready
from chaos.recovery_rounds import one_round
from chaos.recovery_turns import turns
from tools.figures import record

TURNS = "every process killed, one started: after the turn's deadline"
TURN_REACH = 2.0
ENOUGH_WAITS = 100
ENOUGH_TURNS = 20
"""How many a figure rests on at least: so many waits a fault, all clients together, and so many turns."""
FROZEN = (Fault.LISTEN_FROZEN, Fault.POOL_FROZEN, Fault.ALL_FROZEN)
HEAD = ("fault", "sweep", "client", "fired", "waits", "unfinished", "called again", "p50", "p99", "max", "reach", "")


@dataclass
class Row:
    """What came of one fault for one kind of client."""

    fault: str
    sweep: str
    client: str
    reach: float
    fired: int = 0
    again: int = 0
    seconds: list[float] = field(default_factory=list[float])
    unmet: int = 0
    """Faults that were ordered and met nothing."""

    def percentile(self, p: int) -> float:
        """The seconds within which `p` of 100 had ended."""
        return sorted(self.seconds)[max(0, math.ceil(len(self.seconds) * p / 100) - 1)]

    @property
    def reached(self) -> bool:
        """Whether enough was tried, everything ended, and soon enough."""
        struck = self.fired > 0 and not self.unmet
        return struck and bool(self.seconds) and not self.unfinished and self.percentile(99) < self.reach

    @property
    def unfinished(self) -> int:
        """How many never ended."""
        return sum(map(math.isinf, self.seconds))

    @property
    def verdict(self) -> str:
        """The word for it; what is only there for comparison has none unless it failed."""
        if not self.reached:
            return "NOT REACHED"
        return "reached" if math.isfinite(self.reach) else ""

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        times = (self.percentile(50), self.percentile(99), max(self.seconds))
        return (
            self.fault,
            self.sweep,
            self.client,
            str(self.fired),
            str(len(self.seconds)),
            str(self.unfinished),
            str(self.again),
            *(f"{seconds:.2f} s" for seconds in times),
            f"< {self.reach:.3g} s" if math.isfinite(self.reach) else "",
            self.verdict,
        )

    def facts(self) -> dict[str, Any]:
        """The row for a program to read."""
        return {
            "fault": self.fault,
            "sweep": self.sweep,
            "client": self.client,
            "fired": self.fired,
            "waits": len(self.seconds),
            "unfinished": self.unfinished,
            "called_again": self.again,
            "p50": _finite(self.percentile(50)),
            "p99": _finite(self.percentile(99)),
            "max": _finite(max(self.seconds)),
            "reach": _finite(self.reach),
            "reached": self.reached,
        }


def main(argv: Sequence[str]) -> int:
    """Run it; gives the exit code: 1 if a figure was not reached."""
    parser = argparse.ArgumentParser(prog="python -m chaos recovery", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="repeats the choices of another run")
    parser.add_argument("--rounds", type=int, default=5, help="of each fault, with 48 waits each (default: 5)")
    parser.add_argument(
        "--cycles", type=int, default=7, help="of kill all and start one, with 3 turns each (default: 7)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--only", choices=[*(fault.name.lower() for fault in Fault), "turns"], help="one fault")
    given = parser.parse_args(argv)
    print(f"seed {given.seed}", file=sys.stderr)
    began = time.monotonic()
    rows = asyncio.run(_measure(given.seed, given.rounds, given.cycles, given.only))
    facts = {"seed": given.seed, "load": os.getloadavg()[0], "took": round(time.monotonic() - began, 1)}
    few = [] if given.only else too_few(rows)
    record_figures(rows, given.seed)
    if given.json:
        print(json.dumps(facts | {"too_few": few, "rows": [row.facts() for row in rows]}, indent=2))
    else:
        print(_table(rows))
        print(f"\nseed {given.seed}; {facts['took']:g} s; load {facts['load']:.1f} on {os.cpu_count()} cores")
        print(f"replay: python -m chaos recovery --seed {given.seed} --rounds {given.rounds} --cycles {given.cycles}")
        print("".join(f"too few were tried: {fault}\n" for fault in few), end="")
    return 0 if rows and not few and all(row.reached for row in rows) else 1


def too_few(rows: Sequence[Row]) -> list[str]:
    """Name the faults of which not enough was seen to speak of a 99th percentile."""
    seen = Counter[tuple[str, str]]()
    for row in rows:
        seen[row.fault, row.sweep] += len(row.seconds)
    least = {TURNS: ENOUGH_TURNS, Fault.STARTED_AGAIN: ENOUGH_TURNS}
    return [f"{fault}, sweep {sweep}" for (fault, sweep), many in seen.items() if many < least.get(fault, ENOUGH_WAITS)]


def record_figures(rows: Sequence[Row], seed: int) -> None:
    """The figures of each fault, for docs/promises.md: of all clients together, the slowest kind's percentile."""
    for fault in dict.fromkeys(row.fault for row in rows if math.isfinite(row.reach)):
        mine = [row for row in rows if row.fault == fault]
        record(
            "R7" if fault == TURNS else "R6",
            fault,
            tried=sum(len(row.seconds) for row in mine),
            broken=sum(seconds >= row.reach for row in mine if not row.reached for seconds in row.seconds),
            p99=f"{max(row.percentile(99) for row in mine):.2f} s",
            reach=f"{min(row.reach for row in mine):.3g} s",
            seed=seed,
        )


async def _measure(seed: int, rounds: int, cycles: int, only: str | None) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="agent-messaging-recovery-") as logs:
        async with ground() as ours:
            if only != "turns":
                for sweep in (True, False):
                    faults = [fault for fault in Fault if only in (None, fault.name.lower())]
                    rows += await _waits(ours, Path(logs), faults, rounds, random.Random(seed), sweep=sweep)
            if only in (None, "turns"):
                rows.append(await _turns(ours, Path(logs), cycles, random.Random(seed)))
    return rows


async def _waits(
    ours: Ground, logs: Path, faults: Sequence[Fault], rounds: int, rng: random.Random, *, sweep: bool
) -> list[Row]:
    label = "on" if sweep else "off"
    rows: list[Row] = []
    if not sweep:  # whoever calls again looks at once, sweep or not
        faults = [fault for fault in faults if fault not in (Fault.KILLED, Fault.STARTED_AGAIN)]
    if not faults:
        return rows
    async with group(ours, logs, each=21, stdio=4, sweep=sweep) as started:
        for fault in faults:
            # Starting a process is no recovery of ours, nor how fast the machine does it.
            extra = await _start_again(started) if fault is Fault.STARTED_AGAIN else 0.0
            found = {client: Row(fault, label, client, REACH[fault] + extra) for client in Client}
            waiters, batches = _affected(started, fault), BATCHES.get(fault, 1)
            for number in range(rounds * batches):
                chosen = waiters[number % batches :: batches]
                await _round(started, fault, chosen, rng, f"{label} {fault.name} {number}", found)
            rows += [row for row in found.values() if row.seconds]
            print(f"sweep {label}: {fault}, {rounds} times", file=sys.stderr)
    return rows


async def _start_again(started: Group) -> float:
    """How long it takes until stdio servers that are killed and started together answer a call, without more ado."""
    for process in started.stdio:
        await process.kill()
    began = time.monotonic()
    await asyncio.gather(*(process.start() for process in started.stdio))
    await asyncio.gather(*(ready(process, "list_agents") for process in started.stdio))
    return time.monotonic() - began


async def _round(
    started: Group,
    fault: Fault,
    waiters: Sequence[Waiter],
    rng: random.Random,
    name: str,
    rows: dict[Client, Row],
) -> None:
    for number, waiter in enumerate(waiters):
        waiter.at = 0 if fault is Fault.KILLED else number % len(waiter.lines)
    print(f"{name} …", file=sys.stderr)
    withheld = started.proxy.fired[Proxied.WITHHELD]
    strike, timed = await one_round(started, fault, waiters, rng, name)
    unmet = fault in FROZEN and started.proxy.fired[Proxied.WITHHELD] == withheld
    await strike.heal()
    await started.clear()
    for one in timed:
        if math.isinf(one.seconds):
            print(f"never ended: {name}, {one.waiter.agent}, {one.waiter.kind}, call {one.calls}", file=sys.stderr)
    for client, row in rows.items():
        mine = [one for one in timed if one.waiter.client is client]
        row.seconds += [one.seconds for one in mine]
        row.again += sum(one.calls - 1 for one in mine)
        row.fired += strike.fired
        row.unmet += unmet


def _affected(started: Group, fault: Fault) -> list[Waiter]:
    match fault:
        case Fault.KILLED:
            return [waiter for waiter in started.waiters if waiter.client is not Client.STDIO]
        case Fault.STARTED_AGAIN:
            return [waiter for waiter in started.waiters if waiter.client is Client.STDIO]
        case _:
            return started.waiters


async def _turns(ours: Ground, logs: Path, cycles: int, rng: random.Random) -> Row:
    row = Row(TURNS, "on", "any", TURN_REACH)
    for passed in await turns(ours, logs, cycles=cycles, each=3, rng=rng):
        row.seconds.append(passed.late)
        row.again += passed.process_late > 0
    row.fired = cycles
    return row


def _table(rows: Sequence[Row]) -> str:
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _finite(seconds: float) -> float | None:
    return round(seconds, 3) if math.isfinite(seconds) else None
