"""Where to read on in a history: after an entry, or inside one whose text was cut."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent_messaging.errors import InvalidArgumentError

_POSITION = re.compile(r"(\d{1,18})(?::(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Position:
    """Entries after `after_seq` (None: the newest ones). The text of entry `within` begins at character
    `start`.
    """

    after_seq: int | None
    within: int | None = None
    start: int = 0


def position(after: str) -> Position:
    """`""` is the newest, `"12"` after entry 12, `"12:6000"` entry 12 from its character 6,000 on.

    Raises `InvalidArgumentError`.
    """
    if not after.strip():
        return Position(None)
    found = _POSITION.fullmatch(after.strip())
    if found is None:
        raise InvalidArgumentError(f"after is a number as the results give it, like 12, not {after[:40]!r}")
    seq, start = int(found[1]), found[2]
    return Position(seq) if start is None else Position(max(seq - 1, 0), seq, int(start))
