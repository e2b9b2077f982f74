"""A view bound to one agent: it cannot speak as another, and sees only what that agent may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar
from uuid import UUID

from agent_messaging.content import checked_text
from agent_messaging.conversations import ConversationPage, read_conversation
from agent_messaging.engine import Engine, whole
from agent_messaging.errors import (
    AgentNotFoundError,
    InvalidArgumentError,
    MeetingNotFoundError,
    MessageNotFoundError,
)
from agent_messaging.handling import by_what_it_was_shown
from agent_messaging.identifiers import HandleKind, number_of, parse_uuid
from agent_messaging.inbox import InboxPage
from agent_messaging.models import (
    Agent,
    Answer,
    InboxItem,
    MeetingMessage,
    MeetingStatusResponse,
    Reply,
    Task,
    TurnSignal,
)
from agent_messaging.services import Services
from agent_messaging.waiting import agent_topic, meeting_topic
from agent_messaging_db import conversations, directory, meetings
from agent_messaging_db.rows import IdentityRow

M = TypeVar("M")

FEW = 5
LONGEST_QUERY = 200


class AgentView(Generic[M]):
    """What one agent can do. Meetings and questions are named by handle (`m7f3`, `q2k9`) or UUID.

    What the agent may not see does not exist for it: a foreign agent, meeting or question gives the same
    error as an unknown one. Errors are those of the services.
    """

    def __init__(
        self, engine: Engine[M], services: Services[M], external_id: str, *, within_organization: bool
    ) -> None:
        self._engine = engine
        self._services = services
        self._within = within_organization
        self.external_id = external_id

    # Who

    async def me(self) -> Agent:
        """Give the agent itself."""
        return await self._services.directory.get_agent(self.external_id)

    async def called(self) -> None:
        """Note a call over MCP: the agent is online, and reads its own inbox."""
        agent = await self._me()
        await self._engine.presence.reads_inbox(agent.id)
        self._engine.presence.called(agent.id)

    async def agents(self, query: str | None = None, limit: int = 100) -> list[Agent]:
        """Give the agents it may see, itself included; `query` is part of a name."""
        me = await self._me()
        checked_text(query, name="the query", limit=LONGEST_QUERY, error=InvalidArgumentError)
        return await self._services.directory.visible_from(
            me.organization_id, query=query, limit=whole(limit, "limit", least=1)
        )

    async def agent(self, name: str) -> Agent:
        """Give an agent that it may see; raises AgentNotFoundError, which names near matches."""
        return await self._services.directory.get_agent((await self._visible([name]))[0])

    # Messages

    async def send(
        self,
        recipient: str,
        message: M,
        *,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> UUID:
        """Send a message that continues the conversation with one agent."""
        await self._visible([recipient])
        with self._cause():
            return await self._services.async_conversation.send(
                self.external_id, recipient, message, metadata=metadata, idempotency_key=idempotency_key
            )

    async def notify(
        self,
        recipients: Sequence[str],
        message: M,
        *,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> list[UUID]:
        """Send a one-way message to several agents: to all of them or to none."""
        names = await self._visible(recipients)
        with self._cause():
            return await self._services.one_way.send(
                self.external_id, names, message, metadata=metadata, idempotency_key=idempotency_key
            )

    async def ask(
        self,
        recipient: str,
        message: M,
        *,
        timeout: float | None = None,
        reply_by: float | None = None,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        interruptible: bool = False,
        reattach: bool = False,
        consume: bool = True,
    ) -> Answer[M]:
        """Ask a question and wait for its answer; see SyncConversation.ask."""
        await self._visible([recipient])
        with self._cause():
            return await self._services.sync_conversation.ask(
                self.external_id,
                recipient,
                message,
                timeout,
                reply_by=reply_by,
                metadata=metadata,
                idempotency_key=idempotency_key,
                interruptible=interruptible,
                reattach=reattach,
                consume=consume,
            )

    async def wait_for_answer(
        self, question: str | UUID, *, timeout: float | None = None, interruptible: bool = False, consume: bool = True
    ) -> Answer[M]:
        """Wait for the answer to a question of this agent; raises MessageNotFoundError."""
        id = await self._own_question(question)
        return await self._services.sync_conversation.wait_for_answer(
            self.external_id, id, timeout, interruptible=interruptible, consume=consume
        )

    async def reply(
        self,
        question: str | UUID,
        message: M | None,
        *,
        decline: bool = False,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Reply:
        """Answer or decline a question that was put to this agent; raises MessageNotFoundError for any other."""
        question_id, asker = await self._question(question)
        return await self._services.sync_conversation.answer(
            self.external_id,
            asker,
            message,
            question_id=question_id,
            decline=decline,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )

    async def end_conversation(self, with_agent: str) -> None:
        """End the conversation with another agent."""
        await self._visible([with_agent])
        await self._services.sync_conversation.end_conversation(self.external_id, with_agent)

    async def conversation(
        self, with_agent: str, *, after_seq: int | None = None, limit: int = 20
    ) -> ConversationPage[M]:
        """Read the conversation with another agent: what follows number `after_seq`, or the newest messages."""
        await self._visible([with_agent])
        return await read_conversation(self._engine, self.external_id, with_agent, after_seq=after_seq, limit=limit)

    # Inbox

    async def inbox(self, *, from_agent: str | None = None, limit: int = 20) -> InboxPage[M]:
        """Give what needs the agent; marks nothing."""
        await self._see(from_agent)
        return await self._services.inbox.page(self.external_id, from_agent=from_agent, limit=limit)

    async def wait_inbox(self, *, timeout: float, from_agent: str | None = None, limit: int = 20) -> InboxPage[M]:
        """Wait until anything needs the agent; marks nothing."""
        await self._see(from_agent)
        return await self._services.inbox.wait(self.external_id, timeout, from_agent=from_agent, limit=limit)

    async def pending(self) -> InboxPage[M]:
        """Give the first few things that need the agent."""
        return await self._services.inbox.page(self.external_id, limit=FEW)

    async def cursor(self, items: Iterable[InboxItem[M] | UUID]) -> str:
        """Store which items a result named; gives the handle that `acknowledge` takes."""
        return await self._services.inbox.cursor(self.external_id, items)

    async def acknowledge(self, cursor: str) -> int:
        """Mark exactly the items of a cursor read; says how many were unread."""
        return await self._services.inbox.acknowledge(self.external_id, cursor)

    async def shown(self, items: Sequence[InboxItem[M]]) -> None:
        """Note that a result has shown these items."""
        await self._services.inbox.shown(self.external_id, items)

    # Meetings

    async def create_meeting(
        self, agents: Sequence[str], turn_duration: float | None = None, **limits: Any
    ) -> MeetingStatusResponse:
        """Create a meeting; keyword arguments as in MeetingManager.create_meeting."""
        names = [name for name in await self._visible(agents) if name != self.external_id]
        with self._cause():
            id = await self._services.meeting.create_meeting(
                self.external_id, [self.external_id, *names], turn_duration, **limits
            )
        return await self._services.meeting.get_meeting_status(id)

    async def attend_meeting(
        self,
        meeting: str | UUID,
        *,
        timeout: float | None = None,
        after_seq: int | None = None,
        interruptible: bool = False,
    ) -> TurnSignal[M]:
        """Attend a meeting and wait for one's turn."""
        return await self._services.meeting.attend_meeting(
            self.external_id,
            await self._meeting(meeting),
            timeout,
            after_seq=after_seq,
            interruptible=interruptible,
        )

    async def start_meeting(
        self, meeting: str | UUID, message: M, next_speaker: str | None = None, **options: Any
    ) -> TurnSignal[M] | None:
        """Start a meeting; keyword arguments as in MeetingManager.start_meeting."""
        id = await self._meeting(meeting)
        await self._see(next_speaker)
        return await self._services.meeting.start_meeting(self.external_id, id, message, next_speaker, **options)

    async def speak(
        self,
        meeting: str | UUID,
        message: M | None,
        next_speaker: str | None = None,
        *,
        turn: int | None,
        timeout: float | None = None,
        interruptible: bool = False,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> TurnSignal[M]:
        """Speak, or pass with None, and wait for the next turn."""
        id = await self._meeting(meeting)
        await self._see(next_speaker)
        return await self._services.meeting.speak(
            self.external_id,
            id,
            message,
            next_speaker,
            timeout,
            turn=turn,
            interruptible=interruptible,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )

    async def leave_meeting(self, meeting: str | UUID, *, new_host: str | None = None) -> None:
        """Leave, or decline, a meeting; a host names the member that is to be host."""
        id = await self._meeting(meeting)
        if new_host is not None:
            await self.hand_over_host(id, new_host)
        await self._services.meeting.leave_meeting(self.external_id, id)

    async def hand_over_host(self, meeting: str | UUID, to: str) -> None:
        """Make another attending member the host."""
        id = await self._meeting(meeting)
        await self._see(to)
        await self._services.meeting.hand_over_host(self.external_id, id, to)

    async def end_meeting(self, meeting: str | UUID, *, outcome: str | None = None) -> None:
        """End, or cancel, a meeting that this agent hosts."""
        await self._services.meeting.end_meeting(self.external_id, await self._meeting(meeting), outcome=outcome)

    async def meeting(self, meeting: str | UUID) -> MeetingStatusResponse:
        """Say how a meeting stands."""
        return await self._services.meeting.get_meeting_status(await self._meeting(meeting))

    async def meetings(self, limit: int = 20) -> list[MeetingStatusResponse]:
        """Give the agent's meetings, newest first."""
        me = await self._me()
        limit = whole(limit, "limit", least=1)
        ids = await self._engine.read(
            lambda connection: meetings.meetings_of_agent(connection, agent=me.id, limit=limit)
        )
        return [await self._services.meeting.get_meeting_status(id) for id in ids]

    async def meeting_history(
        self, meeting: str | UUID, *, after_seq: int = 0, limit: int | None = None, newest: bool = False
    ) -> list[MeetingMessage[M]]:
        """Give a meeting's history."""
        return await self._services.meeting.get_meeting_history(
            await self._meeting(meeting), after_seq, limit, newest=newest
        )

    # Tasks

    async def may_begin_task(self) -> bool:
        """Whether the agent has not too many tasks at work."""
        return await self._services.tasks.may_begin(self.external_id)

    async def begin_task(self, resume: dict[str, Any], *, seconds: float) -> Task:
        """Store a wait that goes on without its caller, for `seconds` at most."""
        return await self._services.tasks.begin(self.external_id, resume, seconds=seconds)

    async def task(self, id: str) -> Task:
        """Give a task of the agent; raises TaskNotFoundError."""
        return await self._services.tasks.get(self.external_id, id)

    async def complete_task(self, id: str, result: dict[str, Any]) -> Task:
        """Settle a task with what came of it, unless it is settled; gives it as it is now."""
        return await self._services.tasks.complete(self.external_id, id, result)

    async def cancel_task(self, id: str) -> Task:
        """End a task, unless it is settled; what it waited for stands. Gives it as it is now."""
        return await self._services.tasks.cancel(self.external_id, id)

    # Changes

    async def on_inbox_change(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call()` called soon after the inbox may have changed; gives the way out."""
        return self._engine.waiting.listen([agent_topic((await self._me()).id)], call)

    async def on_meeting_change(self, meeting: str | UUID, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call()` called soon after a meeting of the agent has changed; gives the way out."""
        return self._engine.waiting.listen([meeting_topic(await self._meeting(meeting))], call)

    async def on_conversation_change(self, with_agent: str, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call()` called soon after the conversation with another agent may have changed; gives the way
        out.
        """
        await self._visible([with_agent])
        other = await self._engine.names.agent(with_agent)
        return self._engine.waiting.listen([agent_topic((await self._me()).id), agent_topic(other.id)], call)

    def _cause(self) -> AbstractContextManager[None]:
        """Why it sends what it sends in this block: over MCP, nothing is known but what it was shown."""
        return by_what_it_was_shown() if self._within else nullcontext()

    # What it may see

    async def _me(self) -> IdentityRow:
        await self._engine.ready()
        return await self._engine.names.agent(self.external_id)

    async def _see(self, name: str | None) -> None:
        if name is not None:
            await self._visible([name])

    async def _visible(self, names: Sequence[str]) -> list[str]:
        """Give the names back; raises AgentNotFoundError if one of the agents does not exist or must not be
        seen.
        """
        me = await self._me()
        if isinstance(names, str) or not isinstance(names, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError(f"name the agents in a list, not as {str(names)[:40]!r}")
        names = list(names)
        for name in names:
            try:
                other = await self._engine.names.agent(name)
            except AgentNotFoundError:
                other = None
            if other is None or not await self._may_see(me, other):
                raise await self._not_found(me, name)
        return names

    async def _may_see(self, me: IdentityRow, other: IdentityRow) -> bool:
        if not self._within or other.organization_id == me.organization_id:
            return True
        allowed = await self._engine.read(
            lambda connection: directory.mutually_allowed(connection, organization_id=me.organization_id)
        )
        return other.organization_id in allowed

    async def _not_found(self, me: IdentityRow, name: str) -> AgentNotFoundError:
        near = await self._services.directory.near_matches(me.organization_id, str(name)[:140])
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        return AgentNotFoundError(f"there is no agent {str(name)[:140]!r}{hint}")

    async def _meeting(self, meeting: str | UUID) -> UUID:
        """Give the id of a meeting of which this agent is a member; raises MeetingNotFoundError."""
        me = await self._me()
        id = meeting if isinstance(meeting, UUID) else parse_uuid(meeting)
        if id is None and (number := number_of(HandleKind.MEETING, str(meeting))) is not None:
            id = await self._engine.read(lambda connection: meetings.meeting_by_number(connection, number=number))
        if id is None or not await self._engine.read(
            lambda connection: meetings.is_member(connection, meeting=id, agent=me.id)
        ):
            raise MeetingNotFoundError(f"there is no meeting {str(meeting)[:80]!r} of yours")
        return id

    async def _question(self, question: str | UUID) -> tuple[UUID, str]:
        """Give the id and the asker of a question to this agent; raises MessageNotFoundError."""
        me = await self._me()
        found = await self._parties(question)
        asker = None if found is None or found[2] != me.id else await self._engine.names.identity(found[1])
        # Whom it must not see any more it cannot answer either: that would reach the asker.
        if found is None or asker is None or not await self._may_see(me, asker):
            raise MessageNotFoundError(f"there is no question {str(question)[:80]!r} to you")
        return found[0], asker.external_id

    async def _own_question(self, question: str | UUID) -> UUID:
        """Give the id of a question that this agent asked; raises MessageNotFoundError."""
        me = await self._me()
        found = await self._parties(question)
        if found is None or found[1] != me.id:
            raise MessageNotFoundError(f"there is no question {str(question)[:80]!r} of yours")
        return found[0]

    async def _parties(self, question: str | UUID) -> tuple[UUID, UUID, UUID] | None:
        """Give the id, the asker and the answerer of a question, whosever it is."""
        id = question if isinstance(question, UUID) else parse_uuid(question)
        if id is not None:
            parties = await self._engine.read(
                lambda connection: conversations.question_parties(connection, question=id)
            )
            return None if parties is None else (id, parties[1], parties[2])
        number = number_of(HandleKind.QUESTION, str(question))
        if number is None:
            return None
        return await self._engine.read(lambda connection: conversations.question_by_number(connection, number=number))
