"""Runs tests and commands in a copy of the tree, each in a process group of its own that is gone afterwards."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tools.mutants import verdicts
from tools.mutants.mutant import COMMAND
from tools.mutants.trees import Copy
from tools.mutants.verdicts import Reports
from tools.mutants.witness import REPORTS

_OURS = re.compile(r"(LISTEN_)?DATABASE_URL|AUTO_MIGRATE|(POSTGRES|AGENT_MESSAGING|OAUTH|PYTEST)_\w+|PYTHON\w+")

OUTPUT = "output.txt"


@dataclass(slots=True)
class Runner:
    """Runs things in copies. `dsn` is a server on which tests may make databases.

    `patience` bounds one test, in seconds: many bugs make a test wait for what never comes. `seconds` bounds one run.
    """

    dsn: str
    seed: int
    patience: float
    seconds: float
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set[subprocess.Popen[bytes]])
    _is_ending: bool = False

    def tests(self, copy: Copy, names: tuple[str, ...], *, attempt: int = 0) -> Reports:
        """Run these tests; what pytest said is beside the tree."""
        reports = copy.directory / f"reports-{attempt}.jsonl"
        seed = str(self.seed + attempt)
        arguments = ["-m", "pytest", "-p", "tools.mutants.witness", "-p", "no:cacheprovider", "-q", "--tb=short"]
        self._run(
            copy,
            [*arguments, f"--timeout={self.patience:g}", f"--hypothesis-seed={seed}", *names],
            {REPORTS: str(reports), "PYTHONHASHSEED": seed, "AGENT_MESSAGING_TEST_DATABASE_URL": self.dsn},
        )
        return verdicts.read(reports)

    def command(self, copy: Copy, command: str) -> tuple[int | None, str]:
        """Run `python -m …`; gives its exit code, None if it took too long, and what it said."""
        output = copy.directory / OUTPUT
        before = output.stat().st_size if output.exists() else 0
        code = self._run(copy, ["-m", *shlex.split(command.removeprefix(COMMAND))], {})
        return code, output.read_bytes()[before:].decode(errors="replace")

    def end(self) -> None:
        """End what is running, and begin nothing more."""
        self._is_ending = True
        for process in tuple(self._running):
            _end(process)

    def _run(self, copy: Copy, arguments: list[str], environment: dict[str, str]) -> int | None:
        temporary = copy.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
        with Path(copy.directory, OUTPUT).open("ab") as output:
            process = subprocess.Popen(
                [copy.python, *arguments],
                cwd=copy.tree,
                env={**kept, "TMPDIR": str(temporary), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running.add(process)
            try:
                if self._is_ending:
                    return None
                return process.wait(self.seconds)
            except subprocess.TimeoutExpired:
                return None
            finally:
                _end(process)
                self._running.discard(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, and whatever it started in its group: servers that its tests did not get to stop."""
    if process.poll() is None:
        # Time to take databases and directories along.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
