"""Words for a model: peers' text made visible and cut to size, relative times, and calls written out
literally.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import EllipsisType
from typing import cast

LONGEST_BODY = 6_000
"""Characters of one body that a result shows; the rest has a call of its own."""

_BEYOND_ASCII = re.compile(r"[^\x20-\x7e\n\t]")
_LINE_BREAKS = re.compile(r"\s*\n\s*|\t")
_WORDS = re.compile(r"[a-z]+|[A-Z]+|[0-9]{1,3}|\s+|.", re.DOTALL)

# Letters and marks that Unicode classes as visible and every font draws as nothing.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" + "".join(map(chr, range(0x180B, 0x1810))))
_EMOJI_JOINER = "\u200d"
_EMOJI_STYLE = "\ufe0f"


_now: ContextVar[Callable[[], datetime]] = ContextVar("now", default=lambda: datetime.now(UTC))


def visible(text: str) -> str:
    """`text` with everything that shows nothing, or hides or reorders something, written as `<U+…>`.

    Line feeds and tabs stay, CRLF becomes a line feed. An emoji keeps its style selector and its joiners.
    """
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text

    def replace(found: re.Match[str]) -> str:
        character = found.group()
        if character in (_EMOJI_STYLE, _EMOJI_JOINER) and _belongs_to_emoji(text, found.start()):
            return character
        return _shown(character)

    return _BEYOND_ASCII.sub(replace, text)


def one_line(text: str, longest: int = 600) -> str:
    """`visible` text without line breaks, cut to `longest` characters: for the server's own sentences."""
    text = _LINE_BREAKS.sub(" ", visible(text)).strip()
    return text if len(text) <= longest else text[: longest - 1] + "…"


@lru_cache(maxsize=4096)
def _shown(character: str) -> str:
    category = unicodedata.category(character)
    hidden = (
        (category[0] == "C")
        or category in ("Zl", "Zp")
        or character in _BLANK
        or 0xFE00 <= ord(character) <= 0xFE0F
        or 0xE0000 <= ord(character) <= 0xE0FFF
    )
    return f"<U+{ord(character):04X}>" if hidden else character


def _belongs_to_emoji(text: str, at: int) -> bool:
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if text[at] == _EMOJI_STYLE:
        return _is_emoji(before)
    return (_is_emoji(before) or (before == _EMOJI_STYLE and _is_emoji(text[at - 2 : at - 1]))) and _is_emoji(after)


def _is_emoji(character: str) -> bool:
    return bool(character) and (
        0x1F000 <= ord(character) <= 0x1FAFF
        or (0x2000 < ord(character) < 0x3300 and unicodedata.category(character) == "So")
    )


def as_text(content: object) -> str:
    """A message's content as a model reads it: a string as it is, any other JSON value as JSON."""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def tokens(text: str) -> int:
    """About how many tokens `text` is, rather too many than too few."""
    count = 0
    for word in _WORDS.findall(text):
        count += 1 if len(word) < 6 or not word.isalpha() else (len(word) + 4) // 5
    return count


def call(tool: str, /, **arguments: str | int | bool | EllipsisType | Sequence[str] | None) -> str:
    """The literal call of a tool; `...` stands for what the caller has to think of, None leaves an argument
    out.
    """
    given = (
        f"{name}={'…' if value is ... else json.dumps(value, ensure_ascii=False)}"
        for name, value in arguments.items()
        if value is not None
    )
    return f"{tool}({', '.join(given)})"


def span(seconds: float) -> str:
    """A length of time in one unit: `95 s`, `12 min`, `5 h`, `3 d`."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{round(seconds)} s"
    if seconds < 7_200:
        return f"{round(seconds / 60)} min"
    if seconds < 172_800:
        return f"{round(seconds / 3_600)} h"
    return f"{round(seconds / 86_400)} d"


def tell_time_by(now: Callable[[], datetime]) -> None:
    """From here on in this context, say how long ago something was by this clock, and not by the host's."""
    _now.set(now)


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago `moment` was: `41 min ago`, or `just now`."""
    passed = ((now or _now.get()()) - moment) / timedelta(seconds=1)
    return "just now" if passed < 2 else f"{span(passed)} ago"


def until(moment: datetime, now: datetime | None = None) -> float:
    """The seconds left until `moment`, 0 once it has passed."""
    return max(0.0, (moment - (now or _now.get()())) / timedelta(seconds=1))


def listed(names: Sequence[str], most: int = 8) -> str:
    """`alice, bob and carol`; `nobody` for none, a count for what is beyond `most`."""
    if not names:
        return "nobody"
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def counted(number: int, noun: str) -> str:
    """`1 message`, `3 messages`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def names(value: object) -> list[str]:
    """The names in a list, in a list written as JSON, or in text that separates them by commas."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError:
                value = value.strip(" []")
        if isinstance(value, str):
            value = value.split(",")
    if not isinstance(value, list):
        value = [value]
    cleaned = [str(name).strip() for name in cast("list[object]", value)]
    return [name for name in cleaned if name]
