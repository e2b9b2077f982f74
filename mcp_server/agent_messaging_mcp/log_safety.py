"""What may stand in a line of the log: handles and names that were found to be some, errors by their kind and
place, a library's own words without what they carry.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from traceback import walk_tb
from typing import TYPE_CHECKING, Literal, TypeAlias

from agent_messaging_mcp.text import names, one_line

if TYPE_CHECKING:
    from agent_messaging_mcp.results import Refusal, Result

Format: TypeAlias = Literal["text", "json"]

LONGEST = 300
MOST_NAMES = 5
_CAUSES = 4
_FRAMES = 25

_OF_HANDLES = {"question": re.compile(r"q[0-9][0-9a-z]{2,14}"), "meeting": re.compile(r"m[0-9][0-9a-z]{2,14}")}
_OF_NAMES = {"to": "to", "with_agent": "to", "from_agent": "from", "new_host": "to", "next_speaker": "to"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-:@/]{0,127}")

_SECRETS = (
    (re.compile(r"\bam_([A-Za-z0-9]{4,16})_[A-Za-z0-9_-]{16,}"), r"am_\1_…"),
    (re.compile(r"(://[^\s/:@]*):[^\s@]+@"), r"\1:…@"),
    (re.compile(r"(?i)\b(bearer)\s+\S+"), r"\1 …"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*"), "…"),
)
# Most values. No secret has this form: it would be longer, or hold a full stop, a colon or a space.
_PLAIN = re.compile(r"[A-Za-z0-9-]{1,300}|[A-Za-z0-9_]{1,20}")

# Errors whose words this project or the operating system wrote, without anybody's values.
_OUTSPOKEN = frozenset({"ConfigurationError", "DatabaseUnavailable", "EmbeddedDatabaseError", "SchemaError", "OSError"})
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-+ #0]*[\d.*]*[a-zA-Z]")


def is_ours(name: str) -> bool:
    """Whether a logger is this project's."""
    return name.partition(".")[0] in ("agent_messaging", "agent_messaging_db", "agent_messaging_mcp")


def cleaned(value: object) -> str:
    """A value on one line, visible, not long, and without what has the form of a secret."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    text = one_line(text, LONGEST)
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return text


def handles_of(result: Result | Refusal, arguments: Mapping[str, object]) -> dict[str, str]:
    """The handles and names that a call was about, from its result and, where they have their form, its
    arguments.
    """
    facts: Mapping[str, object] = getattr(result, "facts", {})
    subjects: frozenset[str] = getattr(result, "subjects", frozenset())
    found: dict[str, str] = {}
    for key, form in _OF_HANDLES.items():
        for value in (facts.get(key), arguments.get(key), *sorted(subjects)):
            if isinstance(value, str) and form.fullmatch(value):
                found[key] = value
                break
    for argument, key in _OF_NAMES.items():
        named = _names(arguments.get(argument))
        if named and key not in found:
            more = f",+{len(named) - MOST_NAMES}" if len(named) > MOST_NAMES else ""
            found[key] = ",".join(named[:MOST_NAMES]) + more
    return found


def _names(value: object) -> list[str]:
    return [] if value is None else [name for name in names(value) if name == "*" or _NAME.fullmatch(name)]


def event_of(record: logging.LogRecord, *, ours: bool) -> str:
    """What a record says."""
    if not ours:
        return _without_values(record)
    arguments = record.args
    if isinstance(arguments, tuple):
        arguments = tuple(Said(value) if isinstance(value, BaseException) else value for value in arguments)
    try:
        return str(record.msg) % arguments if arguments else str(record.msg)
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def _without_values(record: logging.LogRecord) -> str:
    """A library's words up to where a value may begin; some are put together before they get here."""
    first = str(record.msg).partition("\n")[0]
    return _PLACEHOLDER.sub("…", first) if record.args else first.partition(": ")[0]


class Said:
    """Stands for an error among the arguments of a record."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        return ": ".join(filter(None, (kind(self._error), words(self._error))))

    __repr__ = __str__


def kind(error: BaseException) -> str:
    """What an error is, with PostgreSQL's own name for it if it has one."""
    name = type(error).__name__
    state, constraint = getattr(error, "sqlstate", None), getattr(error, "constraint_name", None)
    return " ".join([name, *(part for part in (state, constraint) if isinstance(part, str))])


def words(error: BaseException) -> str:
    """What an error says, if it cannot be what somebody else said: the driver's errors name values."""
    return str(error) if any(base.__name__ in _OUTSPOKEN for base in type(error).__mro__) else ""


def facts_of(error: BaseException, *, traceback: bool) -> dict[str, str]:
    """An error for a line: its kind, its words if they are harmless, where it came from, what was behind it."""
    found = {"error": kind(error)}
    if said := words(error):
        found["error_message"] = said
    if frames := _frames(error):
        found["at"] = next((frame for frame in reversed(frames) if frame.startswith("agent_messaging")), frames[-1])
    if behind := " < ".join(kind(cause) for cause in _causes(error)):
        found["because"] = behind
    if traceback:
        found["traceback"] = " > ".join(frames[-_FRAMES:])
    return found


def _causes(error: BaseException) -> Iterator[BaseException]:
    for _ in range(_CAUSES):
        following = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if following is None:
            return
        error = following
        yield error


def _frames(error: BaseException) -> list[str]:
    return [
        f"{'/'.join(PurePath(frame.f_code.co_filename).parts[-2:])}:{line} {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]
