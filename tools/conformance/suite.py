"""The official suite: fetched with npm, run against a server, and read back check by check."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "@modelcontextprotocol/conformance"
RELEASE = "0.1.16"
"""The latest release; it knows the protocol up to 2025-11-25."""
ALPHA = "0.2.0-alpha.12"
"""The newest pre-release, the first line that knows 2026-07-28."""
NODE = "node@22"

_SECONDS = 600
_LISTED = re.compile(r"^ +- (?P<name>[\w./-]+) \[(?P<versions>[\w,.-]+)\]$", re.MULTILINE)
_OF_THE_HARNESS = re.compile(r"wire-schema-.*")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a scenario looked at. `status` is the suite's: SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""

    id: str
    status: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one scenario. Without checks it did not run."""

    scenario: str
    checks: tuple[Check, ...] = ()

    @property
    def shortcomings(self) -> tuple[Check, ...]:
        """What is not as it must be, or as it should be."""
        return tuple(check for check in self.checks if check.status in ("FAILURE", "WARNING"))

    @property
    def successes(self) -> int:
        """How many checks are as they must be; those that every message gets prove nothing alone."""
        return sum(check.status == "SUCCESS" and not _OF_THE_HARNESS.fullmatch(check.id) for check in self.checks)

    @property
    def passes(self) -> bool:
        """Something was tried, and nothing falls short."""
        return self.successes > 0 and not self.shortcomings

    @property
    def was_skipped(self) -> bool:
        """The suite found nothing here that it could try."""
        return bool(self.checks) and not self.shortcomings and not self.successes


@dataclass(frozen=True, slots=True)
class Run:
    """A version of the suite, at a revision of the protocol; without one, its scenarios of extensions."""

    version: str
    revision: str | None

    @property
    def title(self) -> str:
        return f"{self.version} at {self.revision}" if self.revision else f"{self.version}, extensions"


RUNS = (Run(RELEASE, "2025-11-25"), Run(ALPHA, "2025-11-25"), Run(ALPHA, "2026-07-28"), Run(ALPHA, None))


class Suite:
    """One version of the suite, installed with npm below `directory`. Raises `SystemExit` if that cannot be done."""

    def __init__(self, version: str, directory: Path) -> None:
        self.version = version
        self._directory = directory / version
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit(
                "make conformance needs npm on PATH. Debian, Ubuntu: apt install npm.  macOS: brew install node."
            )
        self._directory.mkdir()
        # npm brings a Node that is new enough, whatever the machine's own is.
        options = ("--no-audit", "--no-fund", "--loglevel", "error")
        packages = (NODE, f"{PACKAGE}@{version}")
        command = [npm, "--prefix", str(self._directory), "install", *options, *packages]
        if subprocess.run(command, timeout=_SECONDS, check=False).returncode:
            raise SystemExit(f"npm could not install {' and '.join(packages)}; its words are above.")

    def node_version(self) -> str:
        """The Node that runs it."""
        return self._output("node", "--version").strip()

    def scenarios(self, revision: str | None) -> list[str]:
        """The names of the scenarios for servers, at a revision of the protocol or else of extensions."""
        listed = _LISTED.finditer(self._output("conformance", "list", "--server"))
        return [found["name"] for found in listed if (revision or "extension") in found["versions"].split(",")]

    def run(self, url: str, revision: str | None) -> Iterator[Outcome]:
        """Run those scenarios against the server at `url`, in the order in which they are listed."""
        names = self.scenarios(revision)
        results = self._directory / f"results-{revision or 'extensions'}"
        if revision is not None:
            self._try(url, results, "--suite", "all", "--spec-version", revision)
        else:
            for name in names:
                self._try(url, results, "--scenario", name)
        for name in names:
            yield Outcome(name, _checks(results, name))

    def _try(self, url: str, results: Path, *which: str) -> None:
        # What it exits with is not looked at: what was found is in files, and what was not is missed there.
        command = ["conformance", "server", "--url", url, *which, "--output-dir", str(results)]
        self._output(*command, succeeds=False)

    def _output(self, *command: str, succeeds: bool = True) -> str:
        binaries = self._directory / "node_modules" / ".bin"
        environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}", "NO_COLOR": "1"}
        done = subprocess.run(
            [binaries / command[0], *command[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_SECONDS,
            check=succeeds,
        )
        return done.stdout


def _checks(results: Path, scenario: str) -> tuple[Check, ...]:
    found = [*results.glob(f"server-{scenario}-????-??-??T*/checks.json")]
    return read_checks(json.loads(found[0].read_text("utf-8"))) if found else ()


def read_checks(found: Sequence[dict[str, Any]]) -> tuple[Check, ...]:
    """The checks in a `checks.json`."""
    return tuple(
        Check(check["id"], check["status"], check.get("errorMessage") or check.get("description") or "")
        for check in found
    )
