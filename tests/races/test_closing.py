"""A process that closes at a sync point: what it held is done elsewhere, and it comes to an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent_messaging import AgentMessaging
from agent_messaging_db.sync_points import SyncPoint
from tests.promises import kept
from tests.protocol import world
from tests.protocol.gathering import attends
from tests.protocol.world import SWEEP_OFF, fetch, open_questions
from tests.races.stops import BOUND, PATIENCE, soon, stopping
from tests.races.waits import quiet

SDK = AgentMessaging[Any]


async def closed(sdk: SDK) -> None:
    async with asyncio.timeout(2 * BOUND):
        await sdk.close()


def at_work() -> set[asyncio.Task[Any]]:
    """The tasks that go on in the background, of whatever process."""
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("agent-messaging ")}


@asynccontextmanager
async def alone(dsn: str, **options: Any) -> AsyncGenerator[SDK]:
    """One process, which the test closes itself."""
    sdk: SDK = AgentMessaging(world.config(dsn, sweep_interval=SWEEP_OFF, **options))
    await sdk.initialize()
    try:
        yield sdk
    finally:
        await closed(sdk)


def answers_with(sdk: SDK, answer: str) -> list[int]:
    """Have bob's questions answered; gives the attempts that will have been made."""
    attempts: list[int] = []

    @sdk.register_handler("bob")
    async def handle(_: Any, context: Any) -> str:
        attempts.append(context.attempt)
        return answer

    return attempts


@pytest.mark.requirement("handler:close")
@pytest.mark.parametrize(
    ("point", "tried", "expected"),
    [
        (SyncPoint.DELIVERIES_CLAIMED, ([], [1]), "second"),
        (SyncPoint.HANDLER_RETURNED, ([1], [1]), "second"),
        (SyncPoint.HANDLER_ANSWERED, ([1], []), "first"),
    ],
    ids=["claimed", "returned", "answered"],
)
async def test_what_a_closing_process_has_claimed_and_not_finished_is_handled_elsewhere(
    dsn: str, point: SyncPoint, tried: tuple[list[int], list[int]], expected: str
) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as there, alone(dsn) as first, quiet(dsn) as second:
            stop = stops.at(point)
            attempts = answers_with(first, "first")
            await first.get_agent("bob")
            asking = asyncio.create_task(there.sync_conversation.send_and_wait("alice", "bob", "?", PATIENCE))
            await stop.reached()
            await closed(first)
            stop.go()
            others = answers_with(second, "second")
            await second.get_agent("bob")
            async with asyncio.timeout(BOUND):
                assert await asking == expected
            assert (attempts, others) == tried

            async def done() -> bool:
                return not (await there.inbox.page("bob")).items

            await soon(done)
    kept("R3", f"a handler's process closed at {point.name}", tried=1)


@pytest.mark.requirement("handler:close")
async def test_what_a_resume_has_claimed_as_its_process_closes_is_handled_elsewhere(dsn: str) -> None:
    with stopping() as stops:
        async with (
            quiet(dsn, "alice", "bob") as there,
            alone(dsn, auto_invoke_handlers=False) as first,
            quiet(dsn) as second,
        ):
            attempts = answers_with(first, "first")
            await first.get_agent("bob")
            asking = asyncio.create_task(there.sync_conversation.send_and_wait("alice", "bob", "?", PATIENCE))
            await soon(lambda: open_questions(there, "bob"))
            claimed, closes = stops.at(SyncPoint.DELIVERIES_CLAIMED), stops.at(SyncPoint.CLOSE_BEGUN)
            resuming = asyncio.create_task(first.async_conversation.resume_agent_handler("bob"))
            await claimed.reached()
            closing = asyncio.create_task(first.close())
            await closes.reached()
            claimed.go()
            async with asyncio.timeout(2 * BOUND):
                assert await resuming == 1
                closes.go()
                await closing
            others = answers_with(second, "second")
            await second.get_agent("bob")
            async with asyncio.timeout(BOUND):
                assert await asking == "second"
            assert (attempts, others) == ([], [1])
    kept("R3", "a process closed while it resumes", tried=1)


