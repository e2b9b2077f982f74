"""How long something lasts, as people write it on the command line: `90d`, `12h`."""

from __future__ import annotations

import re

import click

_WRITTEN = re.compile(r"([0-9]{1,9})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def seconds_of(text: str) -> float | None:
    """Read a duration; in seconds, None if it is none or nothing."""
    written = _WRITTEN.fullmatch(text)
    if written is None or not int(written[1]):
        return None
    return float(int(written[1]) * _SECONDS[written[2]])


def lifetime(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Read how long something holds; in seconds, None for ever."""
    if text is None or text == "never":
        return None
    if (seconds := seconds_of(text)) is None:
        raise click.BadParameter("write it like 30s, 15m, 12h, 90d or 2w, or `never`")
    return seconds
