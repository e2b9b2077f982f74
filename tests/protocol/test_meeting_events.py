"""Event handlers of meetings: of every process's meetings, from registration on, in order, whatever a handler does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import AgentMessaging, InvalidArgumentError, MeetingEvent
from agent_messaging_db.wakeups import PostgresWakeups
from tests.protocol.gathering import Word, attends, lets_go_by, opened, says, speaks, started, turn_of
from tests.protocol.world import eventually

Entry = tuple[UUID, MeetingEvent, str | None, dict[str, Any]]


def recorded(sdk: AgentMessaging[Word], *kinds: MeetingEvent) -> list[Entry]:
    """What the process hears of these events, or of all; from its next call on."""
    heard: list[Entry] = []

    def listener(kind: MeetingEvent) -> Callable[..., Any]:
        async def record(meeting: UUID, agent: str | None, data: dict[str, Any]) -> None:
            heard.append((meeting, kind, agent, data))

        return record

    for kind in kinds or MeetingEvent:
        sdk.register_event_handler(kind)(listener(kind))
    return heard


async def heard_of(heard: list[Entry], kind: MeetingEvent) -> Entry:
    async def found() -> Entry | None:
        return next((entry for entry in heard if entry[1] is kind), None)

    entry = await eventually(found)
    assert entry is not None
    return entry


@pytest.mark.requirement("meeting:events")
async def test_a_process_hears_everything_in_order_of_meetings_that_others_hold(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk, opened(dsn) as elsewhere:
        heard = recorded(elsewhere)
        await elsewhere.get_agent("alice")
        meeting = await started(sdk, "alice", "bob", "carol")
        await turn_of(sdk, "bob", meeting)
        await says(sdk, "bob", meeting, "hm", "alice")
        await turn_of(sdk, "alice", meeting)
        await says(sdk, "alice", meeting, None)
        await sdk.meeting.leave_meeting("carol", meeting)
        await sdk.meeting.hand_over_host("alice", meeting, "bob")
        await sdk.meeting.end_meeting("bob", meeting, outcome="agreed")
        await heard_of(heard, MeetingEvent.MEETING_ENDED)
        history = await sdk.meeting.get_meeting_history(meeting)

        assert [data["seq"] for _, _, _, data in heard] == [entry.seq for entry in history]
        assert [(kind, agent) for _, kind, agent, _ in heard] == [(entry.kind, entry.agent) for entry in history]
        spoke = [data for _, kind, _, data in heard if kind is MeetingEvent.AGENT_SPOKE]
        assert [(data["turn"], data["message"]) for data in spoke] == [(1, Word(text="welcome")), (2, Word(text="hm"))]
        assert (spoke[1]["next"], spoke[1]["named"]) == ("alice", "alice")
        ended = heard[-1][3]
        assert (ended["reason"], ended["outcome"]) == ("by_host", "agreed")


@pytest.mark.requirement("meeting:events:fields")
async def test_going_away_coming_back_and_declining_are_told_as_the_protocol_says(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        heard = recorded(sdk, MeetingEvent.AGENT_JOINED, MeetingEvent.AGENT_LEFT, MeetingEvent.AGENT_TIMED_OUT)
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"], offer_timeout=60)
        await sdk.meeting.leave_meeting("carol", meeting)
        await attends(sdk, meeting, "bob")
        await sdk.meeting.start_meeting("alice", meeting, Word(text="hello"))
        for _ in range(2):
            await lets_go_by(dsn, meeting, "bob")
            await speaks(sdk, meeting, "alice")
        await attends(sdk, meeting, "bob")

        async def complete() -> bool:
            return len(heard) == 6

        await eventually(complete)
        told = [
            (kind, agent, data.get("declined", data.get("returned", data.get("away"))))
            for _, kind, agent, data in heard
        ]
        assert told == [
            (MeetingEvent.AGENT_LEFT, "carol", True),
            (MeetingEvent.AGENT_JOINED, "bob", False),
            (MeetingEvent.AGENT_JOINED, "alice", False),
            (MeetingEvent.AGENT_TIMED_OUT, "bob", False),
            (MeetingEvent.AGENT_TIMED_OUT, "bob", True),
            (MeetingEvent.AGENT_JOINED, "bob", True),
        ]


@pytest.mark.requirement("meeting:events:from-registration")
async def test_nothing_is_told_of_what_was_over_before_the_registration(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere:
        over = await started(sdk, "alice", "bob")
        await sdk.meeting.end_meeting("alice", over)
        running = await started(sdk, "alice", "bob")
        heard = recorded(elsewhere)
        await elsewhere.get_agent("alice")
        await sdk.meeting.attend_meeting("bob", over, 0, after_seq=3)  # it wakes whoever follows the meeting
        await speaks(sdk, running, "bob")
        new = await started(sdk, "alice", "bob")
        await sdk.meeting.end_meeting("alice", new)

        async def complete() -> bool:
            return len(heard) == 6

        await eventually(complete)
        await heard_of(heard, MeetingEvent.MEETING_ENDED)
        assert {meeting for meeting, *_ in heard} == {running, new}
        assert [data["seq"] for meeting, _, _, data in heard if meeting == running] == [5]
        assert [data["seq"] for meeting, _, _, data in heard if meeting == new] == [1, 2, 3, 4, 5]


@pytest.mark.requirement("meeting:events:harm-only-themselves")
async def test_a_handler_that_raises_or_is_cancelled_harms_neither_the_others_nor_the_next_event(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        raised: list[int] = []

        @sdk.register_event_handler(MeetingEvent.AGENT_SPOKE)
        async def bad(_meeting: UUID, _agent: str | None, data: dict[str, Any]) -> None:
            raised.append(data["turn"])
            raise asyncio.CancelledError if data["turn"] % 2 else ZeroDivisionError

        heard = recorded(sdk, MeetingEvent.AGENT_SPOKE, MeetingEvent.MEETING_ENDED)
        meeting = await started(sdk, "alice", "bob")
        await speaks(sdk, meeting, "bob", "alice", "bob")
        await sdk.meeting.end_meeting("alice", meeting)
        await heard_of(heard, MeetingEvent.MEETING_ENDED)

        assert [data["turn"] for _, kind, _, data in heard if kind is MeetingEvent.AGENT_SPOKE] == [1, 2, 3, 4]
        assert raised == [1, 2, 3, 4]


@pytest.mark.requirement("meeting:events:harm-only-themselves")
async def test_a_handler_that_hangs_in_one_meeting_keeps_no_other_meeting_waiting(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        hanging = await sdk.meeting.create_meeting("alice", ["bob"])
        entered = asyncio.Event()

        @sdk.register_event_handler(MeetingEvent.AGENT_JOINED)
        async def hang(meeting: UUID, _agent: str | None, _data: dict[str, Any]) -> None:
            if meeting == hanging:
                entered.set()
                await asyncio.Event().wait()

        heard = recorded(sdk, MeetingEvent.AGENT_SPOKE)
        await attends(sdk, hanging, "bob")
        async with asyncio.timeout(90):
            await entered.wait()
        meeting = await started(sdk, "alice", "bob")
        assert (await heard_of(heard, MeetingEvent.AGENT_SPOKE))[0] == meeting


@pytest.mark.requirement("meeting:events:sweep")
async def test_an_event_whose_wake_up_was_lost_is_told_by_the_sweep(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere:
        heard = recorded(elsewhere, MeetingEvent.AGENT_SPOKE)
        await elsewhere.get_agent("alice")
        monkeypatch.setattr(PostgresWakeups, "publish", lambda self, topics: None)  # of every process
        meeting = await started(sdk, "alice", "bob")

        assert (await heard_of(heard, MeetingEvent.AGENT_SPOKE))[0] == meeting


@pytest.mark.requirement("meeting:events:register")
async def test_only_events_that_exist_can_be_registered_for_and_a_plain_function_will_do(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        told = asyncio.Event()

        @sdk.register_event_handler(MeetingEvent("meeting_started"))
        def plain(_meeting: UUID, _agent: str | None, _data: dict[str, Any]) -> None:
            told.set()

        with pytest.raises(InvalidArgumentError, match="there is no event 'agent_snored'"):
            sdk.register_event_handler("agent_snored")  # type: ignore[arg-type]
        await started(sdk, "alice", "bob")
        async with asyncio.timeout(90):
            await told.wait()
