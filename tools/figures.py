"""Figures: how often a promise of docs/promises.md was tried, and how often it was broken."""

from __future__ import annotations

import json
import os
from pathlib import Path

KEPT = "AGENT_MESSAGING_FIGURES"
"""The environment's name of the file in which figures are kept, one a line; `make promises` sets it."""


def record(promise: str, what: str, *, tried: int, broken: int, **facts: float | str) -> None:
    """Print how often a promise ("R3") was tried and broken, and keep it for `make promises`."""
    line = json.dumps({"promise": promise, "what": what, "tried": tried, "broken": broken, **facts}, ensure_ascii=False)
    print(line)
    if kept := os.environ.get(KEPT):
        with Path(kept).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
