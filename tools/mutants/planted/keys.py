"""Bugs by which a retry, or two at once, does something twice: R2."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_OUTBOX = "protocol/agent_messaging/outbox.py"
_SENDING = "db/agent_messaging_db/migrations/0002_sending.sql"
_SETTLING = "db/agent_messaging_db/migrations/0003_settling.sql"
_KEYS = "tests/protocol/test_idempotency.py::"

MUTANTS = (
    Mutant(
        name="no-idempotency",
        promise="R2",
        sentence="An idempotency key is taken and not looked at: every retry sends again.",
        file=_OUTBOX,
        old="    return Key(agent, key, hashlib.sha256(text.encode()).digest())\n",
        new="    return None if text else Key(agent, key, b'')\n",
        caught_by=(
            f"{_KEYS}test_ten_retries_at_once_send_once",
            f"{_KEYS}test_the_same_key_and_payload_give_the_first_result_and_send_nothing",
        ),
    ),
    Mutant(
        name="a-key-of-any-payload",
        promise="R2",
        sentence="The same key with other words gives the first result: the second message is not sent, in silence.",
        file=_OUTBOX,
        old="    return Key(agent, key, hashlib.sha256(text.encode()).digest())\n",
        new="    return Key(agent, key, hashlib.sha256(b'' if text else b'-').digest())\n",
        caught_by=(f"{_KEYS}test_the_same_key_with_another_payload_is_a_conflict",),
    ),
    Mutant(
        name="a-key-of-everybody",
        promise="R2",
        sentence="Two agents that happen to use the same key: the second one's message is not sent.",
        file=_OUTBOX,
        old="    return Key(agent, key, hashlib.sha256(text.encode()).digest())\n",
        new="    return Key(UUID(int=0), key, hashlib.sha256(text.encode()).digest())\n",
        caught_by=("tests/protocol/test_keys_of_agents.py::test_a_key_is_its_agents_own",),
    ),
    Mutant(
        name="a-key-of-a-moment",
        promise="R2",
        sentence="A key is forgotten at once, so a retry that comes a little later sends again.",
        file=_SENDING,
        old="        WHERE k.created_at < clock_timestamp() - interval '24 hours';\n",
        new="        WHERE k.created_at < clock_timestamp();\n",
        caught_by=(f"{_KEYS}test_the_same_key_and_payload_give_the_first_result_and_send_nothing",),
    ),
    Mutant(
        name="replayed-and-sent",
        promise="R2",
        sentence="A retry is recognised, is given the first result, and is sent again all the same.",
        file=_SENDING,
        old="                v_skip := v_skip || operation;\n                RETURN NEXT;\n",
        new="                RETURN NEXT;\n",
        caught_by=(f"{_KEYS}test_ten_retries_at_once_send_once",),
    ),
    Mutant(
        name="a-second-try-is-a-second-message",
        promise="R2",
        sentence="Tried again after a connection that ended at the commit, a send collides with itself.",
        file=_SENDING,
        old="""\
    IF p_again THEN
        SELECT coalesce(array_agg(DISTINCT n.operation), '{}') INTO v_skip
""",
        new="""\
    IF p_again AND false THEN
        SELECT coalesce(array_agg(DISTINCT n.operation), '{}') INTO v_skip
""",
        caught_by=("tests/db/test_batches.py::test_a_batch_whose_first_try_was_stored_unheard_is_stored_once",),
    ),
    Mutant(
        name="an-answer-tried-again-is-refused",
        promise="R2",
        sentence="Tried again after a connection that ended at the commit, an answer is refused by itself.",
        file=_SETTLING,
        old="    IF p_again THEN\n        FOR ord, verdict, asker_id IN\n",
        new="    IF p_again AND false THEN\n        FOR ord, verdict, asker_id IN\n",
        caught_by=("tests/db/test_batches.py::test_an_answer_whose_first_try_was_stored_unheard_is_the_answer",),
    ),
    Mutant(
        name="the-result-of-a-neighbour",
        promise="R2",
        sentence="A retry is given the first result of another call that went out together with it.",
        file="db/agent_messaging_db/conversations.py",
        old="""
    for row in found:
        number: int = row["operation"]
""",
        new="""
    for number, row in enumerate(found):
