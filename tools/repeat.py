"""`python -m tools.repeat [--times 20]`: the whole test suite so often, each time with another seed. Is it ever red?

Each run's line says its seed and what failed; what pytest said of a red run stays in a directory. Exits with 1 if any
was red.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from tools.figures import record

ROOT = Path(__file__).resolve().parent.parent
# What would choose other tests, try them more often, or keep figures of every run.
_OURS = re.compile(r"AGENT_MESSAGING_(?!TEST_)\w+|PYTEST_\w+")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the suite. `failed`: the tests that failed; a run without any may be red all the same."""

    seed: int
    code: int
    tests: int
    failed: tuple[str, ...]
    seconds: float

    @property
    def is_green(self) -> bool:
        return self.code == 0 and self.tests > 0

    def line(self, number: int) -> str:
        """For people."""
        what = "green" if self.is_green else f"red (pytest's exit code is {self.code}): {', '.join(self.failed)}"
        return f"{number:>3}  seed {self.seed:<10}  {self.tests} tests in {self.seconds:.0f} s  {what}"


def run(seed: int, kept: Path) -> Run:
    """Run the suite once; what it said stays in `kept` if it was red."""
    report, output = kept / f"{seed}.xml", kept / f"{seed}.txt"
    environment = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
    environment |= {"AGENT_MESSAGING_SEED": str(seed), "PYTHONHASHSEED": str(seed)}
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses=4"]
    with output.open("wb") as said:
        code = subprocess.run(
            [*command, f"--hypothesis-seed={seed}", f"--junitxml={report}"],
            cwd=ROOT,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    tests, failed = of_report(report)
    ran = Run(seed, code, tests, failed, time.monotonic() - began)
    report.unlink(missing_ok=True)
    if ran.is_green:
        output.unlink()
    return ran


def of_report(report: Path) -> tuple[int, tuple[str, ...]]:
    """How many tests there were, and which failed, by pytest's report; none, if there is no report."""
    if not report.exists():
        return 0, ()
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - pytest wrote it a moment ago
    red = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return len(cases), tuple(f"{case.get('classname')}::{case.get('name')}" for case in red)


def main() -> int:
    """Run it so often, print each run, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.repeat", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    times: int = parser.parse_args().times
    kept = Path(tempfile.mkdtemp(prefix="agent-messaging-repeat-"))
    runs: list[Run] = []
    for number in range(1, times + 1):
        runs.append(run(random.SystemRandom().randrange(2**32), kept))
        print(runs[-1].line(number), flush=True)
    red = [each for each in runs if not each.is_green]
    record(
        "R19",
        "the whole test suite, each time with another seed",
        tried=times,
        broken=len(red),
        tests_a_run=max((each.tests for each in runs), default=0),
    )
    if red:
        print(f"What pytest said of the red ones: {kept}")
    else:
        kept.rmdir()
    return 1 if red or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
