"""The ends of windows: thousands of moments share one timer of the loop."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from typing import Protocol, TypeAlias

SPARE = 64  # entries of the past that nobody minds


class Sleeper(Protocol):
    """Who is called; `alarm` is its own to leave alone."""

    alarm: int

    def rouse(self) -> None: ...


_Entry: TypeAlias = tuple[float, int, Sleeper]


class Alarms:
    """Calls `rouse()` of each sleeper at its moment, one for each at a time.

    A timer of its own for each would take more memory than all else that a sleeper is.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._numbers = itertools.count(1)
        self._set = 0
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def set(self, sleeper: Sleeper, seconds: float) -> None:
        """Rouse it in so many seconds."""
        when = asyncio.get_running_loop().time() + seconds
        sleeper.alarm = next(self._numbers)
        heapq.heappush(self._entries, (when, sleeper.alarm, sleeper))
        self._set += 1
        if when < self._rings_at:
            self._ring_at(when)

    def cancel(self, sleeper: Sleeper) -> None:
        """Let it sleep, if it was to be roused."""
        if not sleeper.alarm:
            return
        sleeper.alarm = 0
        self._set -= 1
        # What was cancelled stays until its moment comes, unless it is most of what there is.
        if len(self._entries) > 2 * self._set + SPARE:
            self._entries = [entry for entry in self._entries if entry[2].alarm == entry[1]]
            heapq.heapify(self._entries)

    def _ring(self) -> None:
        self._rings_at = math.inf
        now = asyncio.get_running_loop().time()
        while self._entries and self._entries[0][0] <= now:
            _, number, sleeper = heapq.heappop(self._entries)
            if sleeper.alarm == number:
                sleeper.alarm = 0
                self._set -= 1
                sleeper.rouse()
        if self._entries:
            self._ring_at(self._entries[0][0])

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = asyncio.get_running_loop().call_at(when, self._ring)
