"""Bugs by which a meeting never ends, or is another than the rules say: R8."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_RULES = "protocol/agent_messaging/rules/meeting.py"
_ORDER = "protocol/agent_messaging/rules/meeting_order.py"
_HISTORIES = (
    "tests/protocol/rules/test_meeting_histories.py::test_no_crowd_breaks_a_promise_and_every_meeting_ends_in_silence"
)

MUTANTS = (
    Mutant(
        name="silence-without-end",
        promise="R8",
        sentence="A meeting in which nobody says anything goes round until its turns are used up.",
        file=_RULES,
        old="""\
    away = holder.skips + 1 >= SKIPS_UNTIL_AWAY
    draft.change_member(
        holder.agent_id,
        status=MEMBERS[holder.status][MemberStep.SKIPPED_TWICE] if away else holder.status,
        skips=holder.skips + 1,
        quiet=Quiet.SKIPPED,
    )
""",
        new="""\
    away = False
    draft.change_member(holder.agent_id, skips=holder.skips + 1)
""",
        caught_by=(
            _HISTORIES,
            "tests/protocol/test_meeting_limits.py::"
            "test_a_meeting_in_which_nobody_speaks_or_passes_any_more_is_abandoned",
        ),
    ),
    Mutant(
        name="the-silent-stay",
        promise="R8",
        sentence="A member that has died is offered every second turn for ever; it never counts as away.",
        file=_RULES,
        old="SKIPS_UNTIL_AWAY = 2\n",
        new="SKIPS_UNTIL_AWAY = 2_000\n",
        caught_by=(
            "tests/protocol/rules/test_meeting_floor.py::"
            "test_two_skips_with_nothing_of_its_own_between_make_a_member_away",
            "tests/protocol/test_meeting_ends.py::"
            "test_two_skips_make_a_member_away_and_only_attending_brings_it_back_to_its_place",
        ),
    ),
    Mutant(
        name="a-deadline-that-ends-nothing",
        promise="R8",
        sentence="A meeting goes on past its deadline.",
        file=_RULES,
        old="    if meeting.deadline <= draft.now:\n",
        new="    if meeting.deadline <= draft.now and created:\n",
        caught_by=(
            "tests/protocol/rules/test_meeting.py::test_the_deadline_ends_any_meeting_whatever_else_is_due",
            "tests/protocol/test_meeting_limits.py::test_at_its_deadline_a_meeting_ends_whatever_it_is_in",
        ),
    ),
    Mutant(
        name="turns-without-limit",
        promise="R8",
        sentence="A meeting whose turns are used up takes another one, which the database refuses.",
        file=_ORDER,
        old="    if state.meeting.turn >= state.meeting.max_turns:\n        return EndReason.MAX_TURNS\n",
        new="",
        caught_by=(
            "tests/protocol/rules/test_meeting_floor.py::test_every_grant_counts_towards_max_turns",
            "tests/protocol/test_meeting_limits.py::test_a_meeting_ends_when_its_turns_are_used_up",
        ),
    ),
    Mutant(
        name="passing-round-and-round",
        promise="R8",
        sentence="When all have passed, the meeting goes round again.",
        file=_ORDER,
        old="    if all(member.quiet is not None for member in attending):\n",
        new="    if not attending:\n",
        caught_by=(
            "tests/protocol/rules/test_meeting_floor.py::"
            "test_when_everyone_attending_passed_or_was_skipped_the_meeting_ends_all_passed",
            "tests/protocol/test_meeting_limits.py::"
            "test_when_everyone_has_passed_since_the_last_speech_the_meeting_ends",
        ),
    ),
    Mutant(
        name="a-meeting-of-nobody",
        promise="R8",
        sentence="The last member leaves, and the system looks for somebody to give the floor to.",
        file=_ORDER,
        old="    if all(member.quiet is not None for member in attending):\n",
        new="    if attending and all(member.quiet is not None for member in attending):\n",
        caught_by=(_HISTORIES,),
    ),
    Mutant(
        name="quorum-ignored-at-start-by",
        promise="R8",
        sentence="At start_by a meeting starts however few attend.",
        file=_RULES,
        old="    if not view.is_quorate(draft.state):\n        end(draft, EndReason.NO_QUORUM)\n",
        new="    if not draft.state.attending:\n        end(draft, EndReason.NO_QUORUM)\n",
        caught_by=(
            "tests/protocol/rules/test_meeting.py::test_at_start_by_a_meeting_without_quorum_ends",
            "tests/protocol/test_meeting_limits.py::test_at_start_by_without_quorum_it_ends_and_everybody_is_told",
        ),
    ),
    Mutant(
        name="quorum-ignored-by-the-host",
        promise="R8",
        sentence="A host starts a meeting to which nobody has come.",
        file="protocol/agent_messaging/rules/meeting_guards.py",
        old="    if others + 1 >= needed:\n",
        new="    if others + 1 >= min(needed, 1):\n",
        caught_by=(
            "tests/protocol/rules/test_meeting.py::test_starting_an_unready_meeting_is_refused_with_who_is_missing",
            "tests/protocol/test_meetings.py::test_nobody_starts_a_meeting_alone_even_by_force",
        ),
    ),
    Mutant(
        name="the-floor-stays-with-who-left",
        promise="R8",
        sentence="A speaker leaves, and the floor stays with it until its time is over.",
        file=_RULES,
        old="    yielded = draft.meeting.holder_id == agent\n",
        new="    yielded = draft.meeting.holder_id == draft.meeting.host_id == agent\n",
        caught_by=(
            "tests/protocol/rules/test_meeting_speaking.py::test_a_speaker_who_leaves_yields_at_once",
            "tests/protocol/test_meeting_ends.py::test_a_speaker_who_leaves_yields_the_floor_in_the_same_moment",
        ),
    ),
    Mutant(
        name="a-meeting-without-a-host",
        promise="R8",
        sentence="When the host has gone away nobody can end the meeting.",
        file="protocol/agent_messaging/rules/meeting_view.py",
        old="    return min(attending, key=lambda member: member.joined_seq).agent_id\n",
        new="    return state.meeting.host_id\n",
        caught_by=(
            "tests/protocol/rules/test_meeting_host.py::"
            "test_while_the_host_is_away_the_longest_attending_member_acts_as_host",
            "tests/protocol/test_meeting_ends.py::"
            "test_while_the_host_is_away_the_longest_attending_member_acts_until_the_host_attends",
        ),
    ),
    Mutant(
        name="two-who-name-each-other",
        promise="R8",
        sentence="Two members that always name each other keep everybody else from speaking.",
        file=_ORDER,
        old="    if not waited:\n        return None\n",
        new="    if len(waited) < 100:\n        return None\n",
        caught_by=(
            "tests/protocol/rules/test_meeting_order.py::"
            "test_whoever_saw_twice_as_many_grants_as_attend_goes_next_whoever_is_named",
            "tests/protocol/test_meeting_turns.py::"
            "test_nobody_who_attends_is_passed_over_for_ever_and_the_signal_says_why_a_name_lapsed",
        ),
    ),
    Mutant(
        name="an-end-that-ends-twice",
        promise="R8",
        sentence="Ending an ended meeting replaces the reason that everybody was told.",
        file=_RULES,
        old="            if draft.meeting.phase is not MeetingPhase.ENDED:\n                created",
        new="            if draft.meeting.phase in MeetingPhase:\n                created",
        caught_by=(
            "tests/protocol/rules/test_meeting.py::"
            "test_ending_an_ended_meeting_changes_nothing_and_the_first_reason_stands",
        ),
    ),
    Mutant(
        name="handed-over-long-ago",
        promise="R6",
        sentence="A wait for the floor is handed a turn that was given on before it began, and looks no further.",
        file="protocol/agent_messaging/meeting_floor.py",
        old="            self._store.granted(meeting, agent.id)  # one from before the wait may be long over\n",
        new="            pass\n",
        caught_by=(
            "tests/protocol/test_meeting_events.py::test_nothing_is_told_of_what_was_over_before_the_registration",
        ),
    ),
)
