"""Carries out what the rules of meetings decide: read, decide, compare-and-set, wake; under the row's lock
where that fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from agent_messaging.coalescing import Coalescer
from agent_messaging.engine import Engine
from agent_messaging.errors import MeetingNotFoundError, SilencedError
from agent_messaging.meeting_moments import (
    Moment,
    Refused,
    Sighting,
    Words,
    as_saved,
    changed_members,
    clocks_of,
    concerned,
    cursor_of,
    event_rows,
    granted_to,
    is_only_seen,
    nothing_due,
)
from agent_messaging.rules.meeting import (
    Command,
    End,
    HandOver,
    MeetingState,
    Refusal,
    RefusalReason,
    See,
    Speak,
    Start,
    Transition,
    apply_due,
    decide,
)
from agent_messaging_db import meetings, sync_points
from agent_messaging_db.keys import Key
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import MemberStatus
from agent_messaging_db.sync_points import SyncPoint

TRIES_WITHOUT_LOCK = 3
REMEMBERED = 1_000  # meetings whose floor was given on here


class MeetingStore:
    """The rows of meetings and the rules, brought together."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        # Everybody who waits in a meeting looks when it ends: they share a look.
        self._looks = Coalescer(self._look)
        self._granted: dict[UUID, Moment] = {}

    async def read(self, meeting: UUID) -> Moment:
        """Read a meeting with what is due applied; raises MeetingNotFoundError."""
        moment = await self._engine.read(lambda connection: _read(connection, meeting))
        return moment if nothing_due(moment) else await self.apply_due(meeting)

    def granted(self, meeting: UUID, agent: UUID) -> Moment | None:
        """Give, once, the meeting as it was saved here when it gave the floor to the agent: whoever waits for that here
        need not look for it.
        """
        moment = self._granted.get(meeting)
        if moment is None or moment.state.meeting.holder_id != agent:
            return None
        return self._granted.pop(meeting)

    async def look(self, meeting: UUID) -> Moment:
        """Read a meeting as its rows stand."""
        moment = await self._looks(meeting)
        if moment is None:
            raise _not_found(meeting)
        return moment

    async def _look(self, batch: Sequence[UUID]) -> list[Moment | None]:
        async with self._engine.database.connection() as connection:
            found = {meeting: await _find(connection, meeting) for meeting in dict.fromkeys(batch)}
        return [found[meeting] for meeting in batch]

    async def apply_due(self, meeting: UUID) -> Moment:
        """Record the deadlines that have passed."""
        saved = await self._carry_out(meeting, None, None, None)
        assert isinstance(saved, Moment)  # noqa: S101 - no command, so nothing to refuse
        return saved

    async def carry_out(
        self,
        meeting: UUID,
        command: Command,
        *,
        words: Words | None = None,
        key: Key | None = None,
        known: Moment | None = None,
    ) -> Moment | Refused:
        """Decide a command and save what follows, or say why it is refused. What is due is recorded either
        way. `known`: the meeting as the caller has read it, which saves reading it again; if it has moved on, it
        is read after all.

        Raises MeetingNotFoundError; Conflict if the key is taken.
        """
        return await self._carry_out(meeting, command, words, key, known)

    async def see(self, meeting: UUID, agent: UUID, found: Moment) -> Sighting | None:
        """Mark the turn that an agent was found to have as seen; None if it has passed."""
        command = See(agent, found.state.meeting.turn)
        transition = decide(found.state, command, found.now)
        if isinstance(transition, Transition) and is_only_seen(found, transition):
            saved = await self._engine.database.run(
                lambda connection, _: self._save_seen(connection, found, transition, agent)
            )
            if saved is not None:
                return saved
        moment = await self.carry_out(meeting, command)
        return None if isinstance(moment, Refused) else await self.sighting(moment, agent)

    async def sighting(self, moment: Moment, agent: UUID) -> Sighting:
        """Read what has happened that an agent has not proved to have received."""
        meeting, cursor = moment.state.meeting.id, cursor_of(moment, agent)
        events = await self._engine.read(
            lambda connection: meetings.events_after(connection, meeting=meeting, seq=cursor, limit=None)
        )
        return Sighting(moment, events)

    async def _save_seen(
        self, connection: Connection, moment: Moment, transition: Transition, agent: UUID
    ) -> Sighting | None:
        before, after = moment.state.meeting, transition.state.meeting
        if sync_points.hook is not None:
            await sync_points.hook(SyncPoint.MEETING_DECIDED)
        saved = await meetings.see_turn(
            connection,
            before=before,
            after=after,
            clocks=clocks_of(before, after, moment.now),
            unless_due=nothing_due(moment),
            after_seq=cursor_of(moment, agent),
        )
        if saved is None:
            return None
        deadline, now, events = saved
        self._engine.waiting.wake(concerned(before, after))
        return Sighting(as_saved(moment, transition, deadline, now), events)

    async def _carry_out(
        self,
        meeting: UUID,
        command: Command | None,
        words: Words | None,
        key: Key | None,
        known: Moment | None = None,
    ) -> Moment | Refused:
        touched: set[str] = set()

        async def work(connection: Connection, again: bool) -> Moment | Refused:
            result = await decided(connection, again=again)
            if again and isinstance(result, Refused) and (done := await self._done(connection, meeting, command)):
                return done
            return result

        async def decided(connection: Connection, *, again: bool) -> Moment | Refused:
            if known is not None and command is not None and not again and _unheard(known, command, words) is None:
                transition = _decide(known, command)
                # A refusal is only ever told of the meeting as it stands.
                if isinstance(transition, Transition) and transition.state is not known.state:
                    saved = await self._save(connection, known, transition, words, key, touched)
                    if saved is not None:
                        return saved
            for _ in range(TRIES_WITHOUT_LOCK):
                result = await self._attempt(connection, meeting, command, words, key, touched)
                if result is not None:
                    return result
            async with connection.transaction():
                if sync_points.hook is not None:
                    await sync_points.hook(SyncPoint.TRANSACTION_BEGUN)
                await meetings.lock_meeting(connection, meeting=meeting)
                while (result := await self._attempt(connection, meeting, command, words, key, touched)) is None:
                    # Only a deadline that passes between the reading and the saving brings us here.
                    pass
                if sync_points.hook is not None:
                    await sync_points.hook(SyncPoint.TRANSACTION_COMMITS)
                return result

        try:
            return await self._engine.database.run(work)
        finally:
            if touched:
                self._engine.waiting.wake(touched)

    async def _done(self, connection: Connection, meeting: UUID, command: Command | None) -> Moment | None:
        """The meeting, if an earlier try whose outcome is unknown has done what the command asks for, and so made the
        next one a refusal.
        """
        match command:
            case HandOver(to=to):
                moment = await _read(connection, meeting)
                return moment if moment.state.meeting.host_id == to else None
            case _:
                return None

    async def _attempt(
        self,
        connection: Connection,
        meeting: UUID,
        command: Command | None,
        words: Words | None,
        key: Key | None,
        touched: set[str],
    ) -> Moment | Refused | None:
        """Read, decide, compare-and-set; None if the meeting moved on in between."""
        moment = await _read(connection, meeting)
        decision = _unheard(moment, command, words) or _decide(moment, command)
        if isinstance(decision, Refusal):
            if (
                decision.due is not None
                and await self._save(connection, moment, decision.due, None, None, touched) is None
            ):
                return None
            return Refused(decision, moment.now)
        if decision.state is moment.state and key is None:
            return moment
        return await self._save(connection, moment, decision, words, key, touched)

    async def _save(
        self,
        connection: Connection,
        moment: Moment,
        transition: Transition,
        words: Words | None,
        key: Key | None,
        touched: set[str],
    ) -> Moment | None:
        before, after = moment.state.meeting, transition.state.meeting
        members = changed_members(moment.state.members, transition.state.members)
        touched |= concerned(before, after)
        if sync_points.hook is not None:
            await sync_points.hook(SyncPoint.MEETING_DECIDED)
        saved = await meetings.save_meeting(
            connection,
            before=before,
            after=after,
            members=members,
            events=event_rows(before, transition.events, words),
            clocks=clocks_of(before, after, moment.now),
            unless_due=nothing_due(moment),
            invitations_of=[member.agent_id for member in members if member.status is not MemberStatus.INVITED],
            key=key,
        )
        if saved is None:
            return None
        for event in transition.events:
            self._engine.counts.happened(event.event)
        result = as_saved(moment, transition, *saved)
        if granted_to(before, after) is not None:
            if len(self._granted) > REMEMBERED:
                self._granted.clear()
            self._granted[after.id] = result
        return result


