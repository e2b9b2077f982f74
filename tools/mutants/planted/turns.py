"""Bugs of the floor: two speakers, a stale one, a turn that does not pass: R4 and R7."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_GUARDS = "protocol/agent_messaging/rules/meeting_guards.py"
_RULES = "protocol/agent_messaging/rules/meeting.py"
_MEETINGS = "db/agent_messaging_db/sql/meetings.sql"
_SPEAKING = "tests/protocol/rules/test_meeting_speaking.py::"

MUTANTS = (
    Mutant(
        name="no-fencing",
        promise="R4",
        sentence="Who holds the floor again may still speak on its turn of before, which had passed.",
        file=_GUARDS,
        old="    if meeting.holder_id == agent and turn in (None, meeting.turn):\n",
        new="    if meeting.holder_id == agent:\n",
        caught_by=(
            f"{_SPEAKING}test_only_the_holder_speaks_and_only_on_the_turn_that_it_holds",
            "tests/protocol/test_meeting_turns.py::"
            "test_without_a_number_the_turn_last_signalled_here_is_meant_even_if_it_is_long_over",
        ),
    ),
    Mutant(
        name="whoever-knows-the-turn-speaks",
        promise="R4",
        sentence="A member that names the right turn speaks on it, whoever has the floor.",
        file=_GUARDS,
        old="    if meeting.holder_id == agent and turn in (None, meeting.turn):\n",
        new="    if turn in (None, meeting.turn):\n",
        caught_by=(
            f"{_SPEAKING}test_only_the_holder_speaks_and_only_on_the_turn_that_it_holds",
            "tests/protocol/test_meeting_turns.py::test_who_does_not_hold_the_floor_cannot_speak_and_learns_who_does",
        ),
    ),
    Mutant(
        name="no-compare-and-set",
        promise="R4",
        sentence="Of two speeches that were decided on the same state, both are saved.",
        file=_MEETINGS,
        old="    WHERE id = $1 AND version = $2 AND (NOT $3",
        new="    WHERE id = $1 AND $2::bigint > 0 AND (NOT $3",
        caught_by=(
            "tests/races/test_races.py::test_a_speech_that_was_decided_before_the_turn_ran_out_is_not_recorded_after_it",
        ),
    ),
    Mutant(
        name="what-is-due-is-not-applied-first",
        promise="R4",
        sentence="A speech that comes after its turn has run out is taken, unless the sweep was faster.",
        file=_RULES,
        old="    _apply_due(draft)\n    refused = refusal(draft.state, command, before=state)\n",
        new="    refused = refusal(draft.state, command, before=state)\n",
        caught_by=(
            f"{_SPEAKING}test_a_speech_that_comes_too_late_is_refused_with_when_its_turn_ended",
            "tests/protocol/test_meeting_limits.py::"
            "test_a_speech_that_comes_after_the_deadline_finds_it_applied_though_nobody_swept",
        ),
    ),
    Mutant(
        name="a-signal-for-a-turn-that-has-passed",
        promise="R4",
        sentence="An agent is told that it has a turn which has passed to somebody else meanwhile.",
        file=_GUARDS,
        old="            return _not_speaker(state, command.agent, command.turn, before)\n        case Speak():\n",
        new="            return None\n        case Speak():\n",
        caught_by=("tests/protocol/rules/test_meeting_floor.py::test_a_signal_is_written_only_while_its_turn_stands",),
    ),
    Mutant(
        name="one-turn-number-for-two",
        promise="R4",
        sentence="The floor moves on under the number that it had, so a stale speech fits the new turn.",
        file="protocol/agent_messaging/rules/meeting_floor.py",
        old="    turn = meeting.turn + 1\n",
        new="    turn = max(meeting.turn, 1)\n",
        caught_by=(
            "tests/protocol/rules/test_meeting_speaking.py::test_only_the_holder_speaks_and_only_on_the_turn_that_it_holds",
            "tests/protocol/rules/test_meeting_histories.py::test_no_crowd_breaks_a_promise_and_every_meeting_ends_in_silence",
        ),
    ),
    Mutant(
        name="a-turn-that-never-passes",
        promise="R7",
        sentence="When the process of a speaker has died, its turn stays with it.",
        file=_RULES,
        old="    elif (holder := before.member(meeting.holder_id)) is not None:\n",
        new="    elif (holder := before.member(meeting.host_id)) and meeting.holder_id == meeting.host_id:\n",
        caught_by=(
            "tests/protocol/test_meeting_limits.py::"
            "test_a_turn_passes_though_every_process_has_gone_and_the_next_holder_gets_its_whole_clock",
        ),
    ),
    Mutant(
        name="nobody-sweeps-meetings",
        promise="R7",
        sentence="A turn that has run out passes only when somebody asks; those who wait are not told.",
        file="protocol/agent_messaging/sweep.py",
        old="        await self._move_on()\n",
        new="",
        caught_by=(
            "tests/protocol/test_woken_in_time.py::test_who_waits_for_a_turn_is_told_when_one_runs_out_though_nobody_calls",
            "tests/protocol/test_woken_in_time.py::test_who_waits_is_told_when_a_meeting_runs_out_though_nobody_calls",
        ),
    ),
    Mutant(
        name="an-offer-without-an-end",
        promise="R7",
        sentence="A turn that its holder never picks up waits until the meeting's own deadline.",
        file="protocol/agent_messaging/rules/meeting_floor.py",
        old="        floor_deadline=draft.now + timedelta(seconds=meeting.offer_timeout),\n",
        new="        floor_deadline=meeting.deadline,\n",
        caught_by=(
            "tests/protocol/rules/test_meeting_floor.py::test_an_offered_turn_waits_for_its_signal_and_then_has_its_whole_duration",
            "tests/protocol/rules/test_meeting_histories.py::test_no_crowd_breaks_a_promise_and_every_meeting_ends_in_silence",
        ),
    ),
    Mutant(
        name="attending-again-restarts-the-clock",
        promise="R7",
        sentence="A speaker that attends again and again keeps the floor for as long as it likes.",
        file=_RULES,
        old="    if meeting.floor is Floor.SEEN:\n        return\n    limit",
        new="    limit",
        caught_by=(
            "tests/protocol/rules/test_meeting_floor.py::test_seeing_a_turn_twice_keeps_its_clock_and_what_was_seen",
            "tests/protocol/test_meeting_ends.py::"
            "test_attending_again_in_another_process_repeats_the_turn_and_restarts_no_clock",
        ),
    ),
    Mutant(
        name="a-clock-from-before-the-outage",
        promise="R7",
        sentence="After an outage the floor runs through everybody: each clock began when the one before ended.",
        file="protocol/agent_messaging/rules/meeting_floor.py",
        old="        floor_deadline=draft.now + timedelta(seconds=meeting.offer_timeout),\n",
        new="        floor_deadline=(meeting.floor_at or draft.now) + timedelta(seconds=meeting.offer_timeout),\n",
        caught_by=(
            "tests/protocol/rules/test_meeting_floor.py::"
            "test_after_an_outage_the_floor_moves_once_and_the_next_holder_gets_its_whole_clock",
        ),
    ),
    Mutant(
        name="a-speech-after-its-time",
        promise="R4",
        sentence="A speech that was decided in time is saved after its turn has run out.",
        file="db/agent_messaging_db/sql/meetings.sql",
        old="version = $2 AND (NOT $3 OR next_due IS NULL OR next_due > clock_timestamp())",
        new="version = $2 AND (NOT $3 OR next_due IS NULL OR next_due > '-infinity')",
        caught_by=(
            "tests/protocol/test_saved_in_time.py::test_a_speech_that_is_saved_after_its_turn_ran_out_is_not_recorded",
        ),
    ),
)