""",
        caught_by=("tests/db/test_batches.py::test_of_retries_among_new_messages_each_gets_its_own_first_result",),
    ),
    Mutant(
        name="unknown-taken-for-undone",
        promise="R2",
        sentence="After a connection that ended at the commit, a call is repeated as if nothing could have happened.",
        file="db/agent_messaging_db/pool.py",
        old="                again = True\n",
        new="",
        caught_by=(
            "tests/protocol/test_meeting_races.py::"
            "test_a_creation_and_a_start_whose_first_try_was_committed_unheard_happen_once",
        ),
    ),
    Mutant(
        name="two-answers-to-a-question",
        promise="R2",
        sentence="A question that has been answered takes another answer.",
        file=_SETTLING,
        old="                WHEN p_state = 'open' AND p_kind = 'answer' THEN 'answered'\n",
        new="                WHEN p_kind = 'answer' THEN 'answered'\n",
        caught_by=(
            "tests/protocol/test_sync_conversation.py::test_fifty_replies_at_once_and_exactly_one_is_the_answer",
        ),
    ),
    Mutant(
        name="two-answers-at-once",
        promise="R2",
        sentence="Of two answers that arrive together, both count.",
        file=_SETTLING,
        old="CASE WHEN t.settles AND t.place > 1 THEN 'refused' ELSE t.verdict END",
        new="t.verdict",
        caught_by=("tests/db/test_batches.py::test_of_two_answers_in_one_batch_the_first_is_the_answer",),
    ),
    Mutant(
        name="answers-without-a-lock",
        promise="R2",
        sentence="Two processes that answer a question in the same moment both find it open.",
        file=_SETTLING,
        old="q.answerer_id = p_sender[1] FOR UPDATE;",
        new="q.answerer_id = p_sender[1];",
        caught_by=("tests/db/test_batches.py::test_of_two_processes_that_answer_in_one_moment_the_second_is_refused",),
    ),
    Mutant(
        name="one-message-to-two-readers",
        promise="R2",
        sentence="Two readers of one inbox get the same message.",
        file="db/agent_messaging_db/sql/inbox.sql",
        old="    ORDER BY d.id LIMIT $3 FOR UPDATE OF d SKIP LOCKED\n), marked AS (\n",
        new="    ORDER BY d.id LIMIT $3\n), marked AS (\n",
        caught_by=("tests/protocol/test_async_conversation.py::test_concurrent_readers_never_get_the_same_message",),
    ),
    Mutant(
        name="a-meeting-for-each-retry",
        promise="R2",
        sentence="A meeting that is created twice under one key is two meetings.",
        file="db/agent_messaging_db/sql/meetings.sql",
        old="    SELECT meeting.host_id, $14, $15, meeting.id::text FROM meeting WHERE $14::text IS NOT NULL\n",
        new="    SELECT meeting.host_id, $14, $15, meeting.id::text FROM meeting WHERE $14::text = ''\n",
        caught_by=("tests/protocol/test_meeting_races.py::test_a_meeting_created_twice_under_one_key_is_one_meeting",),
    ),
    Mutant(
        name="a-retried-speech-is-refused",
        promise="R2",
        sentence="Who says the same words on the same turn again is told that the turn is over, though it has spoken.",
        file="protocol/agent_messaging/meetings.py",
        old="        return event is not None and event.content == words.content\n",
        new="        return event is None\n",
        caught_by=(
            "tests/protocol/test_meeting_races.py::"
            "test_the_same_words_on_the_same_turn_are_said_once_and_every_retry_waits_on",
        ),
    ),
    Mutant(
        name="other-words-taken-for-a-retry",
        promise="R2",
        sentence="Who says something else on a turn that it has used is told that it was said.",
        file="protocol/agent_messaging/meetings.py",
        old="        return event is not None and event.content == words.content\n",
        new="        return event is not None\n",
        caught_by=(
            "tests/protocol/test_meeting_races.py::test_two_live_waits_of_one_agent_both_return_and_one_of_them_speaks",
        ),
    ),
    Mutant(
        name="an-identical-question-asked-again",
        promise="R2",
        sentence="A model whose wait was cut asks once more, and the other agent has two questions.",
        file="mcp_server/agent_messaging_mcp/tools/conversations.py",
        old="            reattach=not key,\n",
        new="            reattach=False,\n",
        caught_by=("tests/mcp_server/test_conversations.py::test_an_identical_question_is_not_asked_twice",),
    ),
    Mutant(
        name="resent-under-new-ids",
        promise="R2",
        sentence="A send whose connection broke after the commit is stored a second time.",
        file="protocol/agent_messaging/outbox.py",
        old="""\
            verdicts = await conversations.send_messages(
                connection, batch=batch, again=again, process=self._process, limits=self._limits
            )
""",
        new="""\
            from agent_messaging_db.ids import new_id

            fresh = [
                one._replace(messages=tuple(row._replace(id=new_id()) for row in one.messages)) if again else one
                for one in batch
            ]
            verdicts = await conversations.send_messages(
                connection, batch=fresh, again=again, process=self._process, limits=self._limits
            )
""",
        caught_by=("tests/protocol/test_acknowledged.py::test_a_send_whose_outcome_was_lost_is_stored_once",),
    ),
)
