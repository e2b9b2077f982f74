"""Every operation that reads or takes, as a caller that may be cancelled anywhere sees it, and what proves it harmless.

An operation is tried again and again: each try leaves things so that the next one can begin.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

from agent_messaging import (
    AgentMessaging,
    ConversationEndedError,
    ConversationTimeoutError,
    MeetingTimeoutError,
    SessionNotFoundError,
)
from agent_messaging_db.sync_points import SyncPoint
from tests.protocol.gathering import attends
from tests.protocol.world import open_questions
from tests.races.stops import BOUND, PATIENCE, Stops, acting, soon

SDK = AgentMessaging[Any]
P = SyncPoint

READ = frozenset({P.TRY_BEGUN, P.TRY_DONE})
WAITED = frozenset({P.WAIT_SUBSCRIBED, P.WAIT_LOOKED, P.WAIT_TAKES, P.WAIT_TOOK, P.WAIT_SLEEPS})
MARKED = frozenset({P.TRANSACTION_BEGUN, P.TRANSACTION_COMMITS, P.TRANSACTION_COMMITTED})
BATCHED = frozenset({P.BATCH_GOES, P.BATCH_DONE})


class Cancelled:
    """What a call gives that was cancelled."""


CANCELLED = Cancelled()


async def settled(sdk: SDK) -> None:
    """Wait until nothing that was asked for, or is to be undone, is under way."""
    async with asyncio.timeout(BOUND):
        for _ in range(3):  # what one of them undoes another one does
            await asyncio.sleep(0)
            await sdk._engine.outbox.settled()


class Operation:
    """One call of an agent in the process `here`, and what others do meanwhile in the process `there`."""

    points: ClassVar[frozenset[SyncPoint]]
    """Where it must be possible to cancel the call."""

    def __init__(self, here: SDK, there: SDK, lane: int) -> None:
        self.here, self.there = here, there
        self.alice, self.bob = f"alice-{lane}", f"bob-{lane}"
        self.numbers = itertools.count()
        self.is_over = False
        """Whether the call has ended, and everything that it asked for is done or undone."""
        self.others: asyncio.Task[None]
        """What the others do."""

    async def begin(self) -> None:
        """Once, before the first try."""

    async def prepare(self) -> None:
        """Before each try."""

    async def call(self) -> Any:
        """The call that may be cancelled."""
        raise NotImplementedError

    async def meanwhile(self) -> None:
        """What others do while the call is under way."""

    async def check(self, given: Any) -> None:
        """Prove that nothing is lost, and nothing stuck. `given`: what the call gave, or CANCELLED."""
        raise NotImplementedError


class Taking(Operation):
    """Bob reads three messages, which marks them read."""

    points = READ | MARKED
    expected: Counter[Any]

    async def begin(self) -> None:
        await self.there.async_conversation.get_unread_messages(self.bob)

    async def send(self) -> None:
        number = next(self.numbers)
        self.expected[number] += 1
        await self.there.async_conversation.send(self.alice, self.bob, number)

    async def prepare(self) -> None:
        self.expected = Counter()
        await asyncio.gather(self.send(), self.send(), self.send())

    async def call(self) -> Any:
        return await self.here.async_conversation.get_unread_messages(self.bob)

    async def check(self, given: Any) -> None:
        found: Counter[Any] = Counter() if given is CANCELLED else Counter(given)

        async def all_there() -> bool:
            found.update(await self.there.async_conversation.get_unread_messages(self.bob))
            return found.total() >= self.expected.total()

        await soon(all_there)
        await settled(self.here)
        await all_there()
        assert found == self.expected, f"given or still there: {found}, sent: {self.expected}"


class TakingFromOne(Taking):
    """Bob reads two of three messages from alice."""

    async def call(self) -> Any:
        return await self.here.async_conversation.get_messages_from_agent(self.bob, self.alice, limit=2)


class WaitingForOne(Taking):
    """Bob waits for a message from alice, which comes while he waits."""

    points = READ | MARKED | WAITED

    async def prepare(self) -> None:
        self.expected = Counter()

    async def call(self) -> Any:
        return [await self.here.async_conversation.wait_for_message(self.bob, self.alice, PATIENCE)]

    async def meanwhile(self) -> None:
        await self.send()

    async def check(self, given: Any) -> None:
        await self.others
        await super().check(given)


class Looking(Taking):
    """Bob waits for anything, which marks nothing."""

    points = READ | WAITED - {P.WAIT_SLEEPS}

    async def call(self) -> Any:
        return await self.here.inbox.wait(self.bob, PATIENCE)

    async def check(self, given: Any) -> None:
        assert given is CANCELLED or sorted(item.content for item in given.items) == list(self.expected)
        await super().check(CANCELLED)


class Acknowledging(Taking):
    """Bob acknowledges what he has read."""

    points = READ | BATCHED

    async def prepare(self) -> None:
        await super().prepare()
        self.messages = await self.there.async_conversation.get_unread(self.bob)

    async def call(self) -> Any:
        return await self.here.async_conversation.mark_read(self.bob, [message.id for message in self.messages])

    async def check(self, given: Any) -> None:
        left = await self.there.async_conversation.get_unread_messages(self.bob)
        # Bob has them all, so what a cancelled call has acknowledged is not lost.
        assert Counter(left) <= self.expected
        assert given is CANCELLED or (given, left) == (3, [])


class Asking(Operation):
    """Alice asks bob, and waits for the answer that comes."""

    points = READ | WAITED | BATCHED

    async def prepare(self) -> None:
        self.answers = list[int]()

    async def call(self) -> Any:
        return await self.here.sync_conversation.send_and_wait(self.alice, self.bob, "?", PATIENCE)

    async def answer(self) -> bool:
        for question in await open_questions(self.there, self.bob):
            number = next(self.numbers)
            await self.there.sync_conversation.reply(self.bob, self.alice, number, question_id=question)
            self.answers.append(number)
        return bool(self.answers) or self.is_over

    async def meanwhile(self) -> None:
        await soon(self.answer)

    async def check(self, given: Any) -> None:
        await self.others
        await self.answer()
        kept = list[Any]() if given is CANCELLED else [given]

        async def all_there() -> bool:
            kept.extend(await self.there.async_conversation.get_unread_messages(self.alice))
            return len(kept) >= len(self.answers)

        await soon(all_there)
        assert kept == self.answers, f"given or in the inbox: {kept}, answered: {self.answers}"


class Attaching(Asking):
    """Alice waits again for a question that was answered meanwhile."""

    points = READ | BATCHED | WAITED - {P.WAIT_SLEEPS}

    async def prepare(self) -> None:
        await super().prepare()
        self.key = f"question {next(self.numbers)}"
        with suppress(ConversationTimeoutError):
            ask = self.there.sync_conversation.send_and_wait
            await ask(self.alice, self.bob, "?", 0, reply_by=60, idempotency_key=self.key)
        await self.answer()

    async def call(self) -> Any:
        ask = self.here.sync_conversation.send_and_wait
        return await ask(self.alice, self.bob, "?", PATIENCE, reply_by=60, idempotency_key=self.key)

    async def meanwhile(self) -> None:
        return


class Replying(Asking):
    """Bob answers the question that alice waits for, and tries again with the same key if he was cancelled."""

    points = READ | BATCHED | {P.QUESTION_FOUND}

    async def prepare(self) -> None:
        await super().prepare()
        self.key = f"answer {next(self.numbers)}"
        wait = self.there.sync_conversation.send_and_wait(self.alice, self.bob, "?", PATIENCE)
        self.waiting = asyncio.create_task(wait)
        await soon(lambda: open_questions(self.there, self.bob))

    async def call(self) -> Any:
        reply = self.here.sync_conversation.reply
        return await reply(self.bob, self.alice, "answer", idempotency_key=self.key)

    async def meanwhile(self) -> None:
        return

    async def check(self, given: Any) -> None:
        if given is CANCELLED:
            await self.call()
        async with asyncio.timeout(BOUND):
            assert await self.waiting == "answer"
        assert await self.there.async_conversation.get_unread_messages(self.alice) == []


class Ending(Operation):
    """Alice ends the conversation in which bob waits, and tries again if she was cancelled."""

    points = READ

    async def prepare(self) -> None:
        wait = self.there.sync_conversation.send_and_wait(self.bob, self.alice, "?", PATIENCE)
        self.waiting = asyncio.create_task(wait)
        await soon(lambda: open_questions(self.there, self.alice))

    async def call(self) -> Any:
        return await self.here.sync_conversation.end_conversation(self.alice, self.bob)

    async def check(self, given: Any) -> None:
        if given is CANCELLED:
            with suppress(SessionNotFoundError):
                await self.call()
        async with asyncio.timeout(BOUND):
            assert isinstance((await asyncio.gather(self.waiting, return_exceptions=True))[0], ConversationEndedError)


class TakingTheFloor(Operation):
    """Bob waits for the floor, which alice gives him."""

    points = READ | WAITED | {P.MEETING_DECIDED}
    meeting: UUID

    async def begin(self) -> None:
        self.meeting = await self.there.meeting.create_meeting(self.alice, [self.bob], max_turns=100_000)
        await attends(self.there, self.meeting, self.bob)
        await self.there.meeting.start_meeting(self.alice, self.meeting, "welcome")

    async def speak(self, agent: str) -> int:
        signal = await self.there.meeting.attend_meeting(agent, self.meeting, PATIENCE)
        assert signal.turn is not None, signal
        with suppress(MeetingTimeoutError):
            await self.there.meeting.speak(agent, self.meeting, f"{agent} {signal.turn}", timeout=0, turn=signal.turn)
        return signal.turn

    async def prepare(self) -> None:
        await self.speak(self.bob)

    async def call(self) -> Any:
        return await self.here.meeting.attend_meeting(self.bob, self.meeting, PATIENCE)

    async def meanwhile(self) -> None:
        self.turn = await self.speak(self.alice) + 1

    async def check(self, given: Any) -> None:
        await self.others
        for signal in (given, await self.there.meeting.attend_meeting(self.bob, self.meeting, PATIENCE)):
            if signal is not CANCELLED:
                said = [said.message for said in signal.said]
                assert (signal.turn, said[-1:]) == (self.turn, [f"{self.alice} {self.turn - 1}"])


class Speaking(TakingTheFloor):
    """Bob speaks and waits for the floor again, and says the same again if he was cancelled."""

    async def prepare(self) -> None:
        signal = await self.there.meeting.attend_meeting(self.bob, self.meeting, PATIENCE)
        self.turn = signal.turn or 0

    async def call(self) -> Any:
        words = f"{self.bob} {self.turn}"
        return await self.here.meeting.speak(self.bob, self.meeting, words, timeout=PATIENCE, turn=self.turn)

    async def meanwhile(self) -> None:
        await self.speak(self.alice)

    async def check(self, given: Any) -> None:
        signals = [signal for signal in (given, await self.call()) if signal is not CANCELLED]
        await self.others
        assert {signal.turn for signal in signals} == {self.turn + 2}
        said = await self.there.meeting.get_meeting_history(self.meeting, limit=2, newest=True)
        assert [entry.content for entry in said] == [f"{self.bob} {self.turn}", f"{self.alice} {self.turn + 1}"]


class Resuming(Taking):
    """What waits for bob's handler is handed to it, which answers a question with a number."""

    points = READ | {P.DELIVERIES_CLAIMED}

    async def begin(self) -> None:
        self.handled: Counter[Any] = Counter()

        @self.here.register_handler(self.bob)
        async def handle(message: Any, _: Any) -> None:
            self.handled[message] += 1

        await self.here.async_conversation.resume_agent_handler(self.bob)

    async def prepare(self) -> None:
        self.handled.clear()
        await super().prepare()

    async def call(self) -> Any:
        return await self.here.async_conversation.resume_agent_handler(self.bob)

    async def check(self, given: Any) -> None:
        async def all_handled() -> bool:
            await self.call()
            return self.handled >= self.expected

        await soon(all_handled)
        await soon(self.all_read)
        assert given is CANCELLED or self.handled == self.expected

    async def all_read(self) -> bool:
        return not (await self.there.inbox.page(self.bob)).items


