"""Which processes have to do with a directory, so that a test can tell that none is left."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

PROC = Path("/proc")


def processes_of(directory: Path) -> dict[int, str]:
    """The processes that have this directory in their environment, command line or as place of work, by id."""
    if not (PROC / "self" / "environ").exists():
        return _listed(str(directory))
    found: dict[int, str] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            known = _known_of(entry)
            if str(directory) in known:
                found[int(entry.name)] = known.split("\n", 1)[0]
    return found


def left_after(seconds: float, directory: Path) -> dict[int, str]:
    """The processes that are left when none is, or after so many seconds."""
    ends_at = time.monotonic() + seconds
    while (left := processes_of(directory)) and time.monotonic() < ends_at:
        time.sleep(0.05)
    return left


def _known_of(process: Path) -> str:
    """Command line, place of work and environment; empty if it has gone, or is another user's."""
    try:
        command = (process / "cmdline").read_bytes()
        environment = (process / "environ").read_bytes()
        return "\n".join(
            [
                command.replace(b"\0", b" ").decode(errors="replace"),
                os.readlink(process / "cwd"),
                environment.replace(b"\0", b"\n").decode(errors="replace"),
            ]
        )
    except OSError:
        return ""


def _listed(directory: str) -> dict[int, str]:
    lines = subprocess.run(["ps", "-axEww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    found = [line.split(maxsplit=1) for line in lines.stdout.splitlines() if directory in line]
    return {int(pid): command for pid, command in found if int(pid) != os.getpid()}
