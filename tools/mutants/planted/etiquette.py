"""Bugs by which agents keep each other, and everybody else, busy for ever: R17."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_SENDING = "db/agent_messaging_db/migrations/0002_sending.sql"
_SETTLING = "db/agent_messaging_db/migrations/0003_settling.sql"
_BUDGETS = "tests/protocol/test_etiquette.py::"
_SILENCES = "tests/protocol/test_silences.py::"

MUTANTS = (
    Mutant(
        name="a-budget-of-everybody",
        promise="R17",
        sentence="What one agent writes to all others together is counted, not what a pair exchanges.",
        file=_SENDING,
        old="              FROM messages m WHERE m.pair_id = c.pair_id AND m.seq > c.last_seq - p_budget) m\n",
        new="              FROM messages m ORDER BY m.created_at DESC LIMIT p_budget) m\n",
        caught_by=(f"{_BUDGETS}test_the_message_after_the_budget_is_refused_and_says_until_when_to_pause",),
    ),
    Mutant(
        name="a-budget-for-ever",
        promise="R17",
        sentence="Two agents that have once spent their budget never write to each other again.",
        file=_SENDING,
        old="        WHERE m.questions = 0 AND m.created_at > clock_timestamp() - make_interval",
        new="        WHERE m.questions = 0 AND m.created_at > timestamptz '-infinity' - make_interval",
        caught_by=(f"{_BUDGETS}test_there_is_room_again_when_the_window_has_passed",),
    ),
    Mutant(
        name="a-budget-looked-at-without-a-lock",
        promise="R17",
        sentence="Two processes that look at the same time both find room for the last message.",
        file=_SENDING,
        old="        ON CONFLICT (low_id, high_id) DO UPDATE SET last_seq = p.last_seq WHERE false;",
        new="        ON CONFLICT (low_id, high_id) DO NOTHING;",
        caught_by=(f"{_BUDGETS}test_two_processes_do_not_both_spend_the_last_of_a_budget",),
    ),
    Mutant(
        name="a-budget-of-strangers-without-a-lock",
        promise="R17",
        sentence="Two processes that write first at the same time both have the whole budget.",
        file=_SENDING,
        old="""
        WHERE n.operation <> ALL (v_skip)
        ORDER BY 1, 2
""",
        new="""
        WHERE n.operation <> ALL (v_skip)
          AND EXISTS (SELECT FROM pairs e WHERE e.low_id = least(n.sender, n.recipient)
                      AND e.high_id = greatest(n.sender, n.recipient))
        ORDER BY 1, 2
