"""Waiting for the floor of a meeting, and the signal that ends the wait."""

from __future__ import annotations

from typing import Generic, TypeVar
from uuid import UUID

from agent_messaging.engine import Engine
from agent_messaging.errors import MeetingTimeoutError, WaitInterruptedError
from agent_messaging.inbox import Inbox
from agent_messaging.meeting_moments import Moment, Sighting
from agent_messaging.meeting_store import MeetingStore
from agent_messaging.meeting_views import MeetingViews
from agent_messaging.models import InboxItem, TurnSignal
from agent_messaging.waiting import Watch, Window, WindowEndedError, agent_topic, ending_topic, meeting_topic
from agent_messaging_db.rows import IdentityRow, MeetingPhase

M = TypeVar("M")

REMEMBERED = 10_000


class Floors(Generic[M]):
    """Who waits for the floor in this process, and which turn was last signalled to whom."""

    def __init__(self, engine: Engine[M], store: MeetingStore, views: MeetingViews[M], inbox: Inbox[M]) -> None:
        self._engine = engine
        self._store = store
        self._views = views
        self._inbox = inbox
        self._signalled: dict[tuple[UUID, UUID], Moment] = {}

    def last_signalled(self, agent: UUID, meeting: UUID) -> int | None:
        """Give the turn last signalled to the agent by this object."""
        moment = self._signalled.get((agent, meeting))
        return None if moment is None else moment.state.meeting.turn

    def as_signalled(self, agent: UUID, meeting: UUID, turn: int | None) -> Moment | None:
        """Give the meeting as it stood when the agent was signalled this turn: until it speaks, little moves."""
        moment = self._signalled.get((agent, meeting))
        return moment if moment is not None and moment.state.meeting.turn == turn else None

    def watch(self, agent: IdentityRow, meeting: UUID) -> Watch:
        """Hear of the floor from now on, for a `wait` that needs no first look."""
        return self._engine.waiting.watch(_topics(agent, meeting))

    async def wait(
        self,
        agent: IdentityRow,
        meeting: UUID,
        patience: Window,
        *,
        interruptible: bool,
        watch: Watch | None = None,
    ) -> TurnSignal[M]:
        """Wait until the agent has the floor or the meeting has ended; raises MeetingTimeoutError,
        WaitInterruptedError. With a `watch` that was made before, the first look comes when it was woken.
        """

        async def look() -> Moment | InboxItem[M] | None:
            current = self._store.granted(meeting, agent.id) or await self._store.look(meeting)
            if _ended(current) or current.state.meeting.holder_id == agent.id:
                return current
            return await self._inbox.first_need(agent, meeting=meeting) if interruptible else None

        async def take(found: Moment | InboxItem[M]) -> Sighting | InboxItem[M] | None:
            if isinstance(found, InboxItem):
                return found
            if _ended(found):
                return await self._store.sighting(found, agent.id)
            return await self._store.see(meeting, agent.id, found)

        if watch is None:
            self._store.granted(meeting, agent.id)  # one from before the wait may be long over
        try:
            found = await self._engine.waiting.until(
                look, take, topics=_topics(agent, meeting), window=patience, watch=watch
            )
        except WindowEndedError:
            raise await self._timeout(agent, meeting) from None
        if isinstance(found, InboxItem):
            raise WaitInterruptedError(
                f"the wait for the floor ended early: something needs {agent.external_id!r} ({found.kind}); it still "
                "attends, and "
                "attend_meeting goes on waiting",
                item=found,
            )
        signal = await self._views.signal(found, agent.id)
        if signal.turn is not None:
            if len(self._signalled) > REMEMBERED:
                self._signalled.clear()
            self._signalled[agent.id, meeting] = found.moment
        return signal

    async def wait_to_be_without(self, agent: IdentityRow, meeting: UUID, patience: Window) -> None:
        """Wait until the turn that the agent has now, if it has one, is over; raises MeetingTimeoutError."""
        now = (await self._store.look(meeting)).state.meeting

        async def look() -> Moment | None:
            moment = await self._store.look(meeting)
            # Who is alone holds the floor again at once, under another number.
            held = moment.state.meeting.holder_id == agent.id and moment.state.meeting.turn == now.turn
            return None if held else moment

        async def take(moment: Moment) -> Moment:
            return moment

        try:
            await self._engine.waiting.until(look, take, topics=[meeting_topic(meeting)], window=patience)
        except WindowEndedError:
            raise await self._timeout(agent, meeting) from None

    async def _timeout(self, agent: IdentityRow, meeting: UUID) -> MeetingTimeoutError:
        status = await self._views.status(await self._store.read(meeting))
        floor = status.current_speaker_external_id
        holds = "nobody has the floor yet" if floor is None else f"{floor} has the floor"
        return MeetingTimeoutError(
            f"the window ended and {agent.external_id!r} still attends: {holds}; call attend_meeting to go on waiting",
            status=status,
        )


def _topics(agent: IdentityRow, meeting: UUID) -> list[str]:
    # Not the meeting's own: of all who wait, a turn concerns the one whose it is.
    return [agent_topic(agent.id), ending_topic(meeting)]


def _ended(moment: Moment) -> bool:
    return moment.state.meeting.phase is MeetingPhase.ENDED
