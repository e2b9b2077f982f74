"""The server's logging, pointed at a text in memory for as long as a test runs."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from agent_messaging_mcp import logs
from agent_messaging_mcp.log_safety import Format

_UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")


class Lines(io.StringIO):
    """What was written to the log."""

    def all(self) -> list[str]:
        return self.getvalue().splitlines()

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.all()]

    def only(self) -> str:
        (line,) = self.all()
        return line


@contextmanager
def logged(level: str = "DEBUG", format: Format = "json", *, access: bool = False) -> Generator[Lines]:
    """Log as a server does, and afterwards as before."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    theirs = [(log, log.handlers[:], log.propagate, log.level) for log in map(logging.getLogger, _UVICORN)]
    lines = Lines()
    logs.configure(level, format, access=access, stream=lines)
    try:
        yield lines
    finally:
        logging.captureWarnings(False)
        root.handlers[:], sys.excepthook, threading.excepthook = before[0], before[2], before[3]
        root.setLevel(before[1])
        for log, handlers, propagate, own_level in theirs:
            log.handlers[:], log.propagate = handlers, propagate
            log.setLevel(own_level)
