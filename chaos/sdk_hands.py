"""Calls of the Python library, in the program that uses it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from agent_messaging import (
    AgentMessaging,
    AgentMessagingError,
    Config,
    ConversationTimeoutError,
    MeetingTimeoutError,
    MessageContext,
    QuestionDeclinedError,
    TurnSignal,
    UnavailableError,
)
from chaos.hands import Asked, Entry, Floor, Handler, Item, Page, Refused, Signal, Unknown, Untyped
from chaos.plan import Terms

REPLY_BY = 3_600.0


@asynccontextmanager
async def _told() -> AsyncGenerator[None]:
    """What the library raises, in the harness's words."""
    try:
        yield
    except (Refused, Unknown):
        raise
    except UnavailableError as outage:
        raise Unknown(f"{type(outage).__name__}: {outage}") from outage
    except AgentMessagingError as refused:
        raise Refused(f"{type(refused).__name__}: {refused}") from refused
    except Exception as raw:
        raise Untyped(f"{type(raw).__name__}: {raw}") from raw


class SdkHands:
    """The library, acting for every agent of this process."""

    via = "sdk"

    def __init__(self, dsn: str, terms: Terms) -> None:
        self._terms = terms
        self.sdk: AgentMessaging[Any] = AgentMessaging[Any](Config(database_url=SecretStr(dsn)))
        self._ids: dict[str, UUID] = {}

    async def send(self, agent: str, to: str, text: str, key: str) -> None:
        async with _told():
            await self.sdk.async_conversation.send(agent, to, text, idempotency_key=key or None)

    async def notify(self, agent: str, to: Sequence[str], text: str, key: str) -> None:
        async with _told():
            await self.sdk.one_way.send(agent, list(to), text, idempotency_key=key or None)

    async def ask(self, agent: str, to: str, text: str, key: str, patience: float) -> Asked:
        async with _told():
            try:
                answer = await self.sdk.sync_conversation.send_and_wait(
                    agent, to, text, patience, reply_by=REPLY_BY, idempotency_key=key
                )
            except ConversationTimeoutError:
                return Asked("waiting")
            except QuestionDeclinedError as declined:
                return Asked("declined", str(declined.reason or ""))
            return Asked("answered", answer)

    async def answer(self, agent: str, item: Item, text: str, key: str, *, decline: bool) -> None:
        async with _told():
            await self.sdk.sync_conversation.reply(
                agent, item.sender, text, question_id=UUID(item.id), decline=decline, idempotency_key=key
            )

    async def look(self, agent: str, patience: float) -> Page:
        async with _told():
            page = await self.sdk.inbox.wait(agent, patience)
        items: list[Item] = []
        for item in page.items:
            if item.meeting_id is not None and item.handle is not None:
                self._ids[item.handle] = item.meeting_id
            id = item.message_id or ""
            items.append(
                Item(str(item.kind), item.sender or "", str(item.content or ""), item.handle or "", str(id), item.read)
            )
        return Page(items, [item.message_id for item in page.items if item.message_id and not item.read])

    async def acknowledge(self, agent: str, receipt: Any) -> None:
        async with _told():
            await self.sdk.async_conversation.mark_read(agent, receipt)

    async def create(self, agent: str, members: Sequence[str], key: str) -> str:
        async with _told():
            id = await self.sdk.meeting.create_meeting(
                agent,
                list(members),
                self._terms.turn_seconds,
                title=key,
                quorum=2,
                start_by=self._terms.start_within,
                max_turns=self._terms.max_turns,
                idempotency_key=key,
            )
            handle = (await self.sdk.meeting.get_meeting_status(id)).handle
        self._ids[handle] = id
        return handle

    async def attend(self, agent: str, meeting: str, patience: float) -> Signal:
        async with _told():
            try:
                return _signal(await self.sdk.meeting.attend_meeting(agent, await self._id(agent, meeting), patience))
            except MeetingTimeoutError as ended:
                return _not_yet(ended)

    async def start(self, agent: str, meeting: str, text: str, patience: float) -> Signal:
        async with _told():
            try:
                signal = await self.sdk.meeting.start_meeting(
                    agent, await self._id(agent, meeting), text, wait=True, timeout=patience
                )
            except MeetingTimeoutError as ended:
                return _not_yet(ended)
            assert signal is not None
            return _signal(signal)

    async def speak(
        self, agent: str, meeting: str, turn: int, text: str | None, following: str | None, patience: float
    ) -> Signal:
        async with _told():
            try:
                return _signal(
                    await self.sdk.meeting.speak(
                        agent, await self._id(agent, meeting), text, following, patience, turn=turn
                    )
                )
            except MeetingTimeoutError as ended:
                return _not_yet(ended)

    async def history(self, agent: str, meeting: str) -> list[Entry]:
        async with _told():
            entries = await self.sdk.as_agent(agent).meeting_history(meeting)
        return [
            (entry.seq, str(entry.kind), entry.sender or "", str(entry.content))
            if entry.content is not None
            else (entry.seq, str(entry.kind), "", "")
            for entry in entries
        ]

    def handle(self, agent: str, handler: Handler) -> None:
        """Register a handler; what it gives answers a question."""

        async def handles(message: Any, context: MessageContext) -> str | None:
            return await handler(str(context.message_id), str(message), context.attempt, context.sender_external_id)

        self.sdk.register_handler(agent)(handles)

    async def _id(self, agent: str, meeting: str) -> UUID:
        if meeting not in self._ids:
            self._ids[meeting] = (await self.sdk.as_agent(agent).meeting(meeting)).meeting_id
        return self._ids[meeting]


def _signal(signal: TurnSignal[Any]) -> Signal:
    said = [(speech.speaker, speech.turn, str(speech.message)) for speech in signal.said]
    if signal.reason == "meeting_ended":
        return Signal(Floor.ENDED, 0, said, "" if signal.ended is None else str(signal.ended.reason))
    return Signal(Floor.YOURS, signal.turn or 0, said)


def _not_yet(ended: MeetingTimeoutError) -> Signal:
    ready = ended.status is not None and ended.status.status == "ready"
    return Signal(Floor.READY if ready else Floor.WAITING)
