"""`make chaos`: real processes on a real database under fire for a minute, and what became of every operation.

`python -m chaos [--duration 30m] [--seed N]`, `python -m chaos stale [--times 200]`, `python -m chaos check DIRECTORY`,
`python -m chaos recovery …`.
"""

from __future__ import annotations

import argparse
import importlib
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from chaos import history, run
from chaos.checker import check
from chaos.kinds import Kind
from chaos.plan import twelve_pairs_and_two_meetings
from chaos.report import Report


def main(arguments: list[str]) -> int:
    """Run, print, and give the exit code."""
    match arguments:
        case [("recovery" | "stale") as name, *rest]:
            return importlib.import_module(f"chaos.{name}").main(rest)
        case ["check", directory]:
            verdict = check(history.read_all(Path(directory)))
            print("\n".join(map(str, verdict.violations)) or "nothing is broken")
            return bool(verdict.violations)
        case _:
            return _chaos(arguments)


def _chaos(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Real processes under fire, and a check.")
    parser.add_argument("--duration", type=seconds, default=60.0, help="how long to fire: 90, 60s, 30m, 2h")
    parser.add_argument("--seed", type=int, default=None, help="replay the plan and the schedule of a run")
    parser.add_argument("--keep", type=Path, default=None, help="leave the histories in this directory")
    given = parser.parse_args(arguments)
    seed: int = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    directory: Path = given.keep or Path(tempfile.mkdtemp(prefix="agent-messaging-chaos-history-"))
    directory.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, {given.duration:g} s, histories in {directory}", file=sys.stderr, flush=True)
    ran = run.until_done(run.run(twelve_pairs_and_two_meetings(seed), given.duration, directory))
    verdict = check(history.read_all(directory))
    report = Report(
        seed=seed,
        seconds=given.duration,
        fired=ran.fired + Counter({Kind.CANCEL: verdict.cancelled}),
        drains=ran.drains,
        verdict=verdict,
        replay=f'make chaos ARGS="--duration {given.duration:g}s --seed {seed}"',
        kept=str(directory),
    )
    print(report.text())
    report.record()
    if given.keep is None and not report.failures:
        shutil.rmtree(directory)
    return bool(report.failures)


def seconds(text: str) -> float:
    """A duration: a number of seconds, or with a unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: 90, 60s, 30m, 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2] or "s"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
