"""How a command is told a duration: `90d`, `12h`."""

from __future__ import annotations

import re

_WRITTEN = re.compile(r"([0-9]{1,9})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def seconds_of(text: str) -> float | None:
    """Read a duration; in seconds, None if it is none or nothing."""
    written = _WRITTEN.fullmatch(text)
    if written is None or not int(written[1]):
        return None
    return float(int(written[1]) * _SECONDS[written[2]])
