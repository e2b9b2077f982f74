"""Bugs by which a call that is cancelled, or merely looks, consumes what it does not give: R3."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_COALESCING = "protocol/agent_messaging/coalescing.py"
_READING = "protocol/agent_messaging/reading.py"
_ASKING = "protocol/agent_messaging/asking.py"

MUTANTS = (
    Mutant(
        name="mark-on-fetch",
        promise="R3",
        sentence="With manual acknowledgement, too, a message is read as soon as it is fetched.",
        file="protocol/agent_messaging/async_conversation.py",
        old='        messages = await self._reader.read(agent, None, mark=ack == "auto", limit=limit)\n',
        new="        messages = await self._reader.read(agent, None, mark=True, limit=limit)\n",
        caught_by=(
            "tests/protocol/test_async_conversation.py::"
            "test_with_manual_acknowledgement_a_message_stays_until_it_is_marked_read",
        ),
    ),
    Mutant(
        name="mark-on-show",
        promise="R3",
        sentence="check_inbox marks as read what it shows: a result that is lost on its way takes it along.",
        file="mcp_server/agent_messaging_mcp/tools/inbox.py",
        old='    cursor = await call_.view.cursor(unread) if unread else ""\n',
        new="""\
    cursor = await call_.view.cursor(unread) if unread else ""
    if cursor:
        await call_.view.acknowledge(cursor)
""",
        caught_by=("tests/mcp_server/test_conversations.py::test_a_cursor_marks_what_came_with_it_and_nothing_else",),
    ),
    Mutant(
        name="a-resource-that-marks",
        promise="R3",
        sentence="Reading the page of the inbox counts as having been shown, and ends no later wait.",
        file="mcp_server/agent_messaging_mcp/resources.py",
        old="    found = await view.inbox(limit=first + MOST_ITEMS)\n",
        new="    found = await view.inbox(limit=first + MOST_ITEMS)\n    await view.shown(found.items)\n",
        caught_by=("tests/mcp_server/test_resources.py::test_reading_a_page_marks_nothing",),
    ),
    Mutant(
        name="a-cancelled-read-keeps-what-it-took",
        promise="R3",
        sentence="A read that is cancelled has marked messages that nobody gets.",
        file=_READING,
        old="            task.add_done_callback(lambda done: self._give_back(agent, done))\n            raise\n",
        new="            raise\n",
        caught_by=("tests/protocol/test_async_conversation.py::test_a_cancelled_read_never_loses_a_message",),
    ),
    Mutant(
        name="pages-lost-in-a-cancelled-read",
        promise="R3",
        sentence="A read of many pages that is cancelled has marked the pages before.",
        file=_READING,
        old="            self._unread(agent, taken)\n            raise\n",
        new="            raise\n",
        caught_by=(
            "tests/protocol/test_async_conversation.py::test_a_read_of_many_pages_that_is_cancelled_loses_none_of_them",
        ),
    ),
    Mutant(
        name="an-answer-kept-for-a-cancelled-wait",
        promise="R3",
        sentence="The answer to a question whose wait was cancelled is held for that wait, and in no inbox.",
        file=_ASKING,
        old="""\
                if self._was_last(question):
                    self._engine.outbox.release.soon(question)
                raise
""",
        new="                self._was_last(question)\n                raise\n",
        caught_by=("tests/protocol/test_sync_conversation.py::test_a_cancelled_wait_never_loses_the_answer",),
    ),
    Mutant(
        name="an-answer-kept-for-a-window-that-ended",
        promise="R3",
        sentence="The answer to a question whose window ended is held for that window, and in no inbox.",
        file=_ASKING,
        old="                await self._release(question)\n",
        new="                pass\n",
        caught_by=(
            "tests/protocol/test_sync_conversation.py::"
            "test_a_window_that_ends_leaves_the_question_open_until_its_reply_by",
        ),
    ),
    Mutant(
        name="released-without-its-answer",
        promise="R3",
        sentence="An answer that came just before its wait was given up stays with the wait.",
        file="db/agent_messaging_db/conversations.py",
        old='    return {row[0] for row in await connection.fetch(_SQL["release_answers"], ids, process)}\n',
        new="    return set()\n",
        caught_by=("tests/protocol/test_sync_conversation.py::test_a_cancelled_wait_never_loses_the_answer",),
    ),
    Mutant(
        name="a-result-that-comes-with-the-cancellation",
        promise="R3",
        sentence="A call that is cancelled in the moment of its result does not undo what it did.",
        file=_COALESCING,
        old="            elif future.exception() is None:\n",
        new="            elif False:\n",
        caught_by=(
            "tests/protocol/test_coalescing.py::test_a_call_that_is_cancelled_just_as_its_result_comes_is_undone_too",
        ),
    ),
    Mutant(
        name="a-cancelled-call-goes-out",
        promise="R3",
        sentence="A send that was cancelled while it queued goes out all the same, though nothing was begun.",
        file=_COALESCING,
        old=("                with suppress(ValueError):\n                    self._queue.remove(entry)\n"),
        new="                pass\n",
        caught_by=("tests/protocol/test_coalescing.py::test_a_call_that_is_cancelled_while_it_queues_is_taken_back",),
    ),
    Mutant(
        name="a-cancelled-call-cuts-its-batch",
        promise="R3",
        sentence="One caller that is cancelled cancels the statement that others have a part in.",
        file=_COALESCING,
        old=(
            "                if future.cancelled():\n"
            "                    self._abandoned(row, result)\n"
            "                else:\n"
            "                    future.set_result(result)\n"
        ),
        new="                future.set_result(result)\n",
        caught_by=(
            "tests/protocol/test_coalescing.py::"
            "test_a_call_that_is_cancelled_under_way_is_done_all_the_same_and_undone_if_there_is_a_way",
        ),
    ),
    Mutant(
        name="a-speech-skipped-by-a-lost-signal",
        promise="R3",
        sentence="A signal that was lost on its way is not repeated: what was in it counts as received.",
        file="protocol/agent_messaging/rules/meeting.py",
        old="    if command.turn is not None and meeting.seen_seq is not None:\n",
        new="    if meeting.seen_seq is not None:\n",
        caught_by=(
            "tests/protocol/rules/test_meeting_speaking.py::"
            "test_a_turn_that_was_not_named_or_not_signalled_proves_nothing",
        ),
    ),
    Mutant(
        name="seen-is-received",
        promise="R3",
        sentence="A signal counts as received as soon as it is made, so one that is lost takes speeches with it.",
        file="protocol/agent_messaging/rules/meeting.py",
        old="        seen_seq=meeting.last_seq,\n    )\n",
        new="        seen_seq=meeting.last_seq,\n    )\n"
        "    draft.change_member(draft.meeting.holder_id, cursor=meeting.last_seq)\n",
        caught_by=(
            "tests/protocol/test_meeting_turns.py::"
            "test_a_signal_that_was_lost_at_any_point_is_repeated_and_nothing_in_it_is_skipped",
        ),
    ),
)