async def _read(connection: Connection, meeting: UUID) -> Moment:
    moment = await _find(connection, meeting)
    if moment is None:
        raise _not_found(meeting)
    return moment


async def _find(connection: Connection, meeting: UUID) -> Moment | None:
    found = await meetings.get_meeting(connection, meeting=meeting)
    if found is None:
        return None
    row, members, now, silenced = found
    return Moment(MeetingState(row, members), now, silenced)


def _unheard(moment: Moment, command: Command | None, words: Words | None) -> Refusal | None:
    """Refuse what a silenced member would say; it may attend, pass, leave, and end its meeting without a word."""
    match command:
        case Speak() if words is not None and words.content is not None:
            speaker = command.agent
        case Start():
            speaker = command.host
        case End() if command.outcome is not None:
            speaker = command.host
        case _:
            return None
    if speaker not in moment.silenced:
        return None
    return Refusal(SilencedError, RefusalReason.SILENCED, moment.state, agent=speaker)


def _not_found(meeting: UUID) -> MeetingNotFoundError:
    return MeetingNotFoundError(f"there is no meeting {meeting}; check the id")


def _decide(moment: Moment, command: Command | None) -> Transition | Refusal:
    if command is not None:
        return decide(moment.state, command, moment.now)
    return apply_due(moment.state, moment.now) or Transition(moment.state, ())
