"""An operator's switch: who is silenced reads and writes nothing, everywhere, from the commit on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from agent_messaging import (
    AgentMessaging,
    AgentNotFoundError,
    InvalidArgumentError,
    MeetingTimeoutError,
    OrganizationNotFoundError,
    SilencedError,
)
from tests.protocol import gathering
from tests.protocol.gathering import Word, attends, comes_now, started, turn_of
from tests.protocol.world import ORGANIZATION, asked, eventually, fetch, open_questions, opened


def silenced_calls(sdk: AgentMessaging[Any]) -> list[Callable[[], Awaitable[Any]]]:
    """Everything by which alice could say something."""
    return [
        lambda: sdk.async_conversation.send("alice", "bob", 1),
        lambda: sdk.one_way.send("alice", "bob", 1),
        lambda: sdk.one_way.send("alice", ["bob", "carol"], 1),
        lambda: sdk.sync_conversation.send_and_wait("alice", "bob", 1),
        lambda: sdk.sync_conversation.reply("alice", "bob", 1),
        lambda: sdk.sync_conversation.reply("alice", "bob", 1, decline=True),
        lambda: sdk.meeting.create_meeting("alice", ["bob"], title="buy this"),
    ]


async def rows(dsn: str) -> list[Any]:
    return await fetch(
        dsn,
        "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM meetings), (SELECT count(*) FROM questions),"
        " (SELECT count(*) FROM meeting_events), (SELECT count(*) FROM idempotency_keys)",
    )


@pytest.mark.requirement("etiquette:silence")
@pytest.mark.parametrize("whom", ["agent", "organization"])
async def test_who_is_silenced_writes_nothing_in_any_process_and_reads_all_the_same(dsn: str, whom: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk, opened(dsn) as other:
        await other.inbox.page("bob")
        await other.inbox.page("carol")
        await sdk.async_conversation.send("bob", "alice", "hello")
        async with asked(sdk, "?", "bob", "alice") as (_, question):
            silences = sdk.silences
            await (silences.silence_agent("alice") if whom == "agent" else silences.silence_organization(ORGANIZATION))
            before = await rows(dsn)
            for process in (sdk, other):
                for call in silenced_calls(process):
                    with pytest.raises(SilencedError, match="silenced 'alice' until that is lifted"):
                        await call()
            assert await rows(dsn) == before
            assert await open_questions(other, "alice") == {question}, "the question stands"
            assert await other.async_conversation.get_unread_messages("alice") == ["hello", "?"]
            assert (await other.get_agent("alice")).silenced
            assert (await other.get_agent("bob")).silenced == (whom == "organization")
            if whom == "agent":
                await other.async_conversation.send("bob", "alice", "you still get this")
                assert await other.silences.lift_agent("alice")
            else:
                assert await other.silences.lift_organization(ORGANIZATION)
            await sdk.sync_conversation.reply("alice", "bob", "at last")
        assert await sdk.silences.list() == []
        assert sum(process.measures.snapshot().refusals["silenced"] for process in (sdk, other)) == 14


@pytest.mark.requirement("etiquette:silence:end")
async def test_a_silence_ends_by_itself_by_the_clock_of_the_database(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        moment = datetime.now(UTC) + timedelta(days=2)
        assert (await sdk.silences.silence_agent("alice", until=moment)).until == moment
        told = await sdk.silences.silence_agent("alice", seconds=3600)
        with pytest.raises(SilencedError) as refused:
            await sdk.async_conversation.send("alice", "bob", 1)
        assert told.until == refused.value.until
        assert refused.value.seconds_left is not None
        assert 3500 < refused.value.seconds_left <= 3600
        with pytest.raises(SilencedError) as answered:
            await sdk.meeting.create_meeting("alice", ["bob"])
        assert answered.value.until == told.until
        await fetch(dsn, "UPDATE silences SET until = clock_timestamp()")
        await sdk.async_conversation.send("alice", "bob", 1)
        assert await sdk.silences.list() == []
        assert not await sdk.silences.lift_agent("alice")


@pytest.mark.requirement("etiquette:silence:list")
async def test_silences_are_listed_and_the_agent_s_own_outlives_its_organization_s(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        await sdk.silences.silence_agent("alice", seconds=600)
        await sdk.silences.silence_organization(ORGANIZATION)
        listed = await sdk.silences.list()
        assert [(one.organization_external_id, one.agent_external_id, one.until is None) for one in listed] == [
            (ORGANIZATION, None, True),
            (ORGANIZATION, "alice", False),
        ]
        await sdk.register_agent("dave", ORGANIZATION, "Dave")
        assert [agent.external_id for agent in await sdk.agents() if agent.silenced] == ["alice", "bob", "dave"]
        with pytest.raises(SilencedError):
            await sdk.async_conversation.send("dave", "alice", "who comes later is silenced as well")
        await sdk.silences.lift_organization(ORGANIZATION)
        await sdk.async_conversation.send("dave", "alice", "hello")
        with pytest.raises(SilencedError):
            await sdk.async_conversation.send("alice", "dave", "hello")


@pytest.mark.requirement("etiquette:silence:list")
async def test_nobody_is_silenced_by_a_call_that_is_wrong(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        naive = datetime(2099, 1, 1)
        past = datetime(2001, 1, 1, tzinfo=UTC)
        wrong: list[dict[str, Any]] = [
            {"seconds": 0},
            {"seconds": float("nan")},
            {"seconds": "5"},
            {"seconds": True},
            {"until": naive},
            {"until": past},
            {"until": "tomorrow"},
            {"seconds": 5, "until": datetime(2099, 1, 1, tzinfo=UTC)},
        ]
        for options in wrong:
            with pytest.raises(InvalidArgumentError):
                await sdk.silences.silence_agent("alice", **options)
        for call in (sdk.silences.silence_agent, sdk.silences.lift_agent):
            with pytest.raises(AgentNotFoundError):
                await call("nobody")
        for call in (sdk.silences.silence_organization, sdk.silences.lift_organization):
            with pytest.raises(OrganizationNotFoundError):
                await call("nowhere")
        assert await sdk.silences.list() == []


@pytest.mark.requirement("etiquette:silence:retries")
async def test_a_retry_of_what_was_accepted_before_the_silence_gives_its_result(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        first = await sdk.async_conversation.send("alice", "bob", 1, idempotency_key="k")
        await sdk.silences.silence_agent("alice")
        assert await sdk.async_conversation.send("alice", "bob", 1, idempotency_key="k") == first
        with pytest.raises(SilencedError):
            await sdk.async_conversation.send("alice", "bob", 2, idempotency_key="l")
        await sdk.silences.lift_agent("alice")
        assert await sdk.async_conversation.send("alice", "bob", 2, idempotency_key="l") != first


@pytest.mark.requirement("etiquette:silence:handlers")
async def test_the_handlers_of_a_silenced_agent_rest_and_what_came_meanwhile_is_handled_afterwards(dsn: str) -> None:
    handled: list[Any] = []
    async with opened(dsn, "alice", "bob", sweep_interval=0.1) as sdk, opened(dsn) as operator:

        @sdk.register_handler("bob")
        async def answer(message: Any, _context: Any) -> str:
            handled.append(message)
            return "yes"

        assert await sdk.sync_conversation.send_and_wait("alice", "bob", 1, 60) == "yes"
        await operator.silences.silence_agent("bob")
        async with asked(sdk, 2, timeout=60) as (waiting, _):
            await sdk.async_conversation.send("alice", "bob", 3)
            rounds = sdk.measures.snapshot().sweeps.count

            async def swept() -> bool:
                return sdk.measures.snapshot().sweeps.count > rounds + 3

            await eventually(swept)
            assert await sdk.async_conversation.resume_agent_handler("bob") == 0
            assert handled == [1]
            await operator.silences.lift_agent("bob")
            assert await waiting == "yes"

        async def all_handled() -> bool:
            return sorted(handled) == [1, 2, 3]

        await eventually(all_handled)


@pytest.mark.requirement("etiquette:silence:handlers")
async def test_a_handler_that_the_silence_meets_at_work_answers_after_it(dsn: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    async with opened(dsn, "alice", "bob", retry_backoff=0.01, sweep_interval=0.1) as sdk:

        @sdk.register_handler("bob")
        async def answer(_message: Any, _context: Any) -> str:
            begun.set()
            await go_on.wait()
            return "yes"

        waiting = asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", "?", 90))
        async with asyncio.timeout(90):
            await begun.wait()
        await sdk.silences.silence_agent("bob")
        go_on.set()
        await eventually(lambda: fetch(dsn, "SELECT FROM deliveries WHERE error = 'SilencedError'"))
        assert not waiting.done()
        await sdk.silences.lift_agent("bob")
        assert await waiting == "yes"


@pytest.mark.requirement("etiquette:silence:meetings")
async def test_a_silenced_member_speaks_no_word_may_pass_and_its_turn_goes_by(dsn: str) -> None:
    async with gathering.opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        signal = await turn_of(sdk, "bob", meeting)
        await sdk.silences.silence_agent("bob")
        history = len(await sdk.meeting.get_meeting_history(meeting))
        with pytest.raises(SilencedError):
            await sdk.meeting.speak("bob", meeting, Word(text="buy this"), timeout=0, turn=signal.turn)
        assert len(await sdk.meeting.get_meeting_history(meeting)) == history
        with pytest.raises(MeetingTimeoutError):
            await sdk.meeting.speak("bob", meeting, None, timeout=0, turn=signal.turn)
        await turn_of(sdk, "carol", meeting)
        await gathering.says(sdk, "carol", meeting, "carol", "bob")
        await turn_of(sdk, "bob", meeting)
        await comes_now(dsn, meeting, "floor_deadline")
        await turn_of(sdk, "alice", meeting)
        await sdk.silences.silence_agent("alice")
        with pytest.raises(SilencedError):
            await sdk.meeting.end_meeting("alice", meeting, outcome="buy this")
        await sdk.meeting.leave_meeting("bob", meeting)
        await sdk.meeting.end_meeting("alice", meeting)


@pytest.mark.requirement("etiquette:silence:meetings")
async def test_who_was_silenced_before_its_turn_came_speaks_no_word(dsn: str) -> None:
    async with gathering.opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        await sdk.silences.silence_agent("bob")
        signal = await turn_of(sdk, "bob", meeting)
        history = len(await sdk.meeting.get_meeting_history(meeting))
        with pytest.raises(SilencedError):
            await sdk.meeting.speak("bob", meeting, Word(text="buy this"), timeout=0, turn=signal.turn)
        assert len(await sdk.meeting.get_meeting_history(meeting)) == history


@pytest.mark.requirement("etiquette:silence:meetings")
async def test_a_silenced_host_starts_no_meeting_and_its_meeting_starts_without_it(dsn: str) -> None:
    async with gathering.opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["alice", "bob", "carol"], start_by=3600, quorum=2)
        await attends(sdk, meeting, "bob", "carol")
        await sdk.silences.silence_agent("alice")
        with pytest.raises(SilencedError):
            await sdk.meeting.start_meeting("alice", meeting, Word(text="buy this"))
        await comes_now(dsn, meeting, "start_by")
        await turn_of(sdk, "bob", meeting)


@pytest.mark.requirement("etiquette:silence:meetings")
async def test_a_speech_that_was_recorded_before_the_silence_is_replayed_and_not_refused(dsn: str) -> None:
    async with gathering.opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob")
        signal = await turn_of(sdk, "bob", meeting)
        await gathering.says(sdk, "bob", meeting, "hello", turn=signal.turn)
        await sdk.silences.silence_agent("bob")
        await gathering.says(sdk, "bob", meeting, "hello", turn=signal.turn)
        assert len(await gathering.speeches(sdk, meeting)) == 2


@pytest.mark.requirement("etiquette:silence:at-once")
async def test_nothing_of_the_organization_is_accepted_after_the_switch_has_committed(dsn: str) -> None:
    """Many write as fast as they can, from two processes; what there is when the switch returns is all."""
    names = [f"agent{number}" for number in range(8)]
    async with opened(dsn, *names) as one, opened(dsn) as two, opened(dsn) as operator:
        for name in names:
            await one.inbox.page(name)
        refused, at_once = 0, None

        async def writes(sdk: AgentMessaging[Any], sender: str, recipient: str, number: int) -> None:
            nonlocal refused
            while True:
                try:
                    if number % 2:
                        await sdk.async_conversation.send(sender, recipient, number)
                    else:
                        await sdk.one_way.send(sender, [recipient], number, idempotency_key=None)
                except SilencedError:
                    refused += 1
                    return

        async with anyio.create_task_group() as tasks:
            for number, sender in enumerate(names):
                for sdk in (one, two):
                    tasks.start_soon(writes, sdk, sender, names[number - 1], number)
                    tasks.start_soon(writes, sdk, sender, names[number - 2], number)
            await eventually(lambda: fetch(dsn, "SELECT FROM messages OFFSET 200 LIMIT 1"))
            await operator.silences.silence_organization(ORGANIZATION)
            (at_once,) = await fetch(dsn, "SELECT count(*), max(id::text) FROM messages")
        (later,) = await fetch(dsn, "SELECT count(*), max(id::text) FROM messages")
        assert later == at_once
        assert refused == 4 * len(names)
