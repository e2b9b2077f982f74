"""Ids: UUIDv7, made by the process that writes the row before its first attempt, so that its own retry is recognised.

They are of the driver's type, a `uuid.UUID` that goes to the server as it is.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from typing import TypeAlias
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID

_State: TypeAlias = tuple[int, int, Iterator[int]]  # a millisecond, what its ids begin with, what they end with

_ROOM = 2**61  # to count upwards within a millisecond


def new_id() -> UUID:
    """Make a UUIDv7; those of one thread sort in the order in which they were made."""
    global _state
    millisecond, head, tails = _state
    if (now := time.time_ns() // 1_000_000) > millisecond:
        _, head, tails = _state = _begun(now)
    # One step, so that no two threads get the same.
    return DriverUUID((head | next(tails)).to_bytes(16))


def _begun(millisecond: int) -> _State:
    random = int.from_bytes(os.urandom(10))
    head = millisecond << 80 | 0x7 << 76 | (random >> 64 & 0xFFF) << 64 | 0b10 << 62
    return millisecond, head, itertools.count(random % _ROOM)


def _forget() -> None:
    global _state
    _state = (0, 0, iter(()))


_state: _State = (0, 0, iter(()))
# A child would go on where its parent does.
os.register_at_fork(after_in_child=_forget)
