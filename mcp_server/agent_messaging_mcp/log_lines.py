"""The lines of the log: each record is one, for people or as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from agent_messaging_mcp.log_safety import Format, cleaned, event_of, facts_of, is_ours

_OF_A_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:@/,+*…<>")
_LONGEST_TRACEBACK = 4_000


class Lines(logging.Formatter):
    """Makes one line of a record, whatever it is; `debug` adds tracebacks, `ids()` are those of the request that is
    served.
    """

    def __init__(self, format: Format, *, debug: bool, ids: Callable[[], Mapping[str, str]]) -> None:
        super().__init__()
        self._is_json = format == "json"
        self._debug = debug
        self._ids = ids

    def format(self, record: logging.LogRecord) -> str:
        # Not the standard way, which would put in the arguments before anybody has looked at them, and add the
        # traceback, over several lines and with its values.
        facts = _facts(record, self._ids(), debug=self._debug)
        return json.dumps(facts, ensure_ascii=False) if self._is_json else _as_text(facts)


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


def _as_text(facts: dict[str, Any]) -> str:
    logger = facts.pop("logger")
    head = f"{facts.pop('time')} {facts.pop('level').upper():<7} {facts.pop('event')}"
    return " ".join([head, *(f"{key}={_value(value)}" for key, value in facts.items()), f"logger={logger}"])


def _value(value: object) -> str:
    text = str(value)
    return text if text and set(text) <= _BARE else json.dumps(text, ensure_ascii=False)