@pytest.mark.requirement("waiting:close")
async def test_a_message_that_comes_as_its_reader_closes_is_given_or_still_there(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as there, alone(dsn) as here:
            reading = asyncio.create_task(here.async_conversation.wait_for_message("bob", "alice", PATIENCE))

            async def waits() -> bool:
                return here._engine.counts.waits_open == 1

            await soon(waits)
            stop = stops.at(SyncPoint.CLOSE_BEGUN)
            closing = asyncio.create_task(here.close())
            await stop.reached()
            await there.async_conversation.send("alice", "bob", "hello")
            stop.go()
            async with asyncio.timeout(2 * BOUND):
                given, _ = await asyncio.gather(reading, closing)
            left = await there.async_conversation.get_unread_messages("bob")
            assert ([] if given is None else [given]) + left == ["hello"]
    kept("R3", "a reader's process closed at CLOSE_BEGUN", tried=1)


@pytest.mark.requirement("handler:close")
async def test_a_close_that_was_cancelled_can_be_done_again_and_leaves_nothing_behind(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as there:
            before = at_work()
            async with alone(dsn) as here:
                stop = stops.at(SyncPoint.CLOSE_BEGUN)
                closing = asyncio.create_task(here.close())
                await stop.reached()
                closing.cancel()
                await asyncio.gather(closing, return_exceptions=True)
                stop.go()
                await closed(here)
                assert at_work() <= before
                assert len(await fetch(dsn, "SELECT FROM processes")) == 1
            assert (await there.get_agent("alice")).external_id == "alice"
    kept("R3", "a close cancelled at CLOSE_BEGUN", tried=1)


@pytest.mark.requirement("handler:close")
async def test_whoever_opens_again_while_a_cancelled_close_goes_on_waits_for_its_end(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice"), alone(dsn) as here:
            stop = stops.at(SyncPoint.CLOSE_BEGUN)
            closing = asyncio.create_task(here.close())
            await stop.reached()
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            opening = asyncio.create_task(here.initialize())
            stop.go()
            async with asyncio.timeout(2 * BOUND):
                await opening
            assert (await here.get_agent("alice")).external_id == "alice"


@pytest.mark.requirement("wakeups:close")
@pytest.mark.parametrize("point", [SyncPoint.LISTENER_CONNECTED, SyncPoint.LISTENER_LISTENS])
async def test_a_process_can_be_closed_while_its_listener_connects(dsn: str, point: SyncPoint) -> None:
    with stopping() as stops:
        async with alone(dsn) as here:
            stop = stops.at(point)
            sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND "
            await fetch(dsn, sql + "application_name = 'agent-messaging listener'")
            await stop.reached()
            await closed(here)
            assert at_work() == set()
    kept("R3", f"a process closed at {point.name}", tried=1)


@pytest.mark.requirement("wakeups:close")
async def test_a_process_can_be_closed_while_its_wake_ups_do_not_go(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as there, alone(dsn) as here:
            waiting = asyncio.create_task(there.async_conversation.wait_for_message("bob", "alice", PATIENCE))
            stop = stops.at(SyncPoint.WAKEUPS_GO)
            await here.async_conversation.send("alice", "bob", "hello")
            await stop.reached()
            await closed(here)
            there._engine.waiting.wake_waiters(there._engine.waiting.topics)  # as the sweep does
            async with asyncio.timeout(BOUND):
                assert await waiting == "hello"
    kept("R3", "a process closed at WAKEUPS_GO", tried=1)


@pytest.mark.requirement("meeting:transitions")
async def test_a_deadline_that_a_closing_process_has_found_is_applied_by_another_one(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob", "carol") as there:
            meeting = await there.meeting.create_meeting("alice", ["bob", "carol"], offer_timeout=0.05)
            await attends(there, meeting, "bob", "carol")
            await there.meeting.start_meeting("alice", meeting, "welcome")
            stop = stops.at(SyncPoint.DUE_FOUND)
            async with world.opened(dsn, sweep_interval=0.05) as here:
                await stop.reached()
                await closed(here)
            async with world.opened(dsn, sweep_interval=0.05):

                async def skipped() -> list[Any]:
                    sql = "SELECT turn FROM meeting_events WHERE event = 'agent_timed_out' AND turn = 2"
                    return await fetch(dsn, sql)

                assert await soon(skipped) == [(2,)]
    kept("R3", "a process closed at DUE_FOUND", tried=1)


@pytest.mark.requirement("handler:resume")
async def test_what_a_cancelled_resume_has_claimed_is_handled_all_the_same(dsn: str) -> None:
    handled: list[str] = []
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as there, quiet(dsn, auto_invoke_handlers=False) as here:

            @here.register_handler("bob")
            async def handle(message: str, _: Any) -> None:
                handled.append(message)

            await here.get_agent("bob")
            await there.async_conversation.send("alice", "bob", "hello")
            stop = stops.at(SyncPoint.DELIVERIES_CLAIMED, nth=2)
            resuming = asyncio.create_task(here.async_conversation.resume_agent_handler("bob"))
            await stop.reached()
            resuming.cancel()
            await asyncio.gather(resuming, return_exceptions=True)

            async def done() -> bool:
                return handled == ["hello"]

            await soon(done)
    kept("R3", "a resume cancelled after its first claim", tried=1)


@pytest.mark.requirement("outage:close-cancelled")
async def test_a_close_that_is_cancelled_leaves_nothing_that_would_strike_later(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def noted(delay: float, callback: Any, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        timer = call_later(delay, callback, *arguments, **options)
        if getattr(callback, "__name__", "") == "terminate":
            timers.append(timer)
        return timer

    async with alone(dsn) as sdk:
        monkeypatch.setattr(loop, "call_later", noted)

        async def never(_seconds: float) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(sdk._engine.presence, "idle", never)  # type: ignore[attr-defined]
        closing = asyncio.create_task(sdk._engine.close())  # type: ignore[attr-defined]

        async def is_closing() -> bool:
            return bool(timers)

        await soon(is_closing)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert [timer.cancelled() for timer in timers] == [True]
        monkeypatch.undo()
