"""External ids as callers write them, and short handles for agents to read."""

from __future__ import annotations

import re
from enum import StrEnum
from uuid import UUID

from agent_messaging.errors import InvalidIdentifierError

_EXTERNAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-:@/]{0,127}")
_SIGNS = "0123456789abcdefghjkmnpqrstvwxyz"  # no i, l, o, u: nothing to misread
_SPREAD = 0x9E37_79B1
LARGEST = 2**63 - 1  # of PostgreSQL's numbers


def is_external_id(text: object) -> bool:
    """Could this be the external id of anything?"""
    return isinstance(text, str) and _EXTERNAL_ID.fullmatch(text) is not None


def checked_external_id(text: str) -> str:
    """Give the external id back; raises InvalidIdentifierError."""
    if not is_external_id(text):
        raise InvalidIdentifierError(
            f"{str(text)[:140]!r} is not an external id: 1 to 128 letters, digits and . _ - : @ /, the first one a "
            "letter or digit"
        )
    return text


class HandleKind(StrEnum):
    """The letter that a handle begins with."""

    MEETING = "m"
    QUESTION = "q"
    CURSOR = "c"


def handle(kind: HandleKind, number: int) -> str:
    """Write a number as a handle such as m7f3: a letter, a digit, and two or more signs."""
    width = 2
    while number >= _capacity(width):
        width += 1
    # An odd multiplier that is no multiple of 5 permutes the numbers of each width: neighbours do not look
    # alike.
    rest = number * _SPREAD % _capacity(width)
    signs = ""
    for _ in range(width):
        rest, sign = divmod(rest, 32)
        signs = _SIGNS[sign] + signs
    return f"{kind}{rest}{signs}"


def number_of(kind: HandleKind, text: str) -> int | None:
    """Read a handle; None if it is not one of this kind."""
    written = text.strip().lower()
    first, signs = written[1:2], written[2:]
    if (
        written[:1] != kind
        or not first.isdecimal()
        or not first.isascii()
        or not 2 <= len(signs) <= 12
        or set(signs) - set(_SIGNS)
    ):
        return None
    rest = int(first)
    for sign in signs:
        rest = rest * 32 + _SIGNS.index(sign)
    number = rest * pow(_SPREAD, -1, _capacity(len(signs))) % _capacity(len(signs))
    return number if number <= LARGEST and handle(kind, number) == written else None


def _capacity(width: int) -> int:
    return 10 * 32**width


def parse_uuid(text: object) -> UUID | None:
    """Read a UUID; None if it is not one."""
    try:
        return UUID(text.strip()) if isinstance(text, str) else None
    except ValueError:
        return None
