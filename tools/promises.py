"""`make promises`: every promise tried as often as docs/promises.md says, and the figures written into that page.

It has parts, and `--only` runs some of them. As soon as a part has ended, its figures take the place of those it gave
the last time; each figure of the page says which part it is from, and of when.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.figures import KEPT

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "promises.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->"
FEW = 100
HEAD = "| promise | what was tried | times | broken | | part | |\n|---|---|---:|---:|---|---|---|\n"


def trying_tests() -> list[str]:
    """The test files that say which promise they keep."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "tests.promises import" in file.read_text("utf-8")]


def parts() -> dict[str, list[str]]:
    """What `python` is called with, part by part. What is timed comes first, and nothing runs beside it."""
    workers = ["--numprocesses=auto", "--maxprocesses=4"]
    return {
        "chaos": ["-m", "chaos", "--duration", "60s"],
        "stale": ["-m", "chaos", "stale"],
        "recovery": ["-m", "chaos", "recovery"],
        "noisy": ["-m", "tests.hostile.noisy"],
        "echo": ["-m", "tests.hostile.echo"],
        "tests": ["-m", "pytest", "--quiet", "--timeout=0", *workers, *trying_tests()],
        "mutants": ["-m", "tools.mutants"],
        "repeat": ["-m", "tools.repeat"],
    }


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    promise: str
    what: str
    tried: str
    broken: str
    facts: str
    part: str
    day: str

    @classmethod
    def of(cls, figure: dict[str, Any], part: str, day: str) -> Row:
        """The line of a figure that was recorded."""
        facts = {name: value for name, value in figure.items() if name not in ("promise", "what", "tried", "broken")}
        said = "; ".join(
            f"{name.replace('_', ' ')} {value if name == 'seed' else _number(value)}"
            for name, value in facts.items()
            if value != ""
        )
        return cls(
            figure["promise"], figure["what"], _number(figure["tried"]), _number(figure["broken"]), said, part, day
        )

    @classmethod
    def read(cls, line: str) -> Row:
        """The line of a page. Raises TypeError if it is no such line."""
        return cls(*(cell.strip() for cell in line.strip().strip("|").split("|")))

    def __str__(self) -> str:
        cells = (self.promise, self.what, self.tried, self.broken, self.facts, self.part, self.day)
        return f"| {' | '.join(cells)} |"

    @property
    def order(self) -> tuple[int, str]:
        """R2 before R10."""
        return int(self.promise.removeprefix("R")), self.what


def condensed(figures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As few lines as say it: what was tried of several kinds ("Answer: ten calls at once") is one figure, and so is
    all that was tried less than a hundred times for one promise.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for figure in figures:
        groups[figure["promise"], figure["what"].rpartition(": ")[2]].append(figure)
    kinds = [_sum(f"{what} ({len(group)} kinds)", group) for (_, what), group in groups.items()]
    few: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for figure in kinds:
        if figure["tried"] < FEW:
            few[figure["promise"]].append(figure)
    many = [figure for figure in kinds if figure["tried"] >= FEW]
    return many + [_sum(f"{len(group)} other cases", group) for group in few.values()]


def _sum(what: str, group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One figure of several; of their facts those that are counts."""
    if len(group) == 1:
        return group[0]
    counts = {name for figure in group for name, value in figure.items() if type(value) is int}
    return {"promise": group[0]["promise"], "what": what} | {
        name: sum(figure.get(name, 0) for figure in group)
        for name in ("tried", "broken", *sorted(counts))
        if name in counts
    }


def _number(value: Any) -> str:
    return f"{value:,}" if type(value) is int else str(value)


def written(page: str, part: str, new: Iterable[Row]) -> str:
    """The page with the figures of a part exchanged."""
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    old = [Row.read(line) for line in table.removeprefix(HEAD).splitlines()]
    rows = sorted([*(row for row in old if row.part != part), *new], key=lambda row: row.order)
    lines = "".join(f"{row}\n" for row in rows)
    return f"{before}{BEGIN}{HEAD}{lines}{END}{after}"


def tried(part: str, command: list[str]) -> bool:
    """Run a part and write its figures; gives whether it kept what is promised."""
    print("$", "python", *command, flush=True)
    with tempfile.TemporaryDirectory(prefix="agent-messaging-promises-") as directory:
        kept = Path(directory, "figures.jsonl")
        kept.touch()
        environment = os.environ | {"AGENT_MESSAGING_THOROUGH": "1", KEPT: str(kept)}
        code = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode
        figures = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
    rows = [Row.of(figure, part, f"{datetime.now(UTC):%Y-%m-%d}") for figure in condensed(figures)]
    PAGE.write_text(written(PAGE.read_text("utf-8"), part, rows), "utf-8")
    print(*rows, sep="\n", flush=True)
    return code == 0 and bool(rows)


def main() -> int:
    """Run the parts one after the other, and say which of them broke a promise."""
    commands = parts()
    parser = argparse.ArgumentParser(prog="make promises", description=__doc__)
    names = list(commands)
    parser.add_argument("--only", nargs="+", metavar="PART", choices=names, default=names, help=", ".join(names))
    only: list[str] = parser.parse_args().only
    broken = [part for part in only if not tried(part, commands[part])]
    print("Broken: " + ", ".join(broken) if broken else "Every promise was kept.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
