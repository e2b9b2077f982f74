"""Meetings: create, attend, start, speak, leave, hand over, end, and read back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from agent_messaging.answering import Answers
from agent_messaging.content import checked_text, encode_metadata
from agent_messaging.engine import Engine, whole, window
from agent_messaging.errors import AgentMessagingError, InvalidMeetingError, MeetingNotFoundError
from agent_messaging.etiquette import hop_of, silenced
from agent_messaging.inbox import Inbox
from agent_messaging.meeting_floor import Floors
from agent_messaging.meeting_moments import Moment, Refused, Words
from agent_messaging.meeting_store import MeetingStore
from agent_messaging.meeting_views import MeetingViews, seconds_since
from agent_messaging.meeting_words import refused
from agent_messaging.models import (
    Meeting,
    MeetingMessage,
    MeetingParticipant,
    MeetingStatusResponse,
    TurnSignal,
)
from agent_messaging.outbox import key_for
from agent_messaging.rules.meeting import (
    Attend,
    Command,
    End,
    HandOver,
    Leave,
    Refusal,
    RefusalReason,
    Speak,
    Start,
)
from agent_messaging.rules.meeting_creation import MOST_TURNS, create
from agent_messaging.waiting import agent_topic
from agent_messaging_db import meetings
from agent_messaging_db.errors import Conflict
from agent_messaging_db.ids import new_id
from agent_messaging_db.keys import Key
from agent_messaging_db.meetings import NewMeeting
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import IdentityRow

M = TypeVar("M")

LONGEST_TITLE = 200
LONGEST_TEXT = 8_000


class MeetingManager(Generic[M]):
    """Multi-agent meetings in which one speaks at a time (the design's `MeetingManager`)."""

    def __init__(self, engine: Engine[M], store: MeetingStore, answers: Answers[M], inbox: Inbox[M]) -> None:
        self._engine = engine
        self._store = store
        self._answers = answers
        self._views: MeetingViews[M] = MeetingViews(engine)
        self._floors: Floors[M] = Floors(engine, store, self._views, inbox)

    async def create_meeting(
        self,
        host_external_id: str,
        agent_external_ids: Sequence[str],
        turn_duration: float | None = None,
        *,
        title: str | None = None,
        agenda: str | None = None,
        quorum: int | None = None,
        start_by: float | None = None,
        offer_timeout: float | None = None,
        max_turns: int | None = None,
        deadline: float | None = None,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> UUID:
        """Create a meeting and invite its members, the host among them; gives its id. Durations are seconds.

        The host may be left out of the list. `turn_duration` runs from when a speaker has seen its turn,
        `offer_timeout` until it does. `quorum`: how many must attend (default: everyone who has not declined,
        at least 2). `start_by` and `deadline` count from now: at `start_by` the meeting starts by itself if
        the quorum is met, and ends otherwise; at `deadline` (default and bound: `max_meeting_duration`) it
        ends whatever happens. `max_turns` counts every turn, passed and skipped ones too.

        Raises:
            AgentNotFoundError: an agent does not exist.
            InvalidMeetingError: an agent is named twice, there are fewer than two or more than 100, or a
                limit is out of range. SilencedError: the host is silenced; HopLimitError: too many messages led
                here. No meeting was created.
        """
        engine = self._engine
        await engine.ready()
        host, *members = await engine.names.agents([host_external_id, *_listed(agent_external_ids)])
        config = engine.config
        if turn_duration is None:
            turn_duration = config.default_turn_duration
        id = new_id()
        state = create(
            id,
            host.id,
            [member.id for member in members],
            await engine.read(lambda connection: meetings.database_time(connection)),
            turn_duration=turn_duration if config.enable_turn_timeout else None,
            offer_timeout=config.default_offer_timeout if offer_timeout is None else offer_timeout,
            max_turns=config.default_max_turns if max_turns is None else max_turns,
            max_meeting_duration=config.max_meeting_duration,
            title=checked_text(title, name="the title", limit=LONGEST_TITLE, error=InvalidMeetingError),
            agenda=checked_text(agenda, name="the agenda", limit=LONGEST_TEXT, error=InvalidMeetingError),
            quorum=quorum,
            start_by=start_by,
            deadline=deadline,
        )
        if isinstance(state, Refusal):
            names = {agent.id: agent.external_id for agent in (host, *members)}
            raise refused(state, id, names, attempted="no meeting was created")
        agents = tuple(member.agent_id for member in state.members)
        payload = [str(agent) for agent in agents], title, agenda, quorum, metadata
        new = NewMeeting(
            id=id,
            host_id=host.id,
            members=agents,
            invitations=tuple(new_id() for _ in agents),
            title=title,
            agenda=agenda,
            turn_duration=state.meeting.turn_duration,
            offer_timeout=state.meeting.offer_timeout,
            quorum=quorum,
            start_by=start_by,
            deadline=config.max_meeting_duration if deadline is None else deadline,
            max_turns=state.meeting.max_turns,
            metadata=encode_metadata(metadata),
            key=key_for(host.id, idempotency_key, "create_meeting", *payload),
        )
        engine.presence.seen(host.id)
        return await self._insert(new, host)

    async def attend_meeting(
        self,
        agent_external_id: str,
        meeting_id: UUID,
        timeout: float | None = None,
        *,
        after_seq: int | None = None,
        interruptible: bool = False,
    ) -> TurnSignal[M]:
        """Attend a meeting and wait for one's turn, or its end. Calling again resumes, from any process.

        `after_seq`: the last entry that the agent has received. `interruptible`: end early when something
        else needs the agent.

        Raises:
            AgentNotFoundError: the agent does not exist.
            MeetingNotFoundError: the meeting does not exist.
            AgentNotInMeetingError: the agent was not invited.
            MeetingTimeoutError: `timeout` seconds passed (default: `default_meeting_timeout`); the agent
                still attends. WaitInterruptedError: something else needs the agent (with `interruptible`); it
                still attends.
        """
        agent = await self._begin(agent_external_id)
        patience = window(timeout, self._engine.config.default_meeting_timeout)
        received = None if after_seq is None else whole(after_seq, "after_seq")
        await self._do(agent, meeting_id, Attend(agent.id, received), "not attending")
        with self._engine.presence.waiting(agent.id):
            return await self._floors.wait(agent, meeting_id, patience, interruptible=interruptible)

    async def start_meeting(
        self,
        host_external_id: str,
        meeting_id: UUID,
        initial_message: M,
        next_speaker_external_id: str | None = None,
        *,
        force: bool = False,
        wait: bool = False,
        timeout: float | None = None,
        interruptible: bool = False,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> TurnSignal[M] | None:
        """Start the meeting with the host's opening message, which is turn 1; then the named next speaker, or
        the order.

        `force` starts without the quorum, with two attending at least. `wait` waits for the host's next turn,
        like `speak`.

        Raises:
            AgentNotFoundError: the host or the next speaker does not exist.
            MeetingNotFoundError: the meeting does not exist.
            NotMeetingHostError: the caller is not the host.
            InvalidMeetingStateError: not enough attend (it names who is missing), or it has started already.
            MeetingTimeoutError, WaitInterruptedError: with `wait`; the meeting has started all the same.
        """
        host = await self._begin(host_external_id)
        patience = window(timeout, self._engine.config.default_meeting_timeout)
        following = await self._optional(next_speaker_external_id)
        words = Words(new_id(), self._engine.codec.encode(initial_message), encode_metadata(metadata))
        payload = (
            "start_meeting",
            str(meeting_id),
            words.content,
            words.metadata,
            following and str(following.id),
            force,
        )
        key = key_for(host.id, idempotency_key, *payload)
        command = Start(host.id, None if following is None else following.id, force)
        await self._say(host, meeting_id, command, words, key, turn=1, attempted="the meeting was not started")
        if not wait:
            return None
        with self._engine.presence.waiting(host.id):
            return await self._floors.wait(host, meeting_id, patience, interruptible=interruptible)

    async def speak(
        self,
        speaker_external_id: str,
        meeting_id: UUID,
        message: M | None,
        next_speaker_external_id: str | None = None,
        timeout: float | None = None,
        *,
        turn: int | None = None,
        interruptible: bool = False,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> TurnSignal[M]:
        """Speak on one's turn, hand the floor on, and wait for the next turn or the end; `message=None`
        passes.

        `turn` is the number that the signal gave: naming it proves that the signal was received. None means
        the turn last signalled to this agent by this SDK object. The same speaker, turn and content again:
        nothing is said twice, the wait goes on.

        Raises:
            AgentNotFoundError: the speaker or the next speaker does not exist.
            MeetingNotFoundError: the meeting does not exist.
            NotCurrentSpeakerError: the floor is somebody else's, or the turn has passed; nothing was
                recorded. AgentNotInMeetingError: the next speaker was never invited; the floor is kept.
                InvalidMeetingStateError: the next speaker is oneself; MeetingEndedError: the meeting has
                ended. MeetingTimeoutError, WaitInterruptedError: the wait ended; what was said is recorded.
        """
        speaker = await self._begin(speaker_external_id)
        patience = window(timeout, self._engine.config.default_meeting_timeout)
        following = await self._optional(next_speaker_external_id)
        if turn is None:
            named = self._floors.last_signalled(speaker.id, _checked(meeting_id))
        else:
            named = whole(turn, "turn", least=1, most=MOST_TURNS)
        content = None if message is None else self._engine.codec.encode(message)
        words = Words(new_id(), content, encode_metadata(metadata))
        payload = ("speak", str(meeting_id), words.content, words.metadata, following and str(following.id), turn)
        key = key_for(speaker.id, idempotency_key, *payload)
        command = Speak(speaker.id, named, message is None, None if following is None else following.id)
        attempted = "not passed" if message is None else "nothing was said"
        known = self._floors.as_signalled(speaker.id, _checked(meeting_id), named)
        watch = self._floors.watch(speaker, meeting_id)
        try:
            said = await self._say(
                speaker, meeting_id, command, words, key, turn=named, attempted=attempted, known=known
            )
        except BaseException:
            watch.stop()
            raise
        if interruptible or said.state.meeting.holder_id in (None, speaker.id):
            # There may be something already: what else needs the speaker, its next turn, or the end.
            watch.stop()
            watch = None
        with self._engine.presence.waiting(speaker.id):
            return await self._floors.wait(speaker, meeting_id, patience, interruptible=interruptible, watch=watch)

    async def end_meeting(self, host_external_id: str, meeting_id: UUID, *, outcome: str | None = None) -> None:
        """End the meeting, or cancel it before its start; every wait in it returns. `outcome` is kept and
        told.

        Ending an ended meeting does nothing; the first reason stands.

        Raises:
            AgentNotFoundError: the host does not exist.
            MeetingNotFoundError: the meeting does not exist.
            NotMeetingHostError: the caller is not the host.
        """
        host = await self._begin(host_external_id)
        checked_text(outcome, name="the outcome", limit=LONGEST_TEXT, error=InvalidMeetingError)
        await self._do(host, meeting_id, End(host.id, outcome), "the meeting was not ended")

    async def leave_meeting(
        self,
        agent_external_id: str,
        meeting_id: UUID,
        *,
        after_turn: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Leave the meeting; decline it, while invited or before its start. A speaker yields the floor and
        leaves at once.

        `after_turn`: wait, `timeout` seconds at most, until the agent does not have the floor (the design's
        "waits for their turn to finish"); cut short, nothing has changed.

        Raises:
            AgentNotFoundError: the agent does not exist.
            MeetingNotFoundError: the meeting does not exist.
            AgentNotInMeetingError: the agent is no member.
            HostCannotLeaveError: the agent is the host; it hands over or ends the meeting first.
            MeetingTimeoutError: with `after_turn`, the turn did not end in time.
        """
        agent = await self._begin(agent_external_id)
        patience = window(timeout, self._engine.config.default_meeting_timeout)
        if after_turn:
            with self._engine.presence.waiting(agent.id):
                await self._floors.wait_to_be_without(agent, meeting_id, patience)
        await self._do(agent, meeting_id, Leave(agent.id), "not left")

    async def hand_over_host(self, host_external_id: str, meeting_id: UUID, to_external_id: str) -> None:
        """Make another attending member the host.

        Raises:
            AgentNotFoundError, MeetingNotFoundError, NotMeetingHostError: as for `end_meeting`.
            AgentNotInMeetingError: the other one is no member.
            InvalidMeetingStateError: the other one does not attend.
        """
        host = await self._begin(host_external_id)
        to = await self._engine.names.agent(to_external_id)
        await self._do(host, meeting_id, HandOver(host.id, to.id), "not handed over")

    async def get_meeting_status(self, meeting_id: UUID) -> MeetingStatusResponse:
        """Say how the meeting stands, whom it waits for, and what happens next. Changes nothing.

        Raises:
            MeetingNotFoundError: the meeting does not exist.
        """
        await self._engine.ready()
        return await self._views.status(await self._store.read(_checked(meeting_id)))

    async def get_meeting_history(
        self, meeting_id: UUID, after_seq: int = 0, limit: int | None = None, *, newest: bool = False
    ) -> list[MeetingMessage[M]]:
        """Give what was said and what happened, in order: what follows entry `after_seq`, or the `newest`
        ones.

        Raises:
            MeetingNotFoundError: the meeting does not exist.
        """
        await self._engine.ready()
        after_seq = whole(after_seq, "after_seq")
        limit = None if limit is None else whole(limit, "limit", least=1)
        moment = await self._store.read(_checked(meeting_id))
        meeting = moment.state.meeting.id
        if newest and limit is not None:
            events = await self._engine.read(
                lambda connection: meetings.latest_events(connection, meeting=meeting, limit=limit)
            )
        else:
            events = await self._engine.read(
                lambda connection: meetings.events_after(connection, meeting=meeting, seq=after_seq, limit=limit)
            )
        return await self._views.history(events)

    async def get_meeting(self, meeting_id: UUID) -> Meeting:
        """Give the meeting itself; raises MeetingNotFoundError."""
        await self._engine.ready()
        return self._views.model(await self._store.read(_checked(meeting_id)))

    async def get_participants(self, meeting_id: UUID) -> list[MeetingParticipant]:
        """Give the members in the order of joining; raises MeetingNotFoundError."""
        await self._engine.ready()
        return await self._views.participants(await self._store.read(_checked(meeting_id)))

    async def _begin(self, agent: str) -> IdentityRow:
        await self._engine.ready()
        identity = await self._engine.names.agent(agent)
        self._engine.presence.seen(identity.id)
        return identity

    async def _optional(self, agent: str | None) -> IdentityRow | None:
        return None if agent is None else await self._engine.names.agent(agent)

    async def _insert(self, new: NewMeeting, host: IdentityRow) -> UUID:
        async def insert(connection: Connection, again: bool) -> bool:
            # Its id is ours: if it is there, an earlier try of unknown outcome succeeded.
            if not again or await meetings.get_meeting(connection, meeting=new.id) is None:
                return await meetings.insert_meeting(connection, new=new) is not None
            return True

        if (first := await self._answers.first_use(new.key)) is not None:
            return first
        new = replace(new, hop=await hop_of(self._engine, host))
        try:
            created = await self._engine.database.run(insert)
        except Conflict:
            # The same key, used at the same time.
            if (first := await self._answers.first_use(new.key)) is None:
                raise
            return first
        finally:
            self._engine.waiting.wake([agent_topic(agent) for agent in new.members])
        if not created:
            self._engine.counts.refused("silenced")
            raise await silenced(self._engine, host.id)
        return new.id

    async def _do(self, agent: IdentityRow, meeting_id: UUID, command: Command, attempted: str) -> Moment:
        result = await self._store.carry_out(_checked(meeting_id), command)
        if isinstance(result, Refused):
            raise await self._error(result, agent, meeting_id, attempted)
        return result

    async def _say(
        self,
        agent: IdentityRow,
        meeting_id: UUID,
        command: Speak | Start,
        words: Words,
        key: Key | None,
        *,
        turn: int | None,
        attempted: str,
        known: Moment | None = None,
    ) -> Moment:
        if await self._answers.first_use(key) is not None:
            return await self._store.read(_checked(meeting_id))
        try:
            result = await self._store.carry_out(_checked(meeting_id), command, words=words, key=key, known=known)
        except Conflict:
            if await self._answers.first_use(key) is None and not await self._was_said(meeting_id, agent, turn, words):
                raise
            return await self._store.read(meeting_id)
        if isinstance(result, Moment):
            return result
        # A call with the same key, made at the same time, may have been faster.
        if await self._answers.first_use(key) is not None or await self._was_said(meeting_id, agent, turn, words):
            return await self._store.read(meeting_id)
        raise await self._error(result, agent, meeting_id, attempted)

    async def _was_said(self, meeting_id: UUID, agent: IdentityRow, turn: int | None, words: Words) -> bool:
        """Is it a retry whose first try succeeded? Either this very call was tried before and its outcome was unknown,
        or the agent said just that on just that turn.
        """
        event = await self._engine.read(
            lambda connection: meetings.words_said(
                connection, meeting=meeting_id, message=words.message_id, turn=turn, agent=agent.id
            )
        )
        return event is not None and event.content == words.content

    async def _error(
        self, result: Refused, agent: IdentityRow, meeting_id: UUID, attempted: str
    ) -> AgentMessagingError:
        refusal = result.refusal
        if refusal.reason is RefusalReason.SILENCED:
            self._engine.counts.refused("silenced")
            return await silenced(self._engine, agent.id)
        members = () if refusal.state is None else tuple(member.agent_id for member in refusal.state.members)
        names = await self._engine.names.of({*members, agent.id, refusal.agent})
        ended_at, turn = refusal.turn_ended_at, refusal.turn
        if refusal.reason is RefusalReason.TURN_IS_OVER and ended_at is None and turn is not None:
            last = await self._engine.read(
                lambda connection: meetings.last_of_turn(connection, meeting=meeting_id, turn=turn)
            )
            ended_at = None if last is None else last.created_at
        return refused(refusal, meeting_id, names, attempted=attempted, ago=seconds_since(ended_at, result.now))


def _listed(agents: object) -> list[str]:
    if isinstance(agents, str) or not isinstance(agents, Iterable):
        raise InvalidMeetingError(f"no meeting was created: its agents are a list of external ids, not {agents!r:.80}")
    return list(cast("Iterable[str]", agents))


def _checked(meeting_id: UUID) -> UUID:
    if not isinstance(meeting_id, UUID):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise MeetingNotFoundError(f"{str(meeting_id)[:80]!r} is not the id of a meeting; create_meeting gives a UUID")
    return meeting_id
