"""The fixture server as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60
_STOP_SECONDS = 20
_OURS = re.compile(r"DATABASE_URL|LISTEN_DATABASE_URL|AUTO_MIGRATE|(POSTGRES|AGENT_MESSAGING|OAUTH)_\w+")


@contextmanager
def serving(log: Path, **environment: str) -> Generator[str]:
    """A fixture server for as long as this is open: gives the address of its `/mcp`.

    `environment` says where its messages are; what the own environment says of that is not passed on. What it
    writes to standard error is in `log`. Raises `RuntimeError` if it does not start.
    """
    kept = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
    command = [sys.executable, "-m", "tools.conformance.server"]
    with log.open("w") as written:
        server = subprocess.Popen(command, cwd=_ROOT, env={**kept, **environment}, stderr=written)
    try:
        yield _address(server, log)
        server.send_signal(signal.SIGTERM)
        server.wait(_STOP_SECONDS)
    finally:
        server.kill()
        server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    ends_at = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends_at and server.poll() is None:
        if found := re.search(r"http://\S+/mcp", log.read_text("utf-8")):
            return found[0]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text('utf-8')}")
