"""Where the demo takes place: a directory and a database of its own, which nothing survives."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
from mcp import StdioServerParameters

from agent_messaging_db import embedded
from agent_messaging_db.embedded import layout, reaper

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CURTAIN = 20.0  # seconds the database may take to stop by itself


class Interrupted(Exception):
    """A signal ended the demo."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def server_of(agent: str, data_dir: Path) -> StdioServerParameters:
    """How a host starts the MCP server of an agent: a process of its own, on the embedded database in
    `data_dir`.
    """
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "agent_messaging_mcp", "--agent", agent],
        env={"AGENT_MESSAGING_DATA_DIR": str(data_dir)},
    )


@contextmanager
def data_directory() -> Generator[Path]:
    """A new directory; at the end, no process of a database in it is left, and then it is removed."""
    root = Path(tempfile.mkdtemp(prefix="agent-messaging-demo-"))
    try:
        yield root / "data"
    finally:
        # A second Ctrl-C would leave half of it behind.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        try:
            _wait_until_alone(root / "data")
        finally:
            shutil.rmtree(root)


@contextmanager
def interruptible() -> Generator[None]:
    """Let SIGINT and SIGTERM end what is inside as if it had failed, so that every server is ended.

    Raises Interrupted.
    """
    received: list[int] = []
    # A cancelled scope, unlike a cancelled task, lets the client end its server in peace.
    with anyio.CancelScope() as scope:

        def receive(number: int) -> None:
            received.append(number)
            scope.cancel()

        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, receive, number)
        yield
    if received:
        raise Interrupted(received[0])


def _wait_until_alone(data_dir: Path) -> None:
    """The database stops two seconds after its last client has gone; help only if it does not."""
    if not data_dir.exists():
        return
    where = layout.layout_of(data_dir)
    locks = (where.server_lock, where.reaper_lock)
    ends_at = time.monotonic() + _CURTAIN
    while not all(reaper.is_free(str(lock)) for lock in locks):
        if time.monotonic() > ends_at:
            embedded.stop(data_dir)
            return
        time.sleep(0.02)
