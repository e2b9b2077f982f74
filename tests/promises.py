"""How hard the promises are tried, and what came of it: a few tries in every run, all of them in `make promises`."""

from __future__ import annotations

import json
import os
from pathlib import Path

THOROUGH = os.environ.get("AGENT_MESSAGING_THOROUGH") == "1"
"""Whether the promises are tried as often as `docs/promises.md` says."""


def tries(quick: int, thorough: int) -> int:
    """How often to try: `quick` in the test suite, `thorough` in `make promises`."""
    return thorough if THOROUGH else quick


def record(promise: str, what: str, *, tried: int, broken: int, **facts: float | str) -> None:
    """Print how often a promise ("R3") was tried and broken, and keep it for `make promises`."""
    line = json.dumps({"promise": promise, "what": what, "tried": tried, "broken": broken, **facts}, ensure_ascii=False)
    print(line)
    if figures := os.environ.get("AGENT_MESSAGING_FIGURES"):
        with Path(figures).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def kept(promise: str, what: str, *, tried: int, broken: int = 0, **facts: float | str) -> None:
    """Record how a promise fared, and fail if it was broken, or not tried."""
    record(promise, what, tried=tried, broken=broken, **facts)
    assert tried > 0, f"{promise}: nothing was tried: {what}"
    assert broken == 0, f"{promise}: broken {broken} of {tried} times: {what}"
