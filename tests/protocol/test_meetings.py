"""Meetings over the database: creating, attending, starting and reading them."""

from __future__ import annotations

import pytest

from agent_messaging import (
    AgentNotFoundError,
    AgentNotInMeetingError,
    EndReason,
    InboxItemKind,
    InvalidMeetingStateError,
    MeetingEvent,
    MeetingStatus,
    MeetingTimeoutError,
    MessageContext,
    ParticipantStatus,
)
from tests.protocol.gathering import Word, attends, contents, opened, speeches, started
from tests.protocol.world import eventually, fetch


@pytest.mark.requirement("meeting:create:members")
async def test_the_host_may_be_left_out_and_comes_first_in_the_order(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        for agents in (["bob", "carol"], ["bob", "alice", "carol"]):
            meeting = await sdk.meeting.create_meeting("alice", agents, title="Plans", agenda="All of them")
            status = await sdk.meeting.get_meeting_status(meeting)

            assert (status.status, status.host_external_id) == (MeetingStatus.CREATED, "alice")
            assert status.participants == ["alice", "bob", "carol"]
            assert (status.participant_count, status.quorum, status.turn_duration) == (3, 3, 60.0)
            assert (status.title, status.agenda) == ("Plans", "All of them")


@pytest.mark.requirement("meeting:invitation")
async def test_every_member_gets_an_invitation_without_content_and_its_handler_is_called_with_none(dsn: str) -> None:
    seen: list[tuple[object, MessageContext]] = []
    async with opened(dsn, "alice", "bob") as sdk:

        @sdk.register_handler("bob")
        async def bob(message: Word | None, context: MessageContext) -> None:
            seen.append((message, context))

        meeting = await sdk.meeting.create_meeting("alice", ["bob"], title="Plans", metadata={"room": 7})

        async def called() -> bool:
            return bool(seen)

        await eventually(called)
        message, context = seen[0]
        assert message is None
        assert (context.is_meeting_message, context.meeting_id, context.requires_reply) == (True, meeting, False)
        assert (context.sender_external_id, context.metadata) == ("alice", {"room": 7})
        (item,) = (await sdk.inbox.page("alice")).items
        assert (item.kind, item.meeting_id, item.content) == (InboxItemKind.INVITATION, meeting, None)
        assert await sdk.async_conversation.get_unread_messages("alice") == []


@pytest.mark.requirement("meeting:attend:timeout")
async def test_a_window_that_ends_carries_the_status_and_leaves_the_member_attending(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        with pytest.raises(MeetingTimeoutError, match="'bob' still attends") as caught:
            await sdk.meeting.attend_meeting("bob", meeting, timeout=0.2)

        status = caught.value.status
        assert status is not None
        assert status.participant_status == {"alice": ParticipantStatus.INVITED, "bob": ParticipantStatus.ATTENDING}
        assert status.waiting_for is not None
        assert (status.waiting_for.agents, status.waiting_for.reason) == (("alice",), "to attend")


@pytest.mark.requirement("meeting:start:not-ready")
async def test_a_meeting_that_is_not_ready_does_not_start_and_says_who_is_missing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", "dave") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol", "dave"])
        await attends(sdk, meeting, "bob")
        before = await contents(dsn)
        with pytest.raises(InvalidMeetingStateError, match=r"missing: carol, dave.*force=True"):
            await sdk.meeting.start_meeting("alice", meeting, Word(text="now"))
        assert await contents(dsn) == before

        await sdk.meeting.start_meeting("alice", meeting, Word(text="now"), force=True)
        status = await sdk.meeting.get_meeting_status(meeting)
        assert (status.state, status.current_speaker) == (MeetingStatus.ACTIVE, "bob")


