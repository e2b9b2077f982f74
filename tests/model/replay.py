"""Seeds: each test says which one it took, and `AGENT_MESSAGING_SEED` takes the same again."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

from tests.promises import THOROUGH

Item = TypeVar("Item")

_SEED = 534702551


def seed_of(test: str) -> int:
    """The seed of this run of a test, printed with the command that replays it: always the same in the test suite, a
    new one where there is time to look for what nobody has seen (`make promises`).
    """
    new = random.SystemRandom().randrange(2**32) if THOROUGH else _SEED
    seed = int(os.environ.get("AGENT_MESSAGING_SEED", new))
    print(f"\nseed {seed}; again: AGENT_MESSAGING_SEED={seed} pytest -k {test}")
    return seed


class Seeded:
    """Decisions from a seed."""

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)

    def pick(self, items: Sequence[Item]) -> Item:
        return self.random.choice(items)
