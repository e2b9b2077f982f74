"""The numbers of one server process as Prometheus reads them. `FAMILIES` is all there is; `docs/metrics.md` is
written from it.

No label carries a name, a handle or free text: each takes its values from a set that is known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeAlias

from agent_messaging_mcp.errors import NOT_DONE

if TYPE_CHECKING:
    from agent_messaging.measures import Snapshot, WakeupSnapshot
    from agent_messaging_db.depths import Depths
    from agent_messaging_db.histogram import Distribution

OTHER = "other"
TOOLS = frozenset(NOT_DONE)
STATUSES = frozenset(
    {
        *("active", "agents", "answered", "cancelled", "conversation_ended", "created", "declined", "empty", "ended"),
        *("error", "expired", "failed", "items", "left", "meeting_ended", "messages", "nobody", "not_now"),
        *("not_your_turn", "nothing_open", "paused", "ready", "refused", "sent", "silenced", "waiting", "your_turn"),
    }
)
"""Of results; and `refused` for a tool error, `error` for an outage or a defect, `cancelled` by the client."""
REASONS = frozenset({"host", "origin", "headers", "body", "token", "rate", "waits", "streams", "queue", "flood"})
"""Why a request was turned away."""

Sample: TypeAlias = "tuple[tuple[str, ...], float | Distribution]"


@dataclass(slots=True)
class Numbers:
    """What the MCP side of one process counts."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    calls_in_progress: int = 0
    subscriptions: int = 0
    refusals: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(REASONS, 0)))

    def refused(self, reason: str) -> None:
        """Count a request that was turned away; one of `REASONS`."""
        self.refusals[reason if reason in REASONS else OTHER] += 1

    def called(self, tool: str, status: str) -> None:
        """Count a tool call that has ended; the status is one of `STATUSES`."""
        self.calls[tool if tool in TOOLS else OTHER, status if status in STATUSES else OTHER] += 1

    def calling(self) -> _Calling:
        """Count a tool call as in progress for as long as the block runs."""
        return _Calling(self)


