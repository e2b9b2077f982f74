"""How hard the promises are tried, and what came of it: a few tries in every run, all of them in `make promises`."""

from __future__ import annotations

import os

from tools.figures import record

THOROUGH = os.environ.get("AGENT_MESSAGING_THOROUGH") == "1"
"""Whether the promises are tried as often as `docs/promises.md` says."""


def tries(quick: int, thorough: int) -> int:
    """How often to try: `quick` in the test suite, `thorough` in `make promises`."""
    return thorough if THOROUGH else quick


def kept(promise: str, what: str, *, tried: int, broken: int = 0, **facts: float | str) -> None:
    """Record how a promise fared, and fail if it was broken, or not tried."""
    record(promise, what, tried=tried, broken=broken, **facts)
    assert tried > 0, f"{promise}: nothing was tried: {what}"
    assert broken == 0, f"{promise}: broken {broken} of {tried} times: {what}"
