"""Every operation that takes an idempotency key: how it is called, and how often it has happened."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

from agent_messaging import AgentMessaging, ConversationTimeoutError, MeetingTimeoutError, QuestionDeclinedError
from tests.protocol.gathering import attends
from tests.protocol.world import fetch
from tests.races.stops import BOUND

SDK = AgentMessaging[Any]


class Keyed:
    """One operation with a key, between agents of its own. `there` is a process that is never disturbed."""

    commits: ClassVar[str] = r"send_messages\("
    """What its transaction is known by."""

    def __init__(self, there: SDK, dsn: str, lane: int) -> None:
        self.there, self.dsn = there, dsn
        self.alice, self.bob, self.carol = (f"{name}-{lane}" for name in ("alice", "bob", "carol"))
        self.words = ""
        self._numbers = itertools.count()

    async def begin(self) -> None:
        """Once, before the first try."""
        for agent in (self.bob, self.carol):
            await self.there.async_conversation.get_unread_messages(agent)

    async def prepare(self) -> None:
        """Before each operation, with a new key."""
        self.words = f"{type(self).__name__} of {self.alice}, number {next(self._numbers)}"

    async def call(self, sdk: SDK) -> Any:
        """Call it, with the same key each time; gives what every call has to give."""
        raise NotImplementedError

    async def happened(self) -> int:
        """How often it has happened."""
        return await self.count("SELECT count(*) FROM messages WHERE content = to_json($1::text)::text")

    async def count(self, sql: str) -> int:
        return (await fetch(self.dsn, sql, self.words))[0][0]


class OneWay(Keyed):
    async def call(self, sdk: SDK) -> Any:
        return await sdk.one_way.send(self.alice, self.bob, self.words, idempotency_key=self.words)


class Several(Keyed):
    async def call(self, sdk: SDK) -> Any:
        return await sdk.one_way.send(self.alice, [self.bob, self.carol], self.words, idempotency_key=self.words)

    async def happened(self) -> int:
        happened = await super().happened()
        return happened // 2 if happened % 2 == 0 else -1


class Queued(Keyed):
    async def call(self, sdk: SDK) -> Any:
        return await sdk.async_conversation.send(self.alice, self.bob, self.words, idempotency_key=self.words)


class Question(Keyed):
    """A question that was asked and is waited for again and again, each time for the same answer."""

    async def call(self, sdk: SDK) -> Any:
        ask = sdk.sync_conversation.send_and_wait
        try:
            return await ask(self.alice, self.bob, self.words, BOUND, idempotency_key=self.words)
        except QuestionDeclinedError:
            return "declined"

    async def begin(self) -> None:
        await super().begin()

        @self.there.register_handler(self.bob)
        async def handle(message: Any, _: Any) -> str:
            return f"answer to {message}"

        await self.there.get_agent(self.bob)


class Answer(Keyed):
    """The answer to the only question that waits for one."""

    commits = r"answer_questions\("
    declines: ClassVar[bool] = False

    async def prepare(self) -> None:
        await super().prepare()
        with suppress(ConversationTimeoutError):
            await self.there.sync_conversation.send_and_wait(self.bob, self.alice, "?", 0, reply_by=600)

    async def call(self, sdk: SDK) -> Any:
        reply = sdk.sync_conversation.reply
        return await reply(self.alice, self.bob, self.words, decline=self.declines, idempotency_key=self.words)


class Decline(Answer):
    declines = True


class Creation(Keyed):
    commits = "INSERT INTO meetings"

    async def call(self, sdk: SDK) -> Any:
        return await sdk.meeting.create_meeting(self.alice, [self.bob], title=self.words, idempotency_key=self.words)

    async def happened(self) -> int:
        return await self.count("SELECT count(*) FROM meetings WHERE title = $1")


class Start(Keyed):
    commits = "UPDATE meetings SET"
    meeting: UUID

    async def prepare(self) -> None:
        await super().prepare()
        self.meeting = await self.there.meeting.create_meeting(self.alice, [self.bob], max_turns=100_000)
        await attends(self.there, self.meeting, self.bob)

    async def call(self, sdk: SDK) -> Any:
        return await sdk.meeting.start_meeting(self.alice, self.meeting, self.words, idempotency_key=self.words)

    async def happened(self) -> int:
        return await self.count("SELECT count(*) FROM meeting_events WHERE content = to_json($1::text)::text")


class Speech(Start):
    """Words on a turn that is named."""

    async def begin(self) -> None:
        await super().begin()
        await super().prepare()
        await self.there.meeting.start_meeting(self.alice, self.meeting, "welcome")

    async def prepare(self) -> None:
        await Keyed.prepare(self)
        for agent in (self.bob, self.alice):
            signal = await self.there.meeting.attend_meeting(agent, self.meeting, BOUND)
            if agent == self.bob:
                with suppress(MeetingTimeoutError):
                    await self.there.meeting.speak(agent, self.meeting, "so", timeout=0, turn=signal.turn)
        self.turn = signal.turn

    async def call(self, sdk: SDK) -> Any:
        with suppress(MeetingTimeoutError):
            await sdk.meeting.speak(
                self.alice, self.meeting, self.words, timeout=0, turn=self.turn, idempotency_key=self.words
            )


class SpeechOnAnyTurn(Speech):
    """Words on whatever turn it is, in a process that was never told a turn."""

    async def prepare(self) -> None:
        await super().prepare()
        self.turn = None


ALL: list[type[Keyed]] = [
    OneWay,
    Several,
    Queued,
    Question,
    Answer,
    Decline,
    Creation,
    Start,
    Speech,
    SpeechOnAnyTurn,
]
