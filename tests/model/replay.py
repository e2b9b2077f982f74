"""Seeds: each test says which one it took, and `AGENT_MESSAGING_SEED` takes the same again."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def seed_of(test: str) -> int:
    """The seed of this run of a test, printed with the command that replays it."""
    given = os.environ.get("AGENT_MESSAGING_SEED")
    seed = random.SystemRandom().randrange(2**32) if given is None else int(given)
    print(f"\nseed {seed}; again: AGENT_MESSAGING_SEED={seed} pytest -k {test}")
    return seed


class Seeded:
    """Decisions from a seed."""

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)

    def pick(self, items: Sequence[Item]) -> Item:
        return self.random.choice(items)
