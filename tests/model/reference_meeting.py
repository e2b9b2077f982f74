"""The reference model of one meeting, written from the protocol's text: who has the floor, who is next, when it ends.

It keeps the order of speaking as a queue and counts for each member the grants that went by, where the product
compares numbers in rows; it imports nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OFFER = 120.0
TURN = 60.0
LONGEST = 86_400.0
MAX_TURNS = 200
"""The product's defaults: seconds, and turns."""


class Refused(Exception):
    """The protocol refuses, with this error."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the history; `words` only of a speech."""

    seq: int
    event: str
    agent: str | None
    turn: int
    words: str | None


@dataclass(slots=True)
class Member:
    """One member. `missed`: the grants that went by since it attends or had the floor itself. `quiet`: how it was
    silent last, if nobody spoke since.
    """

    part: str = "invited"
    skips: int = 0
    missed: int = 0
    quiet: str | None = None
    cursor: int = 0


@dataclass(slots=True)
class Meeting:
    """A meeting; moments are seconds since the history began."""

    number: int
    host: str
    seats: list[str]
    created: float
    deadline: float
    turn_duration: float = TURN
    quorum: int | None = None
    start_by: float | None = None
    max_turns: int = MAX_TURNS
    phase: str = "created"
    reason: str | None = None
    outcome: str | None = None
    turn: int = 0
    holder: str | None = None
    seen_seq: int | None = None
    floor_deadline: float | None = None
    members: dict[str, Member] = field(default_factory=dict[str, Member])
    queue: list[str] = field(default_factory=list[str])
    arrivals: list[str] = field(default_factory=list[str])
    log: list[Entry] = field(default_factory=list[Entry])

    def __post_init__(self) -> None:
        self.queue = list(self.seats)
        self.members = {agent: Member() for agent in self.seats}

    # What follows from the rest

    @property
    def attending(self) -> list[str]:
        return [agent for agent in self.queue if self.members[agent].part == "attending"]

    @property
    def needed(self) -> int:
        if self.quorum is not None:
            return self.quorum
        return max(2, sum(member.part != "declined" for member in self.members.values()))

    @property
    def status(self) -> str:
        ready = self.host in self.attending and len(self.attending) >= self.needed
        return "ready" if self.phase == "created" and ready else self.phase

    @property
    def acting_host(self) -> str:
        """The host; of an active meeting that it does not attend, whoever attends longest."""
        if self.phase != "active" or self.host in self.attending or not self.attending:
            return self.host
        return next(agent for agent in self.arrivals if agent in self.attending)

    @property
    def next_due(self) -> float | None:
        if self.phase == "ended":
            return None
        soonest = self.start_by if self.phase == "created" else self.floor_deadline
        return self.deadline if soonest is None else min(soonest, self.deadline)

    @property
    def next_in_order(self) -> str | None:
        if self.phase != "active" or self.turn >= self.max_turns:
            return None
        return self._by_order()

    def said_before(self, agent: str, turn: int | None, words: str | None) -> bool:
        """Whether the agent said, or passed with, exactly this on this turn."""
        return any(
            (entry.agent, entry.turn, entry.words) == (agent, turn, words)
            for entry in self.log
            if entry.event in ("agent_spoke", "turn_passed")
        )

    def signal(self, agent: str, now: float) -> dict[str, Any]:
        """What a member is told when its wait ends."""
        ended = self.phase == "ended"
        cursor = self.members[agent].cursor
        heard = [entry for entry in self.log[cursor:] if entry.event == "agent_spoke" and entry.agent != agent]
        left = None if ended or self.floor_deadline is None else self.floor_deadline - now
        return {
            "reason": "meeting_ended" if ended else "your_turn",
            "turn": None if ended else self.turn,
            "said": [[entry.agent, entry.turn, entry.seq, entry.words] for entry in heard],
            "seq": max(cursor, len(self.log)),
            "host": self.acting_host,
            "current_speaker": self.holder,
            "next_in_order": self.next_in_order,
            "turns_left": 0 if ended else self.max_turns - self.turn,
            "seconds_left": left,
            "ended": None if self.reason is None else [self.reason, self.outcome],
        }

    def picture(self) -> dict[str, Any]:
        """The meeting as `get_meeting_status` and `get_meeting_history` show it."""
        active = self.phase == "active"
        parts = {agent: member.part for agent, member in self.members.items()}
        if active:
            parts |= {agent: "speaking" if agent == self.holder else "waiting" for agent in self.attending}
        return {
            "status": self.status,
            "host": self.acting_host,
            "current_speaker": self.holder,
            "next_in_order": self.next_in_order,
            "seats": self.seats,
            "parts": parts,
            "quorum": self.needed,
            "max_turns": self.max_turns,
            "turn_deadline": self.floor_deadline if active else None,
            "next_at": self.next_due,
            "waiting_for": self._waited_for(),
            "reason": self.reason,
            "outcome": self.outcome,
            "log": [[entry.seq, entry.event, entry.agent, entry.turn, entry.words] for entry in self.log],
        }

    # What can be done

    def apply_due(self, now: float) -> None:
        """Whatever is due happens now, not when it was due."""
        if self.next_due is None or self.next_due > now:
            return
        before = self._hosting()
        if self.deadline <= now:
            self._end("no_quorum" if self.phase == "created" else "deadline")
        elif self.phase == "created":
            self._start_by_itself(now)
        else:
            self._skip(now)
        self._tell_of_host(before)

    def attend(self, agent: str, now: float, after_seq: int | None = None) -> None:
        self.apply_due(now)
        member = self._member(agent)
        if after_seq is not None:
            member.cursor = max(member.cursor, min(after_seq, len(self.log)))
        before = self._hosting()
        if member.part != "attending" and self.phase != "ended":
            self._join(agent)
        self._tell_of_host(before)

    def start(self, agent: str, words: str, following: str | None, now: float, *, force: bool) -> None:
        self.apply_due(now)
        self._only_members_host(agent)
        if self.phase != "created":
            raise Refused("MeetingEndedError" if self.phase == "ended" else "InvalidMeetingStateError")
        self._only_host(agent)
        if len({agent, *self.attending}) < (2 if force else self.needed):
            raise Refused("InvalidMeetingStateError")
        self._check_following(agent, following)
        if agent not in self.attending:
            self._join(agent)
        self.phase = "active"
        self._record("meeting_started", agent)
        self._grant(agent, now)
        self._speech(agent, words, following, now)

    def speak(
        self, agent: str, words: str | None, following: str | None, now: float, *, turn: int | None, passing: bool
    ) -> None:
        self.apply_due(now)
        member = self._member(agent)
        if self.phase != "active":
            raise Refused("MeetingEndedError" if self.phase == "ended" else "InvalidMeetingStateError")
        if self.holder != agent or turn not in (None, self.turn):
            raise Refused("NotCurrentSpeakerError")
        self._check_following(agent, following)
        before = self._hosting()
        if turn is not None and self.seen_seq is not None:
            member.cursor = max(member.cursor, self.seen_seq)
        if passing:
            member.skips, member.quiet = 0, "passed"
            self._record("turn_passed", agent)
            self._move(following, now)
        else:
            self._speech(agent, words, following, now)
        self._tell_of_host(before)

    def see(self, agent: str, now: float) -> bool:
        """Whether the agent is given a signal; the first one for a turn starts the clock of the turn."""
        if self.phase == "ended":
            return True
        if self.phase != "active" or self.holder != agent:
            return False
        if self.seen_seq is None:
            self.seen_seq = len(self.log)
            self.floor_deadline = now + self.turn_duration
        return True

    def leave(self, agent: str, now: float) -> None:
        self.apply_due(now)
        member = self._member(agent)
        if self.phase == "ended":
            return
        if agent == self.host:
            raise Refused("HostCannotLeaveError")
        before = self._hosting()
        if member.part not in ("left", "declined"):
            declines = self.phase == "created" or member.part == "invited"
            member.part = "declined" if declines else "left"
            self._record("agent_left", agent)
            if self.holder == agent:
                self._move(None, now)
        self._tell_of_host(before)

    def hand_over(self, agent: str, to: str, now: float) -> None:
        self.apply_due(now)
        self._only_members_host(agent)
        if self.phase == "ended":
            raise Refused("MeetingEndedError")
        self._only_host(agent)
        if to not in self.members:
            raise Refused("AgentNotInMeetingError")
        if to not in self.attending:
            raise Refused("InvalidMeetingStateError")
        before = self._hosting()
        self.host = to
        self._tell_of_host(before)

    def end(self, agent: str, outcome: str, now: float) -> None:
        self.apply_due(now)
        self._only_members_host(agent)
        if self.phase == "ended":
            return
        self._only_host(agent)
        self.outcome = outcome
        self._end("cancelled" if self.phase == "created" else "by_host", agent)

    # How it comes about

    def _member(self, agent: str) -> Member:
        if agent not in self.members:
            raise Refused("AgentNotInMeetingError")
        return self.members[agent]

    def _only_members_host(self, agent: str) -> None:
        if agent not in self.members:
            raise Refused("NotMeetingHostError")

    def _only_host(self, agent: str) -> None:
        if agent != self.acting_host:
            raise Refused("NotMeetingHostError")

    def _check_following(self, speaker: str, following: str | None) -> None:
        if following is None:
            return
        if following not in self.members:
            raise Refused("AgentNotInMeetingError")
        if following == speaker and set(self.attending) - {speaker}:
            raise Refused("InvalidMeetingStateError")

    def _record(self, event: str, agent: str | None, words: str | None = None) -> None:
        self.log.append(Entry(len(self.log) + 1, event, agent, self.turn, words))

    def _join(self, agent: str) -> None:
        """Those who come back from away, and the invited before the start, have a place; all others go to the end."""
        member = self.members[agent]
        if not (member.part == "away" or (member.part == "invited" and self.phase == "created")):
            self.seats = [seat for seat in self.seats if seat != agent] + [agent]
            self.queue = [place for place in self.queue if place != agent] + [agent]
        member.part, member.quiet, member.missed = "attending", None, 0
        self.arrivals = [arrived for arrived in self.arrivals if arrived != agent] + [agent]
        self._record("agent_joined", agent)

    def _start_by_itself(self, now: float) -> None:
        if len(self.attending) < self.needed:
            self._end("no_quorum")
            return
        first = self.host if self.host in self.attending else self.attending[0]
        self.phase = "active"
        self._record("meeting_started", None)
        self._grant(first, now)

    def _skip(self, now: float) -> None:
        assert self.holder is not None
        member = self.members[self.holder]
        member.skips += 1
        member.quiet = "skipped"
        if member.skips >= 2:
            member.part = "away"
        self._record("agent_timed_out", self.holder)
        self._move(None, now)

    def _speech(self, agent: str, words: str | None, following: str | None, now: float) -> None:
        self._record("agent_spoke", agent, words)
        self.members[agent].skips = 0
        for member in self.members.values():
            member.quiet = None
        self._move(following, now)

    def _move(self, named: str | None, now: float) -> None:
        quiet = [self.members[agent].quiet for agent in self.attending]
        if None not in quiet:
            self._end("all_passed" if "passed" in quiet else "abandoned")
        elif self.turn >= self.max_turns:
            self._end("max_turns")
        elif named is None or named not in self.attending:
            self._grant(self._by_order(), now)
        else:
            self._grant(self._overdue() or named, now)

    def _grant(self, agent: str, now: float) -> None:
        self.turn += 1
        self.holder, self.seen_seq = agent, None
        self.floor_deadline = now + OFFER
        self.queue = [place for place in self.queue if place != agent] + [agent]
        for other in self.members.values():
            other.missed += 1
        self.members[agent].missed = 0

    def _overdue(self) -> str | None:
        """Who has seen so many grants go by that it goes next whoever is named."""
        waited = [agent for agent in self.attending if self.members[agent].missed >= 2 * len(self.attending)]
        return max(waited, key=lambda agent: (self.members[agent].missed, -self.seats.index(agent)), default=None)

    def _by_order(self) -> str:
        others = [agent for agent in self.attending if agent != self.holder]
        return self._overdue() or (others or self.attending)[0]

    def _end(self, reason: str, by: str | None = None) -> None:
        self.phase, self.reason = "ended", reason
        self.holder = self.seen_seq = self.floor_deadline = None
        self._record("meeting_ended", by)

    def _hosting(self) -> tuple[str, bool]:
        return self.acting_host, self.acting_host == self.host

    def _tell_of_host(self, before: tuple[str, bool]) -> None:
        if self.phase != "ended" and before != self._hosting():
            self._record("host_changed", self.acting_host)

    def _waited_for(self) -> list[str] | None:
        match self.status:
            case "ended":
                return None
            case "active":
                return [self.holder] if self.holder is not None else []
            case "ready":
                return [self.host]
            case _:
                short = len(self.attending) < self.needed
                expected = [agent for agent in self.seats if self.members[agent].part == "invited"]
                return [agent for agent in expected if short or agent == self.host]
