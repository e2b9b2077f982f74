"""What one agent may ask of one server process: so many calls a minute, so many open waits and streams."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from types import TracebackType

from agent_messaging_mcp.scoped import Scoped

_REMEMBERED = 10_000

_pause: ContextVar[float] = ContextVar("pause", default=0.0)


class TooManyOpen(Exception):
    """The agent has as many open as it may have."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} are open")
        self.most = most


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class Rate:
    """A token bucket for each agent: a minute's calls at once, then evenly.

    Of this process alone: an agent that calls several has an allowance in each.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, agent: str) -> float:
        """Count a call. Gives 0, or the seconds until one is allowed again; then nothing was counted."""
        bucket = self._filled(agent)
        if bucket.tokens < 1:
            return self._seconds(bucket)
        bucket.tokens -= 1
        return 0

    def pause(self, agent: str) -> float:
        """What `take` would give, without counting."""
        if agent not in self._buckets:
            return 0
        bucket = self._filled(agent)
        return 0 if bucket.tokens >= 1 else self._seconds(bucket)

    def _filled(self, agent: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(agent)
        if bucket is None:
            bucket = self._buckets[agent] = _Bucket(self.per_minute, now)
            if len(self._buckets) > _REMEMBERED:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(agent)
        bucket.tokens = min(self.per_minute, bucket.tokens + (now - bucket.filled_at) * self.per_minute / 60)
        bucket.filled_at = now
        return bucket

    def _seconds(self, bucket: _Bucket) -> int:
        return math.ceil((1 - bucket.tokens) * 60 / self.per_minute)


class Door:
    """Closed to an agent that goes on after it has been refused: so many refusals a minute are told in full."""

    def __init__(self, refusals: int = 100, *, clock: Callable[[], float] = monotonic) -> None:
        self._refusals = Rate(refusals, clock=clock)

    def refused(self, agent: str) -> None:
        """Count a refusal."""
        self._refusals.take(agent)

    def closed_for(self, agent: str) -> float:
        """How many seconds it stays closed to the agent; 0: it is open."""
        return self._refusals.pause(agent)


def pausing(seconds: float) -> Scoped[float]:
    """Let a request know that its caller has made too many and is to make none for so long; 0: it has not."""
    return Scoped(_pause, seconds)


def pause() -> float:
    """How long the caller of this request is to make none; 0 if it may."""
    return _pause.get()


class Open:
    """How many waits, or streams, each agent has open in this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self._open.total()

    def one(self, agent: str) -> _One:
        """Count one for as long as the block runs. Raises `TooManyOpen`."""
        return _One(self, agent)

    def begin(self, agent: str) -> None:
        """Count one. Raises `TooManyOpen`."""
        if self._open[agent] >= self._most:
            raise TooManyOpen(self._most)
        self._open[agent] += 1

    def end(self, agent: str) -> None:
        """Count one no more."""
        self._open[agent] -= 1
        if not self._open[agent]:
            del self._open[agent]


@dataclass(frozen=True, slots=True)
class _One:
    among: Open
    agent: str

    def __enter__(self) -> None:
        self.among.begin(self.agent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.among.end(self.agent)
