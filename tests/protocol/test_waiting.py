"""The one way to wait: what ends it, what goes on, and that no wake-up is lost on a quiet system that never sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from agent_messaging.waiting import Waiting, Window, WindowEndedError, agent_topic, question_topic, topics_of
from agent_messaging_db import inbox, wakeups
from agent_messaging_db.errors import DatabaseUnavailable
from agent_messaging_db.wakeups import CHANNEL
from tests.protocol.gathering import BOUND, Word, opened
from tests.protocol.world import SWEEP_OFF, eventually, fetch

ROUNDS = 20
TOPIC = agent_topic(UUID(int=1))


class Alone:
    """Wake-ups of a process that has no neighbours."""

    hears = True

    async def start(self, *, heard: Callable[[Iterable[str]], None], reset: Callable[[], None]) -> None:
        self.reset = reset

    def publish(self, topics: Iterable[str]) -> None:
        return

    async def close(self) -> None:
        return


async def waiting_for(looks: Callable[[], Awaitable[Any]], seconds: float, waiting: Waiting, **options: Any) -> Any:
    async def take(found: Any) -> Any:
        return found

    async with asyncio.timeout(BOUND):
        return await waiting.until(looks, options.get("take", take), topics=[TOPIC], window=Window(seconds))


@pytest.mark.requirement("waiting:no-lost-wake-up")
async def test_what_happens_while_a_wait_looks_is_seen_although_it_found_nothing() -> None:
    for _ in range(ROUNDS):
        waiting = Waiting(Alone())
        sent: list[str] = []

        async def look(waiting: Waiting = waiting, sent: list[str] = sent) -> str | None:
            found = sent[0] if sent else None
            if found is None:
                sent.append("message")
                waiting.wake([TOPIC])
                await asyncio.sleep(0)
            return found

        assert await waiting_for(look, BOUND, waiting) == "message"


@pytest.mark.requirement("waiting:window")
async def test_a_window_of_zero_looks_once_and_takes_what_is_there() -> None:
    waiting = Waiting(Alone())
    looks = 0

    async def nothing() -> None:
        nonlocal looks
        looks += 1

    async def something() -> int:
        return 7

    async def beaten(_: int) -> None:
        nonlocal looks
        looks += 1

    with pytest.raises(WindowEndedError):
        await waiting_for(nothing, 0, waiting)
    assert looks == 1
    assert await waiting_for(something, 0, waiting) == 7
    with pytest.raises(WindowEndedError):
        await waiting_for(something, 0, waiting, take=beaten)
    assert looks == 2


@pytest.mark.requirement("waiting:take")
async def test_a_wait_goes_on_when_somebody_else_was_faster() -> None:
    tries: list[int] = []

    async def look() -> int:
        return len(tries)

    async def take(found: int) -> str | None:
        tries.append(found)
        return "mine" if found == 3 else None

    assert await waiting_for(look, BOUND, Waiting(Alone()), take=take) == "mine"
    assert tries == [0, 1, 2, 3]


@pytest.mark.requirement("waiting:window")
async def test_a_wait_that_is_woken_all_the_time_or_always_beaten_ends_with_its_window() -> None:
    waiting = Waiting(Alone())

    async def woken() -> None:
        waiting.wake([TOPIC])
        await asyncio.sleep(0)

    async def something() -> int:
        return 7

    async def beaten(_: int) -> None:
        return

    with pytest.raises(WindowEndedError):
        await waiting_for(woken, 0.1, waiting)
    with pytest.raises(WindowEndedError):
        await waiting_for(something, 0.1, waiting, take=beaten)


@pytest.mark.requirement("waiting:outage")
async def test_an_unreachable_database_is_waited_out_and_told_only_when_the_window_ends() -> None:
    answers: list[Any] = [DatabaseUnavailable("away"), DatabaseUnavailable("away"), "back"]

    async def look() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await waiting_for(look, BOUND, Waiting(Alone())) == "back"
    answers[:] = [DatabaseUnavailable("away")] * 100
    with pytest.raises(DatabaseUnavailable):
        await waiting_for(look, 0.3, Waiting(Alone()))
    answers[:] = [DatabaseUnavailable("away")]
    with pytest.raises(DatabaseUnavailable):
        await waiting_for(look, 0, Waiting(Alone()))


@pytest.mark.requirement("waiting:cancel")
@pytest.mark.parametrize("within", ["look", "take", "sleep"])
async def test_a_wait_that_is_cancelled_anywhere_leaves_nothing_behind(within: str) -> None:
    waiting = Waiting(Alone())
    there = asyncio.Event()

    async def here(name: str) -> None:
        if within == name:
            there.set()
            await asyncio.Event().wait()

    async def look() -> str | None:
        await here("look")
        asyncio.get_running_loop().call_soon(there.set)
        return None if within == "sleep" else "found"

    async def take(_: str) -> str:
        await here("take")
        return "taken"

    wait = asyncio.create_task(waiting_for(look, BOUND, waiting, take=take))
    await there.wait()
    assert waiting.topics == [TOPIC]
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert waiting.topics == []


@pytest.mark.requirement("waiting:close")
async def test_closing_ends_every_wait() -> None:
    waiting = Waiting(Alone())

    async def nothing() -> None:
        return

    waits = [asyncio.create_task(waiting_for(nothing, BOUND, waiting)) for _ in range(5)]
    await asyncio.sleep(0)
    await waiting.close()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(result) for result in results] == [WindowEndedError] * 5


@pytest.mark.requirement("waiting:topics")
async def test_a_wake_up_reaches_those_of_its_topic_only_and_a_reset_reaches_everybody() -> None:
    alone = Alone()
    waiting = Waiting(alone)
    await waiting.start()
    heard: list[str] = []
    stops = [waiting.listen([name], lambda name=name: heard.append(name)) for name in ("a1", "a2")]
    stops.append(waiting.tap(lambda topics: heard.append(f"tap {','.join(topics)}")))
    waiting.wake(["a2", "q9"])
    assert heard == ["a2", "tap a2,q9"]
    alone.reset()
    assert sorted(heard) == ["a1", "a2", "a2", "tap a2,q9"]
    for stop in stops:
        stop()
        stop()
    waiting.wake(["a1", "a2"])
    assert (len(heard), waiting.topics) == (4, [])


def test_topics_are_told_apart_by_kind() -> None:
    one, other = uuid4(), uuid4()

    assert topics_of("q", [agent_topic(one), question_topic(other)]) == [other]


async def waits_for_mail(sdk: Any) -> list[str]:
    page = await sdk.inbox.wait("bob", BOUND)
    return [item.content.text for item in page.items]


@pytest.mark.requirement("waiting:no-lost-wake-up")
async def test_a_message_sent_elsewhere_between_the_look_and_the_sleep_is_found(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = inbox.page
    meanwhile: list[Callable[[], Awaitable[None]]] = []

    async def page_that_is_stale(*arguments: Any, **options: Any) -> Any:
        rows = await page(*arguments, **options)
        if meanwhile:
            await meanwhile.pop()()
        return rows

    monkeypatch.setattr(inbox, "page", page_that_is_stale)
    async with (
        opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk,
        opened(dsn, sweep_interval=SWEEP_OFF) as elsewhere,
    ):
        heard = asyncio.Event()
        await sdk.as_agent("bob").on_inbox_change(heard.set)
        for number in range(ROUNDS):

            async def send(number: int = number) -> None:
                heard.clear()
                await elsewhere.async_conversation.send("alice", "bob", Word(text=f"{number}"))
                await heard.wait()

            meanwhile.append(send)
            async with asyncio.timeout(BOUND):
                assert await waits_for_mail(sdk) == [f"{number}"]
                await sdk.async_conversation.get_unread_messages("bob")


@asynccontextmanager
async def overheard(dsn: str) -> AsyncGenerator[asyncio.Event]:
    """Is set whenever a wake-up has been carried to those who listen."""
    heard = asyncio.Event()
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn, timeout=BOUND)

    def listener(*arguments: Any) -> None:
        if not arguments[-1].endswith(":"):  # that would be a test of the connection
            heard.set()

    await connection.add_listener(CHANNEL, listener)
    yield heard
    await connection.close()


@pytest.mark.requirement("waiting:reconnect")
async def test_a_message_whose_wake_up_was_lost_while_the_listener_was_away_is_found_when_it_is_back(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = wakeups.connect
    knocked, gate = asyncio.Event(), asyncio.Event()
    gate.set()

    async def connect_through_the_gate(*arguments: Any, **options: Any) -> Any:
        knocked.set()
        await gate.wait()
        return await connect(*arguments, **options)

    async def listeners() -> set[int]:
        sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'agent-messaging listener'"
        return {row[0] for row in await fetch(dsn, sql + " AND datname = current_database()")}

    monkeypatch.setattr(wakeups, "connect", connect_through_the_gate)
    async with (
        opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as elsewhere,
        overheard(dsn) as heard,
    ):
        others = await listeners()
        async with opened(dsn, sweep_interval=SWEEP_OFF) as sdk, asyncio.timeout(4 * BOUND):
            for number in range(ROUNDS):
                wait = asyncio.create_task(waits_for_mail(sdk))
                gate.clear()
                knocked.clear()
                (mine,) = await eventually(lambda: one_of(listeners, others))
                await fetch(dsn, "SELECT pg_terminate_backend($1)", mine)
                await knocked.wait()
                heard.clear()
                await elsewhere.async_conversation.send("alice", "bob", Word(text=f"{number}"))
                await heard.wait()
                assert not wait.done()
                gate.set()
                assert await wait == [f"{number}"]
                await sdk.async_conversation.get_unread_messages("bob")


async def one_of(listeners: Callable[[], Awaitable[set[int]]], others: set[int]) -> list[int]:
    """The listener that is not one of the others, once there is exactly one."""
    mine = list(await listeners() - others)
    return mine if len(mine) == 1 else []