@pytest.mark.requirement("meeting:start:force")
async def test_nobody_starts_a_meeting_alone_even_by_force(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        with pytest.raises(InvalidMeetingStateError, match=r"at least two must attend.*missing: bob"):
            await sdk.meeting.start_meeting("alice", meeting, Word(text="now"), force=True)


@pytest.mark.requirement("meeting:start:opening")
async def test_the_opening_is_turn_one_and_names_who_speaks_next_and_the_host_may_wait_for_its_turn(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"])
        await attends(sdk, meeting, "bob", "carol")
        with pytest.raises(MeetingTimeoutError):
            await sdk.meeting.start_meeting("alice", meeting, Word(text="hello"), "carol", wait=True, timeout=0)

        assert await speeches(sdk, meeting) == [(1, "alice", "hello")]
        assert (await sdk.meeting.get_meeting_status(meeting)).current_speaker == "carol"
        with pytest.raises(InvalidMeetingStateError, match="has started already"):
            await sdk.meeting.start_meeting("alice", meeting, Word(text="hello again"))


@pytest.mark.requirement("meeting:start:next-speaker")
async def test_an_opening_that_names_nobody_who_can_speak_next_starts_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "eve") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        await attends(sdk, meeting, "bob")
        before = await contents(dsn)
        for named, error in [
            ("ghost", AgentNotFoundError),
            ("eve", AgentNotInMeetingError),
            ("alice", InvalidMeetingStateError),
        ]:
            with pytest.raises(error):
                await sdk.meeting.start_meeting("alice", meeting, Word(text="hello"), named)
        assert await contents(dsn) == before


@pytest.mark.requirement("meeting:history")
async def test_the_history_has_speeches_and_system_entries_in_order_and_pages(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob")
        await sdk.meeting.end_meeting("alice", meeting, outcome="agreed")
        history = await sdk.meeting.get_meeting_history(meeting)

        assert [entry.seq for entry in history] == [1, 2, 3, 4, 5]
        assert [entry.kind for entry in history] == [
            MeetingEvent.AGENT_JOINED,
            MeetingEvent.AGENT_JOINED,
            MeetingEvent.MEETING_STARTED,
            MeetingEvent.AGENT_SPOKE,
            MeetingEvent.MEETING_ENDED,
        ]
        assert [entry.sender for entry in history] == [None, None, None, "alice", None]
        assert (history[0].text, history[3].content) == ("bob joined", Word(text="welcome"))
        assert await sdk.meeting.get_meeting_history(meeting, after_seq=2, limit=2) == history[2:4]
        assert await sdk.meeting.get_meeting_history(meeting, limit=2, newest=True) == history[3:]


@pytest.mark.requirement("meeting:transitions")
async def test_every_transition_is_numbered_without_a_gap_in_the_transaction_that_made_it(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob")
        (row,) = await fetch(dsn, "SELECT last_seq, version, host_id FROM meetings WHERE id = $1", meeting)
        events = await fetch(dsn, "SELECT seq FROM meeting_events WHERE meeting_id = $1 ORDER BY seq", meeting)

        assert [seq for (seq,) in events] == list(range(1, row["last_seq"] + 1))
        assert row["version"] == 3  # created, bob attended, started


@pytest.mark.requirement("meeting:model")
async def test_a_meeting_and_its_participants_are_given_as_the_design_models_them(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"])
        await sdk.meeting.leave_meeting("carol", meeting)
        await attends(sdk, meeting, "bob")
        await sdk.meeting.start_meeting("alice", meeting, Word(text="x"))
        model = await sdk.meeting.get_meeting(meeting)
        alice, bob, carol = await sdk.meeting.get_participants(meeting)

        assert (model.status, model.host_id) == (MeetingStatus.ACTIVE, (await sdk.get_agent("alice")).id)
        assert model.current_speaker_id == bob.agent_id
        assert [alice.status, bob.status, carol.status] == ["waiting", "speaking", "declined"]
        assert [alice.is_locked, bob.is_locked, carol.is_locked] == [True, False, False]
        await sdk.meeting.end_meeting("alice", meeting)
        model = await sdk.meeting.get_meeting(meeting)
        assert (model.status, model.reason, model.current_speaker_id) == ("ended", EndReason.BY_HOST, None)