@dataclass(frozen=True, slots=True)
class _Calling:
    numbers: Numbers

    def __enter__(self) -> None:
        self.numbers.calls_in_progress += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.numbers.calls_in_progress -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one page is made of. `snapshot` is None before the database was first reached, `depths` while it
    cannot be.
    """

    numbers: Numbers
    snapshot: Snapshot | None = None
    depths: Depths | None = None
    held_waits: int = 0
    requests: int = 0
    streams: int = 0


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` is without `agent_messaging_`; `worry` says when to do something about it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    worry: str
    read: Callable[[Reading], Iterable[Sample]]
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"agent_messaging_{self.name}"


def _sdk(read: Callable[[Snapshot], Mapping[str, float] | float | Distribution]) -> Callable[[Reading], list[Sample]]:
    return lambda reading: [] if reading.snapshot is None else _samples(read(reading.snapshot))


def _wakeups(read: Callable[[WakeupSnapshot], float | Distribution]) -> Callable[[Reading], list[Sample]]:
    def samples(reading: Reading) -> list[Sample]:
        wakeups = None if reading.snapshot is None else reading.snapshot.wakeups
        return [] if wakeups is None else _samples(read(wakeups))

    return samples


def _depth(read: Callable[[Depths], int]) -> Callable[[Reading], list[Sample]]:
    return lambda reading: [] if reading.depths is None else _samples(read(reading.depths))


def _own(read: Callable[[Reading], float]) -> Callable[[Reading], list[Sample]]:
    return lambda reading: _samples(read(reading))


def _samples(found: Mapping[str, float] | float | Distribution) -> list[Sample]:
    if isinstance(found, Mapping):
        return [((str(label),), value) for label, value in found.items()]
    return [((), found)]


FAMILIES = (
    Family(
        "calls_total",
        "counter",
        "Tool calls that have ended.",
        "`error` grows: the log says why. `refused` grows for one tool: its callers do not understand it.",
        lambda reading: [(key, count) for key, count in sorted(reading.numbers.calls.items())],
        ("tool", "status"),
    ),
    Family(
        "calls_in_progress",
        "gauge",
        "Tool calls that have no result yet, waiting ones among them.",
        "It grows while `held_waits` does not: calls hang, most likely on the database.",
        _own(lambda reading: reading.numbers.calls_in_progress),
    ),
    Family(
        "requests_refused_total",
        "counter",
        "Requests turned away before anything was done for them.",
        "`host`, `origin`: a name is missing from the allow-list, or somebody tries. `token`: expired, or guessed. "
        "`queue`, `flood`: an agent calls faster than it is served, or goes on after being refused.",
        lambda reading: [((reason,), count) for reason, count in sorted(reading.numbers.refusals.items())],
        ("reason",),
    ),
    Family(
        "requests_in_progress",
        "gauge",
        "Requests over HTTP that have no answer yet.",
        "It does not fall to 0 while the process drains.",
        _own(lambda reading: reading.requests),
    ),
    Family(
        "streams_open",
        "gauge",
        "Open-ended responses: SSE, and those of the 2025 era.",
        "It grows and never falls: clients leave without closing, or a proxy keeps what they closed.",
        _own(lambda reading: reading.streams),
    ),
    Family(
        "subscriptions_open",
        "gauge",
        "Resources that clients are told about.",
        "As for `streams_open`.",
        _own(lambda reading: reading.numbers.subscriptions),
    ),
    Family(
        "held_waits",
        "gauge",
        "Waits that are held inside a call.",
        "Near the number of agents × `AGENT_MESSAGING_MAX_OPEN_WAITS`: agents wait in parallel for nothing.",
        _own(lambda reading: reading.held_waits),
    ),
    Family(
        "messages_accepted_total",
        "counter",
        "Messages that this process has stored.",
        "Flat while agents work: look at `database_errors_total`.",
        _sdk(lambda snapshot: snapshot.messages),
        ("kind",),
    ),
    Family(
        "questions_settled_total",
        "counter",
        "Questions by what became of them. The process whose sweep finds one expired counts that.",
        "`expired` and `late` outgrow `answered`: agents are away, or their deadlines too short.",
        _sdk(lambda snapshot: snapshot.settled),
        ("outcome",),
    ),
    Family(
        "messages_refused_total",
        "counter",
        "Messages, answers and speeches that were not taken: the sender is silenced, the pair has spent its budget, "
        "or too many messages led there.",
        "`budget` or `hops` grows: agents keep each other busy; `agent-messaging silence` stops them.",
        _sdk(lambda snapshot: snapshot.refusals),
        ("reason",),
    ),
    Family(
        "meeting_turns_total",
        "counter",
        "Turns of meetings that have ended here, by how. Who goes away after missed turns counts as `timed_out` too.",
        "`timed_out` outgrows `spoken`: agents are called to meetings that nobody runs.",
        _sdk(lambda snapshot: snapshot.turns),
        ("how",),
    ),
    Family(
        "deliveries_claimed_total",
        "counter",
        "Messages taken for handlers in this process, repeated attempts among them.",
        "It outgrows what handlers get done: they fail and are tried again; the log says which.",
        _sdk(lambda snapshot: snapshot.deliveries_claimed),
    ),
    Family(
        "waits_open",
        "gauge",
        "Waits of all kinds in this process, those of handlers and of calls that only look among them.",
        "It grows without end: something waits and is never cancelled.",
        _sdk(lambda snapshot: snapshot.waits_open),
    ),
    Family(
        "waits_ended_total",
        "counter",
        "Waits that have ended. `window_ended` is normal, and so is a look that finds nothing.",
        "`failed` grows: the database was away at the last look.",
        _sdk(lambda snapshot: snapshot.waits_ended),
        ("reason",),
    ),
    Family(
        "wakeups_published_total",
        "counter",
        "Wake-ups sent to all processes.",
        "Flat while messages are accepted: NOTIFY does not get through.",
        _wakeups(lambda wakeups: wakeups.published),
    ),
    Family(
        "wakeups_heard_total",
        "counter",
        "Wake-ups heard from other processes.",
        "Flat although others publish: see `wakeups_arrive`.",
        _wakeups(lambda wakeups: wakeups.heard),
    ),
    Family(
        "wakeup_latency_seconds",
        "histogram",
        "From publishing a wake-up to hearing it oneself, as any other process does.",
        "The 99th percentile is above 0.25 s: the database, the way to it or this process is overloaded.",
        _wakeups(lambda wakeups: wakeups.latency),
    ),
    Family(
        "wakeups_arrive",
        "gauge",
        "1 if wake-ups are heard, 0 if not: then waits are up to a second slower.",
        "0 for longer than a restart of the database takes: set `LISTEN_DATABASE_URL` to a direct connection.",
        _wakeups(lambda wakeups: int(wakeups.hears)),
    ),
    Family(
        "wakeup_reconnects_total",
        "counter",
        "How often the connection that listens was made anew.",
        "It grows steadily: something between here and the database cuts idle connections.",
        _wakeups(lambda wakeups: wakeups.reconnects),
    ),
    Family(
        "database_up",
        "gauge",
        "1 if the database has answered this page within 2 s, or 5 s ago; 0 if not.",
        "0.",
        _own(lambda reading: int(reading.depths is not None)),
    ),
    Family(
        "database_errors_total",
        "counter",
        "Tries that failed; most are repeated and nobody notices.",
        "`outage`: the database or the way to it. `other`: a defect, which the log tells of.",
        _sdk(lambda snapshot: snapshot.database_errors),
        ("kind",),
    ),
    Family(
        "database_connections",
        "gauge",
        "Connections of the pool.",
        "`in_use` stays at `database_connections_limit`: raise `MAX_POOL_SIZE`, or look for slow statements.",
        _sdk(
            lambda snapshot: {
                "in_use": snapshot.pool_in_use,
                "idle": snapshot.pool_size - snapshot.pool_in_use,
            }
        ),
        ("state",),
    ),
    Family(
        "database_connections_limit",
        "gauge",
        "`MAX_POOL_SIZE`. Two more are used: for wake-ups, and for the lease.",
        "The sum over all processes nears `max_connections` of the server.",
        _sdk(lambda snapshot: snapshot.pool_limit),
    ),
    Family(
        "sweep_duration_seconds",
        "histogram",
        "Rounds of the sweep, which applies deadlines and finds what wake-ups have missed.",
        "The median is above half of `SWEEP_INTERVAL`: deadlines are applied late.",
        _sdk(lambda snapshot: snapshot.sweeps),
    ),
    Family(
        "batch_operations",
        "histogram",
        "Sends, and answers, that went out together as one statement.",
        "Most are at the upper end: the database takes writes more slowly than agents make them.",
        lambda reading: [] if reading.snapshot is None else _samples_of(reading.snapshot.batches),
        ("write",),
    ),
    Family(
        "unread_deliveries",
        "gauge",
        "Unread messages in all inboxes; above 10,000 an estimate. The same on every process.",
        "It grows for days: agents that nobody runs any more are written to.",
        _depth(lambda depths: depths.unread_deliveries),
    ),
    Family(
        "open_questions",
        "gauge",
        "Questions that wait for an answer; above 10,000 an estimate. The same on every process.",
        "It grows while `questions_settled_total` does not: nobody answers.",
        _depth(lambda depths: depths.open_questions),
    ),
    Family(
        "live_meetings",
        "gauge",
        "Meetings that have not ended; above 10,000 an estimate. The same on every process.",
        "It grows without end: meetings are called and not attended.",
        _depth(lambda depths: depths.live_meetings),
    ),
)


def _samples_of(found: Mapping[str, Distribution]) -> list[Sample]:
    return [((label,), distribution) for label, distribution in found.items()]
