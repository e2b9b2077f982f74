"""Races between calls, each made to happen: who comes second loses nothing, takes nothing twice, and is told."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import (
    AgentMessaging,
    ConversationTimeoutError,
    InboxItem,
    InvalidSessionStateError,
    MeetingEndedError,
    MeetingTimeoutError,
    NotCurrentSpeakerError,
    WaitInterruptedError,
)
from agent_messaging_db.sync_points import SyncPoint
from tests.promises import kept, tries
from tests.protocol import world
from tests.protocol.gathering import attends
from tests.protocol.world import fetch, open_questions
from tests.races.stops import BOUND, PATIENCE, Stops, acting, soon, stopping
from tests.races.waits import quiet

SDK = AgentMessaging[Any]


async def asked(sdk: SDK, asker: str, answerer: str, reply_by: float = 600) -> UUID:
    """A question that stands, and that nobody waits for."""
    with pytest.raises(ConversationTimeoutError) as error:
        await sdk.sync_conversation.send_and_wait(asker, answerer, "?", 0, reply_by=reply_by)
    assert error.value.question_id is not None
    return error.value.question_id


async def stopped(stops: Stops, point: SyncPoint, actor: str, call: Any, nth: int = 1) -> Any:
    """Begin a call, and give it and its stop when it is there."""
    stop = stops.at(point, actor=actor, nth=nth)
    task = acting(actor, call)
    assert await stop.reached_before(task), f"{actor} never came to {point.name}: {task}"
    return task, stop


async def ends(task: asyncio.Task[Any]) -> Any:
    async with asyncio.timeout(2 * BOUND):
        return await task


async def skipped(sdk: SDK, meeting: UUID) -> list[int]:
    """The turns that ran out."""
    return [entry.turn for entry in await sdk.meeting.get_meeting_history(meeting) if entry.kind == "agent_timed_out"]


async def is_due(dsn: str, meeting: UUID) -> list[Any]:
    return await fetch(dsn, "SELECT FROM meetings WHERE id = $1 AND next_due <= clock_timestamp()", meeting)


@pytest.mark.requirement("async:two-waiters")
async def test_of_two_waits_that_have_seen_one_message_one_gets_it_and_the_other_waits_on(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as here, quiet(dsn) as there:
            tried, heard = tries(3, 100), asyncio.Event()
            await there.as_agent("bob").on_inbox_change(heard.set)
            for number in range(1, tried + 1):
                await here.async_conversation.send("alice", "bob", number)
                wait = there.async_conversation.wait_for_message("bob", "alice", PATIENCE)
                second, stop = await stopped(stops, SyncPoint.WAIT_TAKES, "second", wait)
                assert await here.async_conversation.wait_for_message("bob", "alice", PATIENCE) == number
                beaten = stops.at(SyncPoint.TRANSACTION_COMMITS, actor="second")
                stop.go()
                await beaten.reached()
                heard.clear()
                await here.async_conversation.send("alice", "bob", -number)
                async with asyncio.timeout(BOUND):
                    await heard.wait()
                beaten.go()
                assert await ends(second) == -number
    kept("R5", "a second message after a wait was beaten to the first", tried=tried)


@pytest.mark.requirement("question:one-outcome")
async def test_of_two_answers_that_have_found_one_question_one_is_stored_and_the_other_told(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as here, quiet(dsn) as there:
            question = await asked(here, "alice", "bob")
            reply = here.sync_conversation.reply("bob", "alice", "late", question_id=question)
            second, stop = await stopped(stops, SyncPoint.QUESTION_FOUND, "second", reply)
            await there.sync_conversation.reply("bob", "alice", "first", question_id=question)
            stop.go()
            with pytest.raises(InvalidSessionStateError):
                await ends(second)
            assert await here.async_conversation.get_unread_messages("alice") == ["first"]


@pytest.mark.requirement("question:one-outcome")
async def test_of_fifty_answers_at_once_one_is_stored(dsn: str) -> None:
    async with quiet(dsn, "alice", "bob") as here, quiet(dsn) as there:
        question = await asked(here, "alice", "bob")
        calls = [
            sdk.sync_conversation.reply("bob", "alice", number, question_id=question)
            for number, sdk in enumerate([here, there] * 25)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        winner, *others = (number for number, result in enumerate(results) if isinstance(result, UUID))
        assert not others
        assert sum(isinstance(result, InvalidSessionStateError) for result in results) == 49
        assert await here.async_conversation.get_unread_messages("alice") == [winner]


@pytest.mark.requirement("idempotency:concurrent")
async def test_an_answer_that_is_repeated_as_the_first_call_commits_is_the_first_one(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as here, quiet(dsn) as there:
            await asked(here, "alice", "bob")
            reply = here.sync_conversation.reply("bob", "alice", "one", idempotency_key="k")
            # It has looked whether the key was used, and it was not.
            second, stop = await stopped(stops, SyncPoint.TRY_DONE, "second", reply)
            first = await there.sync_conversation.reply("bob", "alice", "one", idempotency_key="k")
            stop.go()
            assert await ends(second) == first
            assert await here.async_conversation.get_unread_messages("alice") == ["one"]


@pytest.mark.requirement("meeting:idempotency")
async def test_words_that_are_repeated_as_the_first_call_commits_are_said_once_whatever_turn_it_is(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as here, quiet(dsn) as there:
            meeting = await there.meeting.create_meeting("alice", ["bob"])
            await attends(there, meeting, "bob")
            await there.meeting.start_meeting("alice", meeting, "welcome")
            speak = here.meeting.speak("bob", meeting, "one", timeout=0, idempotency_key="k")
            second, stop = await stopped(stops, SyncPoint.MEETING_DECIDED, "second", speak)
            with pytest.raises(MeetingTimeoutError):
                await there.meeting.speak("bob", meeting, "one", timeout=0, idempotency_key="k")
            stop.go()
            with pytest.raises(MeetingTimeoutError):
                await ends(second)
            history = await there.meeting.get_meeting_history(meeting)
            assert [entry.content for entry in history if entry.content] == ["welcome", "one"]


@pytest.mark.requirement("question:timeout")
async def test_an_answer_at_the_end_of_a_window_is_given_or_in_the_inbox_never_both_and_never_neither(
    dsn: str,
) -> None:
    given, left, tried = 0, 0, tries(30, 1000)
    async with quiet(dsn, "alice", "bob") as here, quiet(dsn) as there:
        for number in range(tried):
            window = 0.002 * (number % 15)
            asking = asyncio.create_task(
                here.sync_conversation.send_and_wait("alice", "bob", number, window, reply_by=600)
            )
            (question,) = await soon(lambda: open_questions(there, "bob"))
            await there.sync_conversation.reply("bob", "alice", number, question_id=question)
            results = await asyncio.gather(asking, return_exceptions=True)
            found = [result for result in results if not isinstance(result, ConversationTimeoutError)]
            given += len(found)
            found += await here.async_conversation.get_unread_messages("alice")
            left += found != [number]
    kept("R3", "an answer at the end of the window", tried=tried, broken=left, given=given)


@pytest.mark.requirement("question:timeout")
async def test_an_answer_that_comes_as_a_wait_ends_with_its_window_is_in_the_inbox(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as here, quiet(dsn) as there:
            ask = here.sync_conversation.send_and_wait("alice", "bob", "?", 0, reply_by=600)
            asking, stop = await stopped(stops, SyncPoint.WAIT_LOOKED, "asker", ask)
            await there.sync_conversation.reply("bob", "alice", "answer")
            assert await there.async_conversation.get_unread_messages("alice") == [], "somebody waits for it"
            stop.go()
            with pytest.raises(ConversationTimeoutError):
                await ends(asking)
            assert await there.async_conversation.get_unread_messages("alice") == ["answer"]


@pytest.mark.requirement("handler:fencing")
async def test_a_handler_whose_process_was_taken_for_dead_finishes_nothing_and_answers_nothing(dsn: str) -> None:
    handled: list[str] = []
    gate = asyncio.Event()
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as there, quiet(dsn) as first, quiet(dsn) as second:

            async def slow(_: Any, context: Any) -> str:
                handled.append(f"first {context.attempt}")
                return "first"

            async def quick(_: Any, context: Any) -> str:
                handled.append(f"second {context.attempt}")
                gate.set()
                return "second"

            first.register_handler("bob")(slow)
            await first.get_agent("bob")
            stop = stops.at(SyncPoint.HANDLER_RETURNED)
            asking = asyncio.create_task(there.sync_conversation.send_and_wait("alice", "bob", "?", PATIENCE))
            await stop.reached()
            await first._engine.lease.stop()
            await fetch(
                dsn,
                "UPDATE processes SET lease_until = clock_timestamp() - interval '1 second' WHERE id = $1",
                first._engine.process,
            )
            second.register_handler("bob")(quick)
            await second.get_agent("bob")
            assert await ends(asking) == "second"
            stop.go()
            async with asyncio.timeout(BOUND):
                await gate.wait()
            messages = await there.async_conversation.get_conversation("alice", "bob")
            assert ([m.content for m in messages], handled) == (["?", "second"], ["first 1", "second 2"])


@pytest.mark.requirement("meeting:speak:stale", "meeting:transitions")
async def test_a_speech_that_was_decided_before_the_turn_ran_out_is_not_recorded_after_it(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as here, world.opened(dsn, sweep_interval=0.05) as there:
            meeting = await here.meeting.create_meeting("alice", ["bob"], turn_duration=0.5)
            await attends(here, meeting, "bob")
            await here.meeting.start_meeting("alice", meeting, "welcome")
            signal = await here.meeting.attend_meeting("bob", meeting, BOUND)
            speak = here.meeting.speak("bob", meeting, "too late", timeout=0, turn=signal.turn)
            speaking, stop = await stopped(stops, SyncPoint.MEETING_DECIDED, "bob", speak)

            await soon(lambda: skipped(there, meeting))
            stop.go()
            with pytest.raises(NotCurrentSpeakerError):
                await ends(speaking)
            history = await here.meeting.get_meeting_history(meeting)
            assert "too late" not in [entry.content for entry in history]


@pytest.mark.requirement("meeting:end:wins", "meeting:transitions")
async def test_a_meeting_that_ends_while_words_are_composed_hears_none_of_them(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob") as here, quiet(dsn) as there:
            meeting = await here.meeting.create_meeting("alice", ["bob"])
            await attends(here, meeting, "bob")
            await here.meeting.start_meeting("alice", meeting, "welcome")
            speak = here.meeting.speak("bob", meeting, "and another thing", timeout=0)
            speaking, stop = await stopped(stops, SyncPoint.MEETING_DECIDED, "bob", speak)
            await there.meeting.end_meeting("alice", meeting)
            stop.go()
            with pytest.raises(MeetingEndedError):
                await ends(speaking)


@pytest.mark.requirement("meeting:transitions", "meeting:leave:speaker")
async def test_a_turn_that_its_speaker_leaves_while_it_runs_out_and_while_he_speaks_has_one_end(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob", "carol") as here, quiet(dsn) as there:
            for number in range(tries(4, 60)):
                meeting = await here.meeting.create_meeting("alice", ["bob", "carol"], offer_timeout=0.05)
                await attends(here, meeting, "bob", "carol")
                await here.meeting.start_meeting("alice", meeting, "welcome")
                if number % 2:
                    await soon(lambda meeting=meeting: is_due(dsn, meeting))
                calls: list[Any] = [
                    here.meeting.speak("bob", meeting, "so", timeout=0, turn=2),
                    there.meeting.leave_meeting("bob", meeting),
                    there._sweep._store.apply_due(meeting),
                ]
                calls = calls[number % 3 :] + calls[: number % 3]
                waiting = [
                    await stopped(stops, SyncPoint.TRY_BEGUN, f"{number} {place}", call)
                    for place, call in enumerate(calls)
                ]
                for _, stop in waiting:
                    stop.go()
                await asyncio.gather(*(task for task, _ in waiting), return_exceptions=True)
                entries = await there.meeting.get_meeting_history(meeting)
                turn_ends = [e.kind for e in entries if e.turn == 2 and e.kind not in ("agent_joined", "host_changed")]
                assert len([kind for kind in turn_ends if kind != "agent_left"]) <= 1, turn_ends
                assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))


@pytest.mark.requirement("meeting:transitions")
async def test_a_deadline_that_two_processes_have_found_is_applied_once(dsn: str) -> None:
    with stopping() as stops:
        async with quiet(dsn, "alice", "bob", "carol") as here:
            meeting = await here.meeting.create_meeting("alice", ["bob", "carol"], offer_timeout=0.2)
            await attends(here, meeting, "bob", "carol")
            await here.meeting.start_meeting("alice", meeting, "welcome")
            found = [stops.at(SyncPoint.DUE_FOUND), stops.at(SyncPoint.DUE_FOUND, nth=2)]
            async with world.opened(dsn, sweep_interval=0.05), world.opened(dsn, sweep_interval=0.05):
                for stop in found:
                    await stop.reached()
                for stop in found:
                    stop.go()
                await soon(lambda: skipped(here, meeting))
            turns = await skipped(here, meeting)
            assert (turns[0], turns) == (2, sorted(set(turns)))


@pytest.mark.requirement("question:both-at-once", "question:interruptible")
async def test_a_ring_of_agents_that_wait_for_one_another_comes_undone(dsn: str) -> None:
    agents = [f"agent-{number}" for number in range(5)]
    async with quiet(dsn, *agents) as here, quiet(dsn) as there:

        async def ask(number: int) -> Any:
            sdk = (here, there)[number % 2]
            asker, other = agents[number], agents[(number + 1) % len(agents)]
            owes = True

            async def reply(item: InboxItem[Any]) -> None:
                nonlocal owes
                await sdk.inbox.shown(asker, [item])
                await sdk.sync_conversation.reply(asker, item.sender or "", number, question_id=item.question_id)
                owes = False

            answer = None
            while answer is None:
                try:
                    answer = await sdk.sync_conversation.send_and_wait(
                        asker, other, "?", PATIENCE, interruptible=True, idempotency_key=f"ring {number}"
                    )
                except WaitInterruptedError as interrupted:
                    await reply(interrupted.item)
            if owes:  # its own answer came before it was asked
                [item] = (await sdk.inbox.wait(asker, PATIENCE)).items
                await reply(item)
            return answer

        async with asyncio.timeout(2 * BOUND):
            answers = await asyncio.gather(*(ask(number) for number in range(len(agents))))
        assert answers == [1, 2, 3, 4, 0]
