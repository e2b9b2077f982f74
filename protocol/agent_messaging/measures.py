"""What one SDK object counts while it works, and what it asks the database when somebody wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

from agent_messaging_db import depths
from agent_messaging_db.carrier import Carrier, WakeupCounts
from agent_messaging_db.depths import Depths
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.histogram import Distribution, Histogram
from agent_messaging_db.pool import Database
from agent_messaging_db.rows import MeetingEvent, MessageKind

DEPTHS_FRESH = 5.0  # seconds for which nobody asks the database again
DEPTHS_PATIENCE = 2.0
SWEEP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_SIZES = (1, 2, 5, 10, 25, 50, 100, 200, 400)


class Settled(StrEnum):
    """What became of a question."""

    ANSWERED = "answered"
    LATE = "late"
    DECLINED = "declined"
    EXPIRED = "expired"


class Refused(StrEnum):
    """Why a message was not taken that was well-formed: its sender is silenced, the two have spent their budget, or too
    many messages led to it.
    """

    SILENCED = "silenced"
    BUDGET = "budget"
    HOPS = "hops"


_REFUSED = {"silenced": Refused.SILENCED, "paused": Refused.BUDGET, "too_far": Refused.HOPS}


class WaitEnd(StrEnum):
    """Why a wait ended: something was there, the window was over, the caller left, or the database failed."""

    FOUND = "found"
    WINDOW_ENDED = "window_ended"
    CANCELLED = "cancelled"
    FAILED = "failed"


TURNS = {
    MeetingEvent.AGENT_SPOKE: "spoken",
    MeetingEvent.TURN_PASSED: "passed",
    MeetingEvent.AGENT_TIMED_OUT: "timed_out",
}


class Counts:
    """Integers that the parts of one SDK object increment where it happens."""

    def __init__(self) -> None:
        self.messages = dict.fromkeys((kind for kind in MessageKind if kind is not MessageKind.INVITATION), 0)
        self.settled = dict.fromkeys(Settled, 0)
        self.refusals = dict.fromkeys(Refused, 0)
        self.deliveries_claimed = 0
        self.turns = dict.fromkeys(TURNS.values(), 0)
        self.waits_open = 0
        self.waits_ended = dict.fromkeys(WaitEnd, 0)
        self.sweeps = Histogram(SWEEP_SECONDS)
        self.sends = Histogram(BATCH_SIZES)
        self.answers = Histogram(BATCH_SIZES)

    def refused(self, verdict: str) -> None:
        """Count a verdict on a message, if it is a refusal by etiquette."""
        if (why := _REFUSED.get(verdict)) is not None:
            self.refusals[why] += 1

    def happened(self, event: MeetingEvent) -> None:
        """Count what happened in a meeting, if it is the end of a turn."""
        if (how := TURNS.get(event)) is not None:
            self.turns[how] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What an SDK object had counted at one moment, since it was made; durations are seconds.

    `messages`: accepted, by kind. `settled`: questions by what became of them; one that was expired by the
    sweep of this process and answered later counts twice. `wakeups`: since it was opened, None before.
    """

    messages: Mapping[str, int]
    settled: Mapping[str, int]
    refusals: Mapping[str, int]
    deliveries_claimed: int
    turns: Mapping[str, int]
    waits_open: int
    waits_ended: Mapping[str, int]
    wakeups: WakeupSnapshot | None
    sweeps: Distribution
    batches: Mapping[str, Distribution]
    database_errors: Mapping[str, int]
    pool_size: int
    pool_in_use: int
    pool_limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeupSnapshot:
    """Wake-ups published and heard from other processes, and whether any can be heard; `latency`: from publishing
    one to hearing it oneself.
    """

    hears: bool
    published: int
    heard: int
    reconnects: int
    latency: Distribution


class Measures:
    """The numbers of one SDK object, for metrics (`sdk.measures`). Nothing here names an agent or holds content."""

    def __init__(self, counts: Counts, database: Database, *, pool_limit: int) -> None:
        self._counts = counts
        self._database = database
        self._pool_limit = pool_limit
        self._wakeups: Carrier | None = None
        self._depths: Depths | None = None
        self._asked_at = -DEPTHS_FRESH
        self._asking = asyncio.Lock()

    def listen_to(self, wakeups: Carrier) -> None:
        """Tell of these wake-ups from now on."""
        self._wakeups = wakeups

    def snapshot(self) -> Snapshot:
        """Give what has been counted; asks nobody."""
        counts, errors, wakeups = self._counts, self._database.errors, self._wakeups
        return Snapshot(
            messages={kind.value: count for kind, count in counts.messages.items()},
            refusals={why.value: count for why, count in counts.refusals.items()},
            settled={outcome.value: count for outcome, count in counts.settled.items()},
            deliveries_claimed=counts.deliveries_claimed,
            turns=dict(counts.turns),
            waits_open=counts.waits_open,
            waits_ended={end.value: count for end, count in counts.waits_ended.items()},
            wakeups=None if wakeups is None else _told(wakeups.counts, hears=wakeups.hears),
            sweeps=counts.sweeps.now(),
            batches={"send": counts.sends.now(), "answer": counts.answers.now()},
            database_errors={"outage": errors.outage, "deadlock": errors.deadlock, "other": errors.other},
            pool_size=self._database.size,
            pool_in_use=self._database.in_use,
            pool_limit=self._pool_limit,
        )

    async def depths(self) -> Depths | None:
        """Give how much waits in the database, for all processes together; it may be 5 s old.

        None if the database does not answer within 2 s: whoever asks watches it, and must not wait for it.
        """
        async with self._asking:
            if monotonic() - self._asked_at >= DEPTHS_FRESH:
                self._depths = await self._ask()
                self._asked_at = monotonic()
            return self._depths

    async def _ask(self) -> Depths | None:
        try:
            async with asyncio.timeout(DEPTHS_PATIENCE), self._database.connection() as connection:
                return await depths.depths(connection)
        except (DatabaseUnavailable, TimeoutError):
            return None


def _told(counts: WakeupCounts, *, hears: bool) -> WakeupSnapshot:
    return WakeupSnapshot(
        hears=hears,
        published=counts.published,
        heard=counts.heard,
        reconnects=max(counts.connections - 1, 0),
        latency=counts.latency.now(),
    )
