"""What counts as catching a bug: every test that was named fails, of itself and not because the code cannot run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tools.mutants.trees import SOURCES

# What is raised by code that is wrong in itself. A bug worth planting is code that runs.
_NONSENSE = frozenset({"ImportError", "SyntaxError", "NameError", "AttributeError", "TypeError"})
_NONSENSE_TOLD = re.compile(
    rf"^(?:{'|'.join(sorted(_NONSENSE))}|ModuleNotFoundError|IndentationError)\b.*", re.MULTILINE
)
# PostgreSQL's names for a statement that is none.
_NONSENSE_OF_SQL = frozenset({"SyntaxOrAccessError"})


class Verdict(StrEnum):
    """What became of a planted bug. `broken`: nothing is proved, as the code with the bug in it does not run."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Error:
    """One error: its classes, from its own to the most general, the file that raised it, what it says."""

    kinds: tuple[str, ...]
    raised_in: str
    words: str

    @property
    def is_nonsense(self) -> bool:
        """Whether the code cannot run. In a test the same error is what a wrong value looks like."""
        if _NONSENSE_OF_SQL.intersection(self.kinds):
            return True
        in_product = any(f"/{folder}/{package}/" in self.raised_in for package, folder in SOURCES.items())
        return bool(_NONSENSE.intersection(self.kinds)) and (in_product or "ImportError" in self.kinds)


@dataclass(frozen=True, slots=True)
class Report:
    """How one phase ("setup", "call", "teardown") of a test ended."""

    test: str
    phase: str
    passed: bool
    errors: tuple[Error, ...] = ()

    def is_of(self, name: str) -> bool:
        """Whether it is of the test of this name; a name without parameters is that of all of them."""
        return self.test == name or self.test.startswith(f"{name}[")


@dataclass(frozen=True, slots=True)
class Reports:
    """What the witness wrote: where each package came from, and how the tests ended."""

    imported: dict[str, str]
    tests: tuple[Report, ...]

    def foreign(self, tree: Path) -> list[str]:
        """What did not come from the tree at `tree`; everything, if nothing was imported."""
        return [name for name in SOURCES if not self.imported.get(name, "").startswith(f"{tree}/")]

    def of(self, name: str) -> list[Report]:
        return [report for report in self.tests if report.is_of(name)]


def read(path: Path) -> Reports:
    """Read what the witness wrote, if it got so far."""
    imported: dict[str, str] = {}
    tests: list[Report] = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        found: dict[str, Any] = json.loads(line)
        imported |= found.get("imported", {})
        if "test" in found:
            errors = [Error(tuple(error["kinds"]), error["raised_in"], error["words"]) for error in found["errors"]]
            tests.append(Report(found["test"], found["phase"], found["passed"], tuple(errors)))
    return Reports(imported, tuple(tests))


def nonsense_in(output: str) -> str:
    """The line of a command's output that says that the code cannot run; empty if none does."""
    found = _NONSENSE_TOLD.search(output)
    return found[0] if found is not None else ""


def caught(reports: Reports, names: Iterable[str]) -> set[str]:
    """Which of these tests failed."""
    return {name for name in names if any(_is_catch(report) for report in reports.of(name))}


def shortcomings(reports: Reports, names: Sequence[str]) -> list[str]:
    """Why a run proves nothing, a sentence each."""
    found = [f"{name} did not run" for name in names if not any(report.phase == "call" for report in reports.of(name))]
    for report in reports.tests:
        found += [
            f"{report.test} met code that cannot run: {error.kinds[0]}: {error.words}"
            for error in report.errors
            if error.is_nonsense
        ]
    return found


def failures(reports: Reports, names: Iterable[str]) -> list[str]:
    """Which of these did not pass in every phase, or did not run at all, and why."""
    found: list[str] = []
    for name in names:
        of_it = reports.of(name)
        if not any(report.phase == "call" for report in of_it):
            found.append(f"{name} did not run")
        for report in of_it:
            words = "; ".join(f"{error.kinds[0]}: {error.words}" for error in report.errors)
            if not report.passed:
                found.append(f"{report.test} failed ({report.phase}): {words}")
    return found


def _is_catch(report: Report) -> bool:
    return report.phase == "call" and not report.passed and not any(error.is_nonsense for error in report.errors)
