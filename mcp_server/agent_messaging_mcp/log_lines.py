"""The lines of the log: a record is put together by structlog, and written for people or as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from structlog.processors import JSONRenderer
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from agent_messaging_mcp.log_safety import Format, cleaned, event_of, facts_of, is_ours

_OF_A_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:@/,+*…<>")
_LONGEST_TRACEBACK = 4_000


def formatter(format: Format, *, debug: bool, ids: Callable[[], Mapping[str, str]]) -> logging.Formatter:
    """Make the formatter; `debug` adds tracebacks, `ids()` are those of the request that is served."""
    render = JSONRenderer(serializer=json.dumps, ensure_ascii=False) if format == "json" else _as_text

    def collect(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        return _facts(event["_record"].origin, ids(), debug=debug)

    return _Lines(
        foreign_pre_chain=[],
        processors=[collect, render],
        use_get_message=False,  # it would put arguments in before anybody has looked at them
    )


class _Lines(ProcessorFormatter):
    """Structlog's formatter, for one line whatever the record is."""

    def format(self, record: logging.LogRecord) -> str:
        # Structlog and the standard library would add the traceback, over several lines and with its values.
        bare = logging.makeLogRecord(vars(record) | {"exc_info": None, "exc_text": None, "stack_info": None})
        bare.origin = record
        return super().format(bare)


def _facts(record: logging.LogRecord, ids: Mapping[str, str], *, debug: bool) -> dict[str, Any]:
    ours = is_ours(record.name)
    trusted = ours or record.name == "uvicorn.error"
    facts: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": "access" if record.name == "uvicorn.access" else cleaned(event_of(record, ours=trusted)),
    }
    found: dict[str, object] = dict(_access(record)) if record.name == "uvicorn.access" else {}
    if ours:
        found |= {key: value for key, value in vars(record).items() if key not in _OF_A_RECORD}
    found |= {key: value for key, value in ids.items() if key not in found}
    for key, value in found.items():
        facts.setdefault(key, value if isinstance(value, int | float) else cleaned(value))
    if record.exc_info and (error := record.exc_info[1]) is not None:
        for key, value in facts_of(error, traceback=debug).items():
            facts[key] = value[:_LONGEST_TRACEBACK] if key == "traceback" else cleaned(value)
    return facts


def _access(record: logging.LogRecord) -> Mapping[str, object]:
    """What uvicorn says of a request, without its query."""
    match record.args:
        case (str(client), str(method), str(path), _, int(status)):
            return {"client": client, "method": method, "path": path.partition("?")[0], "status": status}
        case _:
            return {}


def _as_text(_logger: WrappedLogger, _name: str, facts: EventDict) -> str:
    logger = facts.pop("logger")
    head = f"{facts.pop('time')} {facts.pop('level').upper():<7} {facts.pop('event')}"
    return " ".join([head, *(f"{key}={_value(value)}" for key, value in facts.items()), f"logger={logger}"])


def _value(value: object) -> str:
    text = str(value)
    return text if text and set(text) <= _BARE else json.dumps(text, ensure_ascii=False)
