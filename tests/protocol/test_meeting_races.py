"""Meetings under concurrency, retries and unknown outcomes: one speaker, one transition, one result."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import (
    AgentMessaging,
    AgentMessagingError,
    IdempotencyConflictError,
    InvalidMeetingStateError,
    MeetingEndedError,
    MeetingTimeoutError,
    NotCurrentSpeakerError,
)
from agent_messaging_db import meetings as statements
from tests.protocol.gathering import BOUND, Word, attends, contents, opened, says, speaks, speeches, started, turn_of
from tests.protocol.world import fetch


@pytest.mark.requirement("meeting:speak:stale")
async def test_of_fifty_speeches_on_one_turn_in_two_processes_exactly_one_wins(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere, asyncio.timeout(BOUND):
        meeting = await started(sdk, "alice", "bob")
        await turn_of(sdk, "bob", meeting)
        calls = [
            process.meeting.speak("bob", meeting, Word(text=f"{number}"), timeout=0, turn=2)
            for number, process in enumerate([sdk, elsewhere] * 25)
        ]
        results = Counter(type(result) for result in await asyncio.gather(*calls, return_exceptions=True))

        assert results == {MeetingTimeoutError: 1, NotCurrentSpeakerError: 49}
        assert len(await speeches(sdk, meeting)) == 2


@pytest.mark.requirement("meeting:speak:retry")
async def test_the_same_words_on_the_same_turn_are_said_once_and_every_retry_waits_on(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere, asyncio.timeout(BOUND):
        meeting = await started(sdk, "alice", "bob")
        await turn_of(sdk, "bob", meeting)
        retries = [
            asyncio.create_task(process.meeting.speak("bob", meeting, Word(text="one"), turn=2))
            for process in [sdk, elsewhere] * 5
        ]
        await speaks(sdk, meeting, "alice")
        assert {(await retry).turn for retry in retries} == {4}
        assert (await sdk.meeting.speak("bob", meeting, Word(text="one"), turn=2)).turn == 4
        with pytest.raises(NotCurrentSpeakerError):
            await sdk.meeting.speak("bob", meeting, None, turn=2)
        await sdk.meeting.end_meeting("alice", meeting)
        assert (await sdk.meeting.speak("bob", meeting, Word(text="one"), turn=2)).reason == "meeting_ended"
        with pytest.raises(MeetingEndedError):
            await sdk.meeting.speak("bob", meeting, Word(text="two"), turn=2)

        assert [text for _, _, text in await speeches(sdk, meeting)] == ["welcome", "one", "alice"]


@pytest.mark.requirement("meeting:start:retry")
async def test_starting_again_with_the_same_opening_is_the_same_start(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere, asyncio.timeout(BOUND):
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        await attends(sdk, meeting, "bob")
        opening = [process.meeting.start_meeting("alice", meeting, Word(text="hi")) for process in [sdk, elsewhere] * 5]
        assert await asyncio.gather(*opening) == [None] * 10
        with pytest.raises(InvalidMeetingStateError):
            await sdk.meeting.start_meeting("alice", meeting, Word(text="hello"))
        assert await speeches(sdk, meeting) == [(1, "alice", "hi")]


@pytest.mark.requirement("meeting:attend:two-waits")
async def test_two_live_waits_of_one_agent_both_return_and_one_of_them_speaks(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere, asyncio.timeout(BOUND):
        meeting = await started(sdk, "alice", "bob")
        processes = [sdk, elsewhere]
        waits = [asyncio.create_task(process.meeting.attend_meeting("alice", meeting)) for process in processes]
        await speaks(sdk, meeting, "bob")
        assert [(await wait).turn for wait in waits] == [3, 3]
        spoken = await asyncio.gather(
            *(p.meeting.speak("alice", meeting, Word(text=f"{n}"), timeout=0) for n, p in enumerate(processes)),
            return_exceptions=True,
        )

        assert sorted(type(result).__name__ for result in spoken) == ["MeetingTimeoutError", "NotCurrentSpeakerError"]
        assert len(await speeches(sdk, meeting)) == 3


@pytest.mark.requirement("meeting:idempotency")
async def test_a_meeting_created_twice_under_one_key_is_one_meeting(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere, asyncio.timeout(BOUND):
        calls = [
            process.meeting.create_meeting("alice", ["bob"], 10 + number, title="T", idempotency_key="k")
            for number, process in enumerate([sdk, elsewhere] * 5)
        ]
        assert len(set(await asyncio.gather(*calls))) == 1
        before = await contents(dsn)
        for other in ({"title": "U"}, {"agenda": "A"}, {"metadata": {"a": 1}}, {"quorum": 2}):
            with pytest.raises(IdempotencyConflictError, match="'k'"):
                await sdk.meeting.create_meeting("alice", ["bob"], **{"title": "T", "idempotency_key": "k", **other})
        assert await contents(dsn) == before
        assert len((await sdk.inbox.page("bob")).items) == 1


@pytest.mark.requirement("meeting:idempotency")
async def test_a_speech_under_a_key_is_said_once_wherever_and_however_late_it_is_repeated(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere, asyncio.timeout(BOUND):
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        await attends(sdk, meeting, "bob")
        for process in (sdk, elsewhere):
            await process.meeting.start_meeting("alice", meeting, Word(text="hi"), idempotency_key="start")
        await turn_of(sdk, "bob", meeting)
        await says(sdk, "bob", meeting, "one", idempotency_key="k")
        await turn_of(sdk, "alice", meeting)
        await says(elsewhere, "bob", meeting, "one", idempotency_key="k")  # it was never signalled a turn
        await says(sdk, "alice", meeting, "two")
        await turn_of(sdk, "bob", meeting)
        await says(sdk, "bob", meeting, "one", idempotency_key="k")  # it holds the floor again, of another turn
        before = await contents(dsn)
        changed: list[dict[str, Any]] = [{"then": "alice"}, {"metadata": {"a": 1}}, {"turn": 4}, {"text": None}]
        for change in [*changed, {"text": "other"}]:
            with pytest.raises(IdempotencyConflictError):
                await says(sdk, "bob", meeting, **{"text": "one", "idempotency_key": "k", **change})

        assert await contents(dsn) == before
        assert [text for _, _, text in await speeches(sdk, meeting)] == ["hi", "one", "two"]


@pytest.mark.requirement("meeting:idempotency")
async def test_a_refusal_is_not_remembered_under_its_key(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob")
        with pytest.raises(NotCurrentSpeakerError):
            await sdk.meeting.speak("alice", meeting, Word(text="x"), timeout=0, idempotency_key="k")
        await speaks(sdk, meeting, "bob")
        await says(sdk, "alice", meeting, "x", idempotency_key="k")

        assert (await speeches(sdk, meeting))[-1] == (3, "alice", "x")


class Unlucky:
    """Each transition is committed, and the connection is lost before anybody hears of it; so twice in a row."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost = 0
        for save in (statements.save_meeting, statements.see_turn):
            monkeypatch.setattr(statements, save.__name__, self._losing(save))

    def _losing(self, save: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def save_and_lose(*arguments: Any, **options: Any) -> Any:
            saved = await save(*arguments, **options)
            if saved is None or self.lost >= 2:
                return saved
            self.lost += 1
            raise ConnectionResetError("lost")

        return save_and_lose


@pytest.mark.requirement("meeting:unknown-outcome")
@pytest.mark.parametrize("text", ["one", None])
async def test_words_whose_first_try_was_committed_unheard_are_recorded_once(
    dsn: str, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk, asyncio.timeout(BOUND):
        meeting = await started(sdk, "alice", "bob", "carol")
        unlucky = Unlucky(monkeypatch)
        await says(sdk, "bob", meeting, text)

        assert unlucky.lost == 1
        history = await sdk.meeting.get_meeting_history(meeting, 5)
        assert [(entry.turn, entry.agent) for entry in history] == [(2, "bob")]


@pytest.mark.requirement("meeting:unknown-outcome")
async def test_who_is_alone_and_holds_the_floor_again_has_not_spoken_twice(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(dsn, "alice", "bob") as sdk, asyncio.timeout(BOUND):
        meeting = await started(sdk, "alice", "bob")
        await speaks(sdk, meeting, "bob")
        await sdk.meeting.leave_meeting("bob", meeting)
    async with opened(dsn) as sdk, asyncio.timeout(BOUND):
        unlucky = Unlucky(monkeypatch)
        signal = await sdk.meeting.speak("alice", meeting, Word(text="one"))  # loses the speech, then the signal

        assert (unlucky.lost, signal.turn) == (2, 4)
        assert (await speeches(sdk, meeting))[2:] == [(3, "alice", "one")]


@pytest.mark.requirement("meeting:unknown-outcome")
async def test_a_creation_and_a_start_whose_first_try_was_committed_unheard_happen_once(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = statements.insert_meeting

    async def insert_and_lose(*arguments: Any, **options: Any) -> Any:
        await insert(*arguments, **options)
        monkeypatch.undo()
        raise ConnectionResetError("lost")

    async with opened(dsn, "alice", "bob") as sdk, asyncio.timeout(BOUND):
        monkeypatch.setattr(statements, "insert_meeting", insert_and_lose)
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        assert await fetch(dsn, "SELECT count(*) FROM meetings") == [(1,)]
        await attends(sdk, meeting, "bob")
        assert Unlucky(monkeypatch)
        await sdk.meeting.start_meeting("alice", meeting, Word(text="hi"))
        assert await speeches(sdk, meeting) == [(1, "alice", "hi")]


async def storm(sdk: AgentMessaging[Word], meeting: UUID, agent: str, dice: random.Random) -> None:
    """One member does whatever comes to its mind."""
    for _ in range(12):
        with suppress(AgentMessagingError):
            match dice.randrange(6):
                case 0:
                    await sdk.meeting.leave_meeting(agent, meeting)
                case 1 | 2:
                    await sdk.meeting.attend_meeting(agent, meeting, timeout=0.02)
                case 3:
                    await sdk.meeting.speak(agent, meeting, None, timeout=0)
                case _:
                    await sdk.meeting.speak(agent, meeting, Word(text=agent), timeout=0.02)


@pytest.mark.requirement("meeting:transitions")
async def test_leaving_speaking_passing_and_running_out_of_time_at_once_each_turn_has_one_end(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", "dave") as sdk, opened(dsn) as elsewhere, asyncio.timeout(90):
        meeting = await started(sdk, "alice", "bob", "carol", "dave", offer_timeout=0.05, turn_duration=0.05)
        async with asyncio.TaskGroup() as group:
            for seed, process in enumerate([sdk, elsewhere] * 2):
                for agent in ("alice", "bob", "carol", "dave"):
                    group.create_task(storm(process, meeting, agent, random.Random(f"{seed} {agent}")))
        entries = await sdk.meeting.get_meeting_history(meeting)
        turn_ends = [e.turn for e in entries if e.kind in ("agent_spoke", "turn_passed", "agent_timed_out")]

        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert len(turn_ends) > 2
        assert all(before < after for before, after in itertools.pairwise(turn_ends))
