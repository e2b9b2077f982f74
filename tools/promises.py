"""`make promises`: every promise tried as often as docs/promises.md says, and the figures written into that page."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "promises.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
FIXED = ("promise", "what", "tried", "broken")
COMMANDS = (
    ("-m", "chaos", "--duration", "60s"),
    ("-m", "chaos", "stale"),
    ("-m", "chaos", "recovery"),
    ("-m", "tests.hostile.noisy"),
    ("-m", "tools.mutants"),
)
"""What is a program of its own, because it times something or starts the suite."""


def trying_tests() -> list[str]:
    """The test files that say which promise they keep."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "tests.promises import" in file.read_text("utf-8")]


def runs(only: str | None) -> Iterator[list[str]]:
    """The commands, one after the other: what is timed is not disturbed by what is not."""
    if only in (None, "tests"):
        workers = ["--numprocesses=auto", "--maxprocesses=4"]
        yield [sys.executable, "-m", "pytest", "--quiet", "--timeout=0", *workers, *trying_tests()]
    for command in COMMANDS:
        if only in (None, *command):
            yield [sys.executable, *command]


def order(figure: dict[str, Any]) -> tuple[int, str]:
    """R2 before R10."""
    return int(re.sub(r"\D", "", figure["promise"]) or 0), figure["what"]


def table(figures: list[dict[str, Any]]) -> str:
    """One line for each thing that was tried."""
    lines = ["| promise | what was tried | times | broken | |", "|---|---|---:|---:|---|"]
    for figure in sorted(figures, key=order):
        facts = {name: value for name, value in figure.items() if name not in ("promise", "what", "tried", "broken")}
        said = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
        lines.append(
            f"| {figure['promise']} | {figure['what']} | {figure['tried']:,} | {figure['broken']:,} | {said} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run them, write the page if all were run, and say which failed."""
    parser = argparse.ArgumentParser(prog="make promises", description=__doc__)
    parser.add_argument("--only", metavar="PART", help="`tests`, or a word of one command; the page stays as it is")
    only: str | None = parser.parse_args().only
    began, failed = time.monotonic(), list[str]()
    with tempfile.TemporaryDirectory(prefix="agent-messaging-promises-") as directory:
        kept = Path(directory, "figures.jsonl")
        kept.touch()
        environment = os.environ | {"AGENT_MESSAGING_THOROUGH": "1", "AGENT_MESSAGING_FIGURES": str(kept)}
        for command in runs(only):
            print("$", *command[1:], flush=True)
            if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
                failed.append(" ".join(command[1:4]))
        figures = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
    if only is None:
        text = PAGE.read_text("utf-8")
        head, tail = text[: text.index(BEGIN)], text[text.index(END) :]
        minutes = round((time.monotonic() - began) / 60)
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        when = f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {minutes} minutes:"
        PAGE.write_text(f"{head}{BEGIN}\n{when}\n\n{table(figures)}\n{tail}", "utf-8")
    print(table(figures))
    print("Broken: " + ", ".join(failed) if failed else "Every promise was kept.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
