"""What the audience sees: who did what, and when."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time

_COLOURS = {"alice": "35", "bob": "36", "carol": "33"}
_INDENT = 18
_WIDEST = 110


class Transcript:
    """Prints every line at once, with the seconds since the beginning; in colours only on a terminal."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def scene(self, title: str) -> None:
        """Begin a scene."""
        print(f"\n{self._painted(title, '1')}", flush=True)

    def tell(self, who: str, text: str, *, words: str = "") -> None:
        """Say what an agent did; `words` is what it said, in quotation marks."""
        seconds = self._painted(f"{time.monotonic() - self._began:7.1f} s", "2")
        width = min(shutil.get_terminal_size().columns, _WIDEST)
        quoted = f"{text} “{words}”" if words else text
        first, *rest = textwrap.wrap(quoted, max(width - _INDENT, 40), break_on_hyphens=False)
        name = self._painted(f"{who:<7}", _COLOURS.get(who, "2"))
        print("\n".join([f"{seconds}  {name}{first}", *(" " * _INDENT + line for line in rest)]), flush=True)

    def quote(self, text: str) -> None:
        """Show a document as it is."""
        bar = self._painted("│", "2")
        print("\n".join(f"{' ' * (_INDENT - 2)}{bar} {line}".rstrip() for line in text.splitlines()), flush=True)

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text
