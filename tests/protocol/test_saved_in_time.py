"""What was decided in time, and comes to the database after it."""

from __future__ import annotations

from contextlib import suppress

import pytest

from agent_messaging import MeetingTimeoutError, NotCurrentSpeakerError
from agent_messaging_db.sync_points import SyncPoint
from tests.protocol.world import SWEEP_OFF, eventually, fetch, opened, within
from tests.races.stops import acting, stopping

IS_OVER = "SELECT FROM meetings WHERE next_due <= clock_timestamp()"


@pytest.mark.requirement("meeting:speak:stale")
async def test_a_speech_that_is_saved_after_its_turn_ran_out_is_not_recorded(dsn: str) -> None:
    with stopping() as stops:
        async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
            meeting = await sdk.meeting.create_meeting("alice", ["bob"], turn_duration=0.5)
            with suppress(MeetingTimeoutError):
                await sdk.meeting.attend_meeting("bob", meeting, 0)
            await sdk.meeting.start_meeting("alice", meeting, "welcome")
            signal = await sdk.meeting.attend_meeting("bob", meeting, 15)
            stop = stops.at(SyncPoint.MEETING_DECIDED, actor="bob")
            speaking = acting("bob", sdk.meeting.speak("bob", meeting, "too late", timeout=0, turn=signal.turn))
            await stop.reached()

            async def is_over() -> bool:
                return await fetch(dsn, IS_OVER) != []

            await eventually(is_over)
            stop.go()
            with pytest.raises(NotCurrentSpeakerError):
                await within(speaking)
            history = await sdk.meeting.get_meeting_history(meeting)
            assert [entry.content for entry in history if entry.content is not None] == ["welcome"]
            assert history[-1].kind == "agent_timed_out"
