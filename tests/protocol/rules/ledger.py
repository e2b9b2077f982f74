"""A second account of a meeting, kept from its recorded events alone, to hold the rules against.

It knows nothing of the rows: who attends, who is quiet and who is host follow from the entries, and the order
is a queue, where the rules compare numbers.
"""

from __future__ import annotations

from uuid import UUID

from agent_messaging.rules.meeting import MeetingState, NewEvent
from agent_messaging.rules.meeting_view import acting_host
from agent_messaging_db.rows import EndReason, MeetingEvent, MeetingPhase, MemberStatus


class Ledger:
    """One meeting, followed event by event.

    `missed` counts the grants since a member began to attend or was last granted the floor itself, `peak`
    the most that attended in that time. `quiet` tells passed (True) from skipped (False).
    """

    def __init__(self, state: MeetingState) -> None:
        self.host = state.meeting.host_id
        self.queue = [member.agent_id for member in state.members]
        self.new = set(self.queue)
        self.attending: set[UUID] = set()
        self.arrivals: list[UUID] = []
        self.missed: dict[UUID, int] = {}
        self.peak: dict[UUID, int] = {}
        self.skips = dict.fromkeys(self.queue, 0)
        self.quiet: dict[UUID, bool] = {}
        self.holder: UUID | None = None
        self.turn = 0
        self.started = False
        self.ended: EndReason | None = None

    def follow(self, event: NewEvent) -> None:
        """Take in one event and hold it against everything that was recorded before."""
        assert self.ended is None, "nothing happens after the end"
        agent = event.agent_id
        assert event.turn == self.turn
        match event.event:
            case MeetingEvent.AGENT_JOINED:
                assert agent is not None
                self._join(agent, returned=bool(event.data["returned"]))
            case MeetingEvent.AGENT_LEFT:
                assert agent is not None
                self._leave(agent, event)
            case MeetingEvent.MEETING_STARTED:
                self.started = True
                if agent is not None:
                    assert agent == self.host
                    self._granted(agent)
            case MeetingEvent.AGENT_SPOKE:
                assert agent is not None
                assert agent == self.holder
                self.quiet.clear()
                self.skips[agent] = 0
            case MeetingEvent.TURN_PASSED:
                assert agent is not None
                assert agent == self.holder
                self.quiet[agent] = True
                self.skips[agent] = 0
            case MeetingEvent.AGENT_TIMED_OUT:
                assert agent is not None
                self._skip(agent, away=bool(event.data["away"]))
            case MeetingEvent.HOST_CHANGED:
                assert event.data["from"] == str(self.host)
                assert agent is not None
                if event.data["acting"]:
                    longest = next(member for member in self.arrivals if member in self.attending)
                    assert agent == longest, "the longest-attending member acts as host"
                self.host = agent
            case MeetingEvent.MEETING_ENDED:
                self._end(EndReason(str(event.data["reason"])))
        if "next" in event.data:
            self._moves(event)

    def agrees_with(self, state: MeetingState) -> None:
        """The rows say what the events say."""
        meeting = state.meeting
        assert {member.agent_id for member in state.attending} == self.attending
        assert (meeting.turn, meeting.reason) == (self.turn, self.ended)
        assert (meeting.phase is MeetingPhase.CREATED) == (not self.started and self.ended is None)
        if self.ended is None:
            assert meeting.holder_id == self.holder
            assert acting_host(state) == self.host
            assert {m.agent_id: m.skips for m in state.members} == self.skips
            quiet = {m.agent_id for m in state.attending if m.quiet is not None}
            assert quiet == self.quiet.keys() & self.attending
        for member in state.members:
            assert (member.status is MemberStatus.INVITED) == (member.agent_id in self.new)

    def _join(self, agent: UUID, *, returned: bool) -> None:
        assert agent not in self.attending
        if not returned and (self.started or agent not in self.new):
            self.queue.remove(agent)
            self.queue.append(agent)
        self.new.discard(agent)
        self.attending.add(agent)
        self.arrivals = [member for member in self.arrivals if member != agent] + [agent]
        self.quiet.pop(agent, None)
        self.missed[agent] = 0
        self.peak[agent] = 0
        self._crowd()

    def _leave(self, agent: UUID, event: NewEvent) -> None:
        assert event.data["yielded"] == (agent == self.holder)
        assert event.data["declined"] == (not self.started or agent in self.new)
        assert agent in self.attending or self.skips[agent] >= 2 or agent in self.new
        self.new.discard(agent)
        self.attending.discard(agent)

    def _skip(self, agent: UUID, *, away: bool) -> None:
        assert agent == self.holder
        self.skips[agent] += 1
        assert away == (self.skips[agent] >= 2)
        self.quiet[agent] = False
        if away:
            self.attending.discard(agent)

    def _end(self, reason: EndReason) -> None:
        self.ended = reason
        self.holder = None
        silent = all(agent in self.quiet for agent in self.attending)
        passed = any(self.quiet.get(agent) for agent in self.attending)
        match reason:
            case EndReason.ALL_PASSED:
                assert silent
                assert passed
            case EndReason.ABANDONED:
                assert silent
                assert not passed
            case EndReason.CANCELLED | EndReason.NO_QUORUM:
                assert not self.started
            case _:
                assert self.started

    def _moves(self, event: NewEvent) -> None:
        onto, named = UUID(str(event.data["next"])), event.data.get("named")
        by_order = self._by_order()
        match event.data["why"]:
            case "named":
                assert named == str(onto)
                assert not self._overdue() or onto in self._overdue()
            case "order" if event.event is MeetingEvent.MEETING_STARTED:
                assert named is None
                assert onto == self.host if self.host in self.attending else onto == by_order
            case "order":
                assert named is None
                assert onto == by_order
            case "not_attending":
                assert named is not None
                assert UUID(str(named)) not in self.attending
                assert onto == by_order
            case "fairness":
                assert named is not None
                assert UUID(str(named)) in self.attending
                assert named != str(onto)
                assert onto in self._overdue()
            case why:
                raise AssertionError(why)
        assert self.attending
        assert event.event is MeetingEvent.MEETING_STARTED or self.attending - self.quiet.keys()
        assert event.data["next_turn"] == self.turn + 1
        self._granted(onto)

    def _granted(self, agent: UUID) -> None:
        assert agent in self.attending
        self.turn += 1
        self.holder = agent
        self.queue.remove(agent)
        self.queue.append(agent)
        self._crowd()
        for member in self.attending - {agent}:
            self.missed[member] += 1
            assert self.missed[member] < 3 * self.peak[member], "nobody attending sees 3n grants go by"
        self.missed[agent] = 0
        self.peak[agent] = len(self.attending)

    def _crowd(self) -> None:
        for member in self.attending:
            self.peak[member] = max(self.peak[member], len(self.attending))

    def _overdue(self) -> set[UUID]:
        return {agent for agent in self.attending if self.missed[agent] >= 2 * len(self.attending)}

    def _by_order(self) -> UUID | None:
        """The first in the queue; whoever has missed the most, if that is too many."""
        overdue = self._overdue()
        most = max((self.missed[agent] for agent in overdue), default=0)
        for agent in self.queue:
            if agent not in self.attending or (agent == self.holder and len(self.attending) > 1):
                continue
            if not overdue or (agent in overdue and self.missed[agent] == most):
                return agent
        return None
