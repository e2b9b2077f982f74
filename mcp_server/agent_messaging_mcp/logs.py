"""What this server says of itself on standard error: one line an event, for people or as JSON.

A line says who did what to which conversation, and how it went. It never holds what somebody wrote, nor anything
that opens something: what a library or an error says is cut down to the part that cannot (`log_safety`).
"""

from __future__ import annotations

import logging
import sys
import threading
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from agent_messaging_mcp.log_lines import Lines
from agent_messaging_mcp.log_safety import Format, handles_of, is_ours
from agent_messaging_mcp.scoped import Scoped

if TYPE_CHECKING:
    from agent_messaging_mcp.results import Refusal, Result

_ids: ContextVar[Mapping[str, str]] = ContextVar("agent_messaging_log_ids", default={})  # noqa: B039 - never changed

logger = logging.getLogger(__name__)


def configure(level: str, format: Format, *, access: bool = False, stream: TextIO | None = None) -> None:
    """Send every record of this process to standard error, in one format.

    `access`: also uvicorn's line for each HTTP request, without its query. Libraries are heard from WARNING on,
    and from INFO on where `level` is DEBUG; they speak of what they carry at DEBUG.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(Lines(format, debug=threshold <= logging.DEBUG, ids=_ids.get))
    handler.addFilter(_Threshold(logging.INFO if threshold <= logging.DEBUG else max(threshold, logging.WARNING)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        theirs = logging.getLogger(name)
        theirs.handlers.clear()
        theirs.propagate = True
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if access else logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def context(
    *,
    request: str | int | None = None,
    agent: str | None = None,
    transport: str | None = None,
    question: str | None = None,
    meeting: str | None = None,
    with_agent: str | None = None,
) -> Scoped[Mapping[str, str]]:
    """Have every line that is written inside carry these ids, besides those of the contexts around it."""
    given = {
        "request": request,
        "agent": agent,
        "transport": transport,
        "question": question,
        "meeting": meeting,
        "with_agent": with_agent,
    }
    return Scoped(_ids, {**_ids.get(), **{name: str(value) for name, value in given.items() if value is not None}})


class Called:
    """What becomes of a tool call: `error` unless it is told otherwise."""

    __slots__ = ("_began", "_count", "_handles", "_tool", "status")

    def __init__(self, tool: str, count: Callable[[str, str], None] | None) -> None:
        self._tool = tool
        self._count = count
        self._handles: dict[str, str] = {}
        self.status = "error"

    def __enter__(self) -> Self:
        self._began = monotonic()
        return self

    def gave(self, result: Result | Refusal, arguments: Mapping[str, object]) -> None:
        """The call has this result."""
        self.status = getattr(result, "status", "refused")
        # What was not looked at may be no name at all, but what somebody put into the wrong field.
        self._handles = handles_of(result, {} if self.status in ("refused", "not_now") else arguments)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.status = "cancelled" if issubclass(kind, CancelledError) else "error"
        if self._count is not None:
            self._count(self._tool, self.status)
        if logger.isEnabledFor(logging.INFO):
            ms = round((monotonic() - self._began) * 1_000)
            logger.info("call", extra={"tool": self._tool, "status": self.status, "ms": ms} | self._handles)


def called(tool: str, *, count: Callable[[str, str], None] | None = None) -> Called:
    """Write one line about a tool call when the block ends, and have it counted: `count(tool, status)`."""
    return Called(tool, count)


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the standard way prints the arguments of the record."""


class _Threshold(logging.Filter):
    """Lets a library through from a level on; ourselves and the listener always."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self._level or is_ours(record.name) or record.name.startswith("uvicorn.")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.critical("the process ends with an error", exc_info=(kind, error, trace))


def _uncaught_in_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "?"
    if ended.exc_value is not None:
        logger.error(
            "the thread %s ended with an error",
            name,
            exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback),
        )