ALL: list[type[Operation]] = [
    Taking,
    TakingFromOne,
    WaitingForOne,
    Looking,
    Acknowledging,
    Asking,
    Attaching,
    Replying,
    Ending,
    TakingTheFloor,
    Speaking,
    Resuming,
]


async def attempt(
    operation: Operation, cancel: Callable[[asyncio.Task[Any]], Awaitable[None]], actor: str, stops: Stops
) -> bool:
    """Make the call once, and cancel it as told; says whether it ended as cancelled. Raises if anything is lost."""
    await operation.prepare()
    operation.is_over = False
    sleeps = stops.at(SyncPoint.WAIT_SLEEPS, actor=actor)
    sleeps.go()
    call = acting(actor, operation.call())

    async def others() -> None:
        if SyncPoint.WAIT_SLEEPS in operation.points:
            await sleeps.reached_before(call)
        await operation.meanwhile()

    operation.others = asyncio.create_task(others())
    try:
        async with asyncio.timeout(4 * BOUND):
            await cancel(call)
            given = await outcome(call)
            await settled(operation.here)
            operation.is_over = True
            await operation.check(given)
            await operation.others
    finally:
        call.cancel()
        operation.others.cancel()
        await asyncio.gather(call, operation.others, return_exceptions=True)
    return given is CANCELLED


async def outcome(call: asyncio.Task[Any]) -> Any:
    """What a call gives, or CANCELLED."""
    try:
        return await call
    except asyncio.CancelledError:
        if not call.cancelled():
            raise
        return CANCELLED
