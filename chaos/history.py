"""What happened, as one JSON object a line: written so that a killed process has lost nothing, and read back.

Every line has `at` (seconds of the machine's monotonic clock, the same for all processes), `by` (the process), `life`
(how many times it was started) and `what`:

- `began`, `drained`, `finished`: the life of a process;
- `invoked` and `returned`: one try of an operation `op`; its `outcome` is `ok`, `refused` (typed: it did not happen),
  `unknown` (it may have happened) or `hung`;
- `received`: somebody was given a message; `acknowledged`: it said so, and was believed;
- `signal`: what a meeting told a member; `conversation`, `meeting`, `inbox`: what was read back at the end;
- `fault`: what the harness did.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]

OK, REFUSED, UNKNOWN, HUNG = "ok", "refused", "unknown", "hung"


class Recorder:
    """Appends to the history of one process; what `write` has returned from survives SIGKILL."""

    def __init__(self, directory: Path, by: str) -> None:
        self.by = by
        self.path = directory / f"{by}.jsonl"
        self.before = list(read(self.path)) if self.path.exists() else []
        """What the earlier lives of the process wrote."""
        self.life = 1 + sum(line["what"] == "began" for line in self.before)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if self.before:
            os.write(self._file, b"\n")  # the last life may have ended in the middle of a line
        self.write("began")

    def write(self, what: str, **facts: Any) -> None:
        """Append a line."""
        line = {"at": round(time.monotonic(), 6), "by": self.by, "life": self.life, "what": what, **facts}
        os.write(self._file, json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)


def read(path: Path) -> Iterator[Line]:
    """The lines of one process. Only the last line of a life may be broken; raises ValueError for any other."""
    broken = ""
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        if not text:
            continue
        try:
            line = json.loads(text)
        except ValueError:
            broken = broken or text
            continue
        if broken and line["what"] != "began":
            raise ValueError(f"{path} has a broken line in the middle of a life: {broken[:200]!r}")
        broken = ""
        yield line


def read_all(directory: Path) -> list[Line]:
    """The lines of every process, in the order of time."""
    lines = [line for path in sorted(directory.glob("*.jsonl")) for line in read(path)]
    return sorted(lines, key=lambda line: line["at"])
