"""The four kinds of wait, each with what ends it: one interface, so that each race is tried with each of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

import asyncpg

from agent_messaging import AgentMessaging, MeetingTimeoutError
from agent_messaging_db.wakeups import CHANNEL
from tests.protocol import world
from tests.protocol.gathering import attends
from tests.protocol.world import SWEEP_OFF, open_questions
from tests.races.stops import BOUND, PATIENCE, Stops, soon, stopping

SDK = AgentMessaging[Any]


class Wait(Protocol):
    """A wait of bob's, or of alice's for bob, that the other one ends; again and again, in the same two processes."""

    async def prepare(self) -> None:
        """Before the wait begins, so that it finds nothing."""
        ...

    async def wait(self) -> Any:
        """The wait, in one process."""
        ...

    async def end(self) -> Any:
        """What ends it, in the other process. Gives what the wait is to give."""
        ...


class InboxWait:
    """Bob waits for anything."""

    def __init__(self, here: SDK, there: SDK) -> None:
        self._here, self._there = here, there
        self._numbers = itertools.count()

    async def prepare(self) -> None:
        await self._here.async_conversation.get_unread_messages("bob")

    async def wait(self) -> Any:
        page = await self._here.inbox.wait("bob", PATIENCE)
        return [item.content for item in page.items]

    async def end(self) -> Any:
        number = next(self._numbers)
        await self._there.async_conversation.send("alice", "bob", number)
        return [number]


class MessageWait(InboxWait):
    """Bob waits for a message from alice, and takes it."""

    async def wait(self) -> Any:
        return await self._here.async_conversation.wait_for_message("bob", "alice", PATIENCE)

    async def end(self) -> Any:
        return (await super().end())[0]


class AnswerWait:
    """Alice waits for bob's answer."""

    def __init__(self, here: SDK, there: SDK) -> None:
        self._here, self._there = here, there
        self._numbers = itertools.count()

    async def prepare(self) -> None:
        return

    async def wait(self) -> Any:
        return await self._here.sync_conversation.send_and_wait("alice", "bob", "?", PATIENCE)

    async def end(self) -> Any:
        (question,) = await soon(lambda: open_questions(self._there, "bob"))
        number = next(self._numbers)
        await self._there.sync_conversation.reply("bob", "alice", number, question_id=question)
        return number


class FloorWait:
    """Dave waits for the floor of a meeting, which carol has."""

    def __init__(self, here: SDK, there: SDK, meeting: UUID) -> None:
        self._here, self._there, self._meeting = here, there, meeting

    async def prepare(self) -> None:
        await self._speaks(self._here, "dave")

    async def wait(self) -> Any:
        return (await self._here.meeting.attend_meeting("dave", self._meeting, PATIENCE)).turn

    async def end(self) -> Any:
        return await self._speaks(self._there, "carol") + 1

    async def _speaks(self, sdk: SDK, agent: str) -> int:
        signal = await sdk.meeting.attend_meeting(agent, self._meeting, PATIENCE)
        assert signal.turn is not None, signal
        try:
            await sdk.meeting.speak(agent, self._meeting, agent, timeout=0)
        except MeetingTimeoutError:
            return signal.turn
        raise AssertionError(f"{agent} has the floor again")


AGENTS = ("alice", "bob", "carol", "dave", "yves", "zoe")


class Pair:
    """Two processes that never sweep, so that what a wait is not told it never learns: `here` waits, `there` ends."""

    def __init__(self, here: SDK, there: SDK, stops: Stops) -> None:
        self.here, self.there, self.stops = here, there, stops
        self.waits: list[Wait] = []
        self._heard = asyncio.Event()

    async def prepare(self) -> None:
        """Make each kind of wait possible, and begin to listen for markers."""
        meeting = await self.there.meeting.create_meeting("carol", ["dave"], max_turns=10_000)
        await attends(self.here, meeting, "dave")
        await self.there.meeting.start_meeting("carol", meeting, "welcome")
        await self.here.as_agent("zoe").on_inbox_change(self._heard.set)
        self.waits = [
            MessageWait(self.here, self.there),
            AnswerWait(self.here, self.there),
            FloorWait(self.here, self.there, meeting),
            InboxWait(self.here, self.there),
        ]

    async def marked(self) -> None:
        """Go on when `here` has heard everything that `there` has said: wake-ups keep their order."""
        self._heard.clear()
        await self.there.async_conversation.send("yves", "zoe", "marker")
        async with asyncio.timeout(BOUND):
            await self._heard.wait()


@asynccontextmanager
async def pair(dsn: str) -> AsyncGenerator[Pair]:
    """Two processes, with everybody registered."""
    with stopping() as stops:
        async with world.opened(dsn, *AGENTS, sweep_interval=SWEEP_OFF, max_unread=10_000_000) as there:
            stops.name("there")
            async with world.opened(dsn, sweep_interval=SWEEP_OFF) as here:
                stops.name("here")
                running = Pair(here, there, stops)
                await running.prepare()
                yield running


@asynccontextmanager
async def overheard(dsn: str) -> AsyncGenerator[list[str]]:
    """The topics of the wake-ups that are carried, whoever sends them."""
    topics: list[str] = []

    def hear(*arguments: Any) -> None:
        topics.extend(topic for topic in str(arguments[-1]).partition(":")[2].split(",") if topic)

    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn, timeout=BOUND)
    try:
        await connection.add_listener(CHANNEL, hear)
        yield topics
    finally:
        await connection.close()


@asynccontextmanager
async def quiet(dsn: str, *agents: str, **options: Any) -> AsyncGenerator[SDK]:
    """A process that never sweeps."""
    async with world.opened(dsn, *agents, sweep_interval=SWEEP_OFF, **options) as sdk:
        yield sdk