""",
        caught_by=(f"{_BUDGETS}test_two_processes_that_write_first_at_the_same_time_share_a_budget",),
    ),
    Mutant(
        name="a-question-opens-nothing",
        promise="R17",
        sentence="A new question gives no room for what there is to say about it.",
        file=_SENDING,
        old="count(*) FILTER (WHERE m.kind = 'question') OVER (ORDER BY m.seq DESC) AS questions",
        new="0 AS questions",
        caught_by=(f"{_BUDGETS}test_a_new_question_is_taken_and_opens_the_budget_again",),
    ),
    Mutant(
        name="questions-without-end",
        promise="R17",
        sentence="Two agents ask each other for ever.",
        file=_SENDING,
        old="    WHERE c.questions = 0 AND recent.used + c.place > p_budget OR total.since IS NOT NULL\n",
        new="    WHERE c.questions = 0 AND recent.used + c.place > p_budget\n",
        caught_by=(f"{_BUDGETS}test_questions_have_a_budget_ten_times_as_large_and_their_answers_have_none",),
    ),
    Mutant(
        name="a-refusal-remembered",
        promise="R17",
        sentence="Tried again with its key after the pause, a refused message is taken for sent.",
        file=_SENDING,
        old="        WHERE n.operation = ANY (v_refused) AND k.agent_id = n.agent_id AND k.key = n.key;\n",
        new="        WHERE false AND k.agent_id = n.agent_id AND k.key = n.key;\n",
        caught_by=(f"{_BUDGETS}test_a_retry_of_what_was_accepted_is_neither_counted_nor_refused",),
    ),
    Mutant(
        name="hops-that-do-not-grow",
        promise="R17",
        sentence="What a handler sends has the hop of what it handles, so that an echo never ends.",
        file="protocol/agent_messaging/handler_run.py",
        old="        next_hop.set(row.hop + 1)\n",
        new="        next_hop.set(row.hop)\n",
        caught_by=(f"{_BUDGETS}test_what_a_handler_sends_is_one_hop_further_and_what_a_program_begins_is_none",),
    ),
    Mutant(
        name="hops-begin-anew-over-mcp",
        promise="R17",
        sentence="Whatever an agent over MCP has just read, what it sends counts as its own idea.",
        file="protocol/agent_messaging/agent_view.py",
        old="        return by_what_it_was_shown() if self._within else nullcontext()\n",
        new="        return by_what_it_was_shown() if not self._within else nullcontext()\n",
        caught_by=(
            f"{_BUDGETS}test_an_agent_over_mcp_follows_from_what_it_was_shown_within_the_last_minute",
            f"{_BUDGETS}test_who_owes_an_answer_follows_from_the_question_as_long_as_it_does",
        ),
    ),
    Mutant(
        name="once-more-round-the-loop",
        promise="R17",
        sentence="Handlers on the way of a stopped loop try again, each five times for each attempt of the next.",
        file="protocol/agent_messaging/handler_run.py",
        old="        if isinstance(error, HandlerFailedError) and error.looped:\n",
        new="        if isinstance(error, HandlerFailedError) and not error:\n",
        caught_by=(f"{_BUDGETS}test_a_handler_that_is_refused_for_its_loop_is_not_tried_again",),
    ),
    Mutant(
        name="silence-not-asked-in-answers",
        promise="R17",
        sentence="A silenced agent goes on by answering.",
        file=_SETTLING,
        old="                WHEN p_is_silenced THEN 'silenced'\n",
        new="",
        caught_by=(
            f"{_SILENCES}test_who_is_silenced_writes_nothing_in_any_process_and_reads_all_the_same",
            f"{_SILENCES}test_a_handler_that_the_silence_meets_at_work_answers_after_it",
        ),
    ),
    Mutant(
        name="silence-of-agents-only",
        promise="R17",
        sentence="An organization is silenced, and its agents go on.",
        file=_SENDING,
        old="s.subject_id = ANY (ARRAY[a.id, a.organization_id])",
        new="s.subject_id = a.id",
        caught_by=(
            f"{_SILENCES}test_who_is_silenced_writes_nothing_in_any_process_and_reads_all_the_same[organization]",
            f"{_SILENCES}test_silences_are_listed_and_the_agent_s_own_outlives_its_organization_s",
        ),
    ),
    Mutant(
        name="silence-spoken-in-meetings",
        promise="R17",
        sentence="A silenced agent says in a meeting what it may not send.",
        file="protocol/agent_messaging/meeting_store.py",
        old="    if speaker not in moment.silenced:\n",
        new="    if moment.silenced:\n",
        caught_by=(
            f"{_SILENCES}test_a_silenced_member_speaks_no_word_may_pass_and_its_turn_goes_by",
            f"{_SILENCES}test_a_silenced_host_starts_no_meeting_and_its_meeting_starts_without_it",
        ),
    ),
    Mutant(
        name="silence-lost-in-a-save",
        promise="R17",
        sentence="Who was silenced before its turn came may speak: the turn as it was seen says nothing of silences.",
        file="protocol/agent_messaging/meeting_moments.py",
        old="transition.state.members), now, moment.silenced)\n",
        new="transition.state.members), now)\n",
        caught_by=(f"{_SILENCES}test_who_was_silenced_before_its_turn_came_speaks_no_word",),
    ),
    Mutant(
        name="handlers-work-in-silence",
        promise="R17",
        sentence="The handlers of a silenced agent go on, fail at every answer, and what came meanwhile is given up.",
        file="db/agent_messaging_db/sql/deliveries.sql",
        old="""\
    WHERE EXISTS (SELECT FROM processes p WHERE p.id = $3 AND p.lease_until > clock_timestamp())
      AND NOT EXISTS (SELECT FROM silences s WHERE s.until > clock_timestamp()
""",
        new="""\
    WHERE EXISTS (SELECT FROM processes p WHERE p.id = $3 AND p.lease_until > clock_timestamp())
      AND NOT EXISTS (SELECT FROM silences s WHERE s.until < clock_timestamp()
""",
        caught_by=(
            f"{_SILENCES}test_the_handlers_of_a_silenced_agent_rest_and_what_came_meanwhile_is_handled_afterwards",
        ),
    ),
    Mutant(
        name="handed-to-the-silenced",
        promise="R17",
        sentence="A message is handed to the handler of an agent that is silenced.",
        file=_SENDING,
        old="cardinality(p_taken) > 0 AND NOT v_silence\n",
        new="cardinality(p_taken) > 0\n",
        caught_by=(
            "tests/protocol/test_taken.py::test_nothing_is_taken_where_the_handler_would_not_claim_it[silenced]",
        ),
    ),
    Mutant(
        name="alone-without-its-hop",
        promise="R17",
        sentence="A message that is stored alone counts as the first of its loop.",
        file=_SENDING,
        old="p_content, p_metadata, p_hop, clock_timestamp());",
        new="p_content, p_metadata, 0, clock_timestamp());",
        caught_by=("tests/db/test_batches.py::test_what_is_stored_alone_is_stored_as_in_a_batch",),
    ),
)
