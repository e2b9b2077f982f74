"""Bugs by which a race is lost that `tests/races` makes happen, one by one."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_WAITING = "protocol/agent_messaging/waiting.py"
_WAKEUPS = "db/agent_messaging_db/wakeups.py"
_CARRIER = "db/agent_messaging_db/carrier.py"
_R5 = "tests/races/test_wake_ups.py::test_no_wake_up_is_lost_on_a_quiet_system_that_never_sweeps"
_R3 = (
    "tests/races/test_cancellation.py::"
    "test_a_call_that_is_cancelled_at_any_point_loses_nothing_and_leaves_nothing_stuck"
)
_R2 = "tests/races/test_retries.py::test_ten_calls_at_once_with_one_key_are_one_call"
_CUT = "tests/races/test_retries.py::test_what_is_called_as_its_connection_is_cut_around_the_commit_happens_once"
_OUT = "tests/races/test_outage_races.py"
_GONE = f"{_OUT}::test_what_was_taken_with_a_connection_that_was_cut_for_a_caller_that_has_gone_is_still_there"
_RACES = "tests/races/test_races.py"
_CLOSING = "tests/races/test_closing.py"

MUTANTS = (
    Mutant(
        name="subscribed-before-the-sleep",
        promise="R5",
        sentence="A wait subscribes as it goes to sleep, and not before it looks.",
        file=_WAITING,
        old="""\
        watch = watch or self.watch(topics)
""",
        new="""\
        if watch is not None:
            watch.stop()

        class Late(Watch):
            def sleep(self, seconds: float) -> asyncio.Future[None] | None:
                _enter(self._registry, self._topics, self)
                return super().sleep(seconds)

        watch = Late(self._watches, self._alarms, topics)
        watch.stop()
""",
        caught_by=(f"{_R5}[between_the_look_and_the_sleep]",),
    ),
    Mutant(
        name="looked-before-listening",
        promise="R5",
        sentence="After a reconnect everybody looks before LISTEN is in force, and not after it.",
        file=_WAKEUPS,
        old="""\
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.LISTENER_CONNECTED)
            async with asyncio.timeout(SILENCE):
                await connection.add_listener(CHANNEL, self._receive)
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.LISTENER_LISTENS)
            self._listening.set()
            self.counts.connections += 1
            self._on_their_way.clear()
            self._reset()
""",
        new="""\
            self._reset()
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.LISTENER_CONNECTED)
            async with asyncio.timeout(SILENCE):
                await connection.add_listener(CHANNEL, self._receive)
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.LISTENER_LISTENS)
            self._listening.set()
            self.counts.connections += 1
            self._on_their_way.clear()
""",
        caught_by=(f"{_R5}[while_the_listener_is_away]",),
    ),
    Mutant(
        name="published-while-sending-is-dropped",
        promise="R5",
        sentence="What is published while other wake-ups are on their way is forgotten until the next ones.",
        file=_CARRIER,
        old="                self.counts.published += len(topics)\n",
        new="                self.counts.published += len(topics)\n                self._kick.clear()\n",
        caught_by=(f"{_R5}[while_others_are_on_their_way]",),
    ),
    Mutant(
        name="beaten-and-asleep",
        promise="R5",
        sentence="A wait that was beaten to a message sleeps on, deaf to what came while it tried.",
        file=_WAITING,
        old="                        pause = BEATEN_PAUSE\n",
        new="                        watch.forget()\n                        pause = math.inf\n",
        caught_by=(f"{_RACES}::test_of_two_waits_that_have_seen_one_message_one_gets_it_and_the_other_waits_on",),
    ),
    Mutant(
        name="given-before-the-commit",
        promise="R3",
        sentence="A read that is cancelled during its commit does not give back what it took.",
        file="protocol/agent_messaging/reading.py",
        old="""\
            task.add_done_callback(lambda done: self._give_back(agent, done))
            raise
""",
        new="            task.cancel()\n            raise\n",
        caught_by=(f"{_R3}[Taking]", f"{_R3}[WaitingForOne]"),
    ),
    Mutant(
        name="a-cancelled-question-is-still-awaited",
        promise="R3",
        sentence="The answer to a question whose asker was cancelled as it was stored is kept for a wait.",
        file="protocol/agent_messaging/outbox.py",
        old="        self.send = coalescer(self._send, apart=_key_of, undo=self._unawait)\n",
        new="        self.send = coalescer(self._send, apart=_key_of)\n",
        caught_by=(f"{_R3}[Asking]",),
    ),
    Mutant(
        name="a-cut-batch-is-nobody-s",
        promise="R3",
        sentence="A caller that is cancelled cancels the whole batch in which its row went out.",
        file="protocol/agent_messaging/coalescing.py",
        old=("            return await future\n        except asyncio.CancelledError:\n"),
        new=(
            "            return await future\n"
            "        except asyncio.CancelledError:\n"
            "            if self._runner is not None and future.cancelled():\n"
            "                self._runner.cancel()\n"
        ),
        caught_by=(f"{_R3}[Attaching]",),
    ),
    Mutant(
        name="ended-and-not-told",
        promise="R5",
        sentence="Whoever waits in a conversation whose end was committed unheard is not told.",
        file="protocol/agent_messaging/sync_conversation.py",
        old="""\
            settled.update(await conversations.open_questions(connection, one=requester.id, other=other.id))
""",
        new="",
        caught_by=(f"{_OUT}::test_whoever_waits_in_a_conversation_that_was_ended_unheard_is_told_without_a_sweep",),
    ),
    Mutant(
        name="claimed-and-not-begun",
        promise="R3",
        sentence="What a resume has claimed before it was cancelled is handled by nobody.",
        file="protocol/agent_messaging/handlers.py",
        old="""\
        finally:
            # Also what was claimed before the call was cut short: nobody else would begin it.
            self._begin(desk)
""",
        new="""\
        except DatabaseUnavailable:
            self._begin(desk)
            raise
        self._begin(desk)
""",
        caught_by=(f"{_CLOSING}::test_what_a_cancelled_resume_has_claimed_is_handled_all_the_same",),
    ),
    Mutant(
        name="claims-of-a-cancelled-call-are-kept",
        promise="R3",
        sentence="Deliveries whose claim was cut short stay claimed by a process that does not know of them.",
        file="protocol/agent_messaging/handlers.py",
        old="""\
            claimed = await engine.database.run(claim)
        except BaseException:
            self._doubtful = True
""",
        new="            claimed = await engine.database.run(claim)\n        except BaseException:\n",
        caught_by=(f"{_R3}[Resuming]",),
    ),
    Mutant(
        name="a-close-cut-short",
        promise="R3",
        sentence="A close that is cancelled leaves the process half open, its lease renewed for ever.",
        file="protocol/agent_messaging/messaging.py",
        old="""\
            self._closing = asyncio.create_task(self._close(), name="agent-messaging close")
        await asyncio.shield(self._closing)
""",
        new="""\
            self._closing = asyncio.create_task(self._close(), name="agent-messaging close")
        await self._closing
""",
        caught_by=(f"{_CLOSING}::test_a_close_that_was_cancelled_can_be_done_again_and_leaves_nothing_behind",),
    ),
    Mutant(
        name="asked-unheard-and-awaited",
        promise="R3",
        sentence="The answer to a question whose sending stayed unknown is kept for a wait that never comes.",
        file="protocol/agent_messaging/asking.py",
        old=(
            "            if isinstance(error, DatabaseUnavailable):\n"
            "                # It may be stored all the same, and nobody will wait: the answer is the inbox's.\n"
            "                engine.outbox.release.soon(row.id)\n"
        ),
        new="",
        caught_by=(f"{_OUT}::test_the_answer_to_a_question_that_was_asked_unheard_in_an_outage_is_in_the_inbox",),
    ),
    Mutant(
        name="given-back-for-a-minute",
        promise="R3",
        sentence="What a cancelled read took is not given back if the database is away for longer than a minute.",
        file="protocol/agent_messaging/outbox.py",
        old="        await self._database.run(unmark, patience=math.inf)\n",
        new="        await self._database.run(unmark, patience=60)\n",
        caught_by=(f"{_OUT}::test_what_a_cancelled_read_has_taken_is_given_back_however_long_the_outage_lasts",),
    ),
    Mutant(
        name="a-key-that-is-looked-up-once",
        promise="R2",
        sentence="A speech that is repeated as its first call commits is refused as out of turn.",
        file="protocol/agent_messaging/meetings.py",
        old="""\
        if await self._answers.first_use(key) is not None or await self._was_said(meeting_id, agent, turn, words):
""",
        new="        if await self._was_said(meeting_id, agent, turn, words):\n",
        caught_by=(
            f"{_RACES}::test_words_that_are_repeated_as_the_first_call_commits_are_said_once_whatever_turn_it_is",
        ),
    ),
    Mutant(
        name="an-answer-s-key-is-looked-up-once",
        promise="R2",
        sentence="An answer that is repeated as its first call commits is refused: nobody waits any more.",
        file="protocol/agent_messaging/answering.py",
        old="            if (first := await self.first_use(key)) is None:\n                raise\n",
        new="            raise\n",
        caught_by=(f"{_RACES}::test_an_answer_that_is_repeated_as_the_first_call_commits_is_the_first_one",),
    ),
    Mutant(
        name="sent-again-after-a-cut",
        promise="R2",
        sentence="A batch whose reply was lost is sent again as if it were new, under new ids.",
        file="protocol/agent_messaging/outbox.py",
        old="connection, batch=batch, again=again, process",
        new="connection, batch=batch, again=False, process",
        caught_by=(f"{_CUT}[after]",),
    ),
    Mutant(
        name="keys-apart-from-what-they-guard",
        promise="R2",
        sentence="A key is not noted with a question, so each retry asks again.",
        file="protocol/agent_messaging/asking.py",
        old="""\
                question = (await stored(engine, Sending((row,), key)))[0]
            except InvalidSessionStateError:
""",
        new="""\
                question = (await stored(engine, Sending((row,), None)))[0]
            except InvalidSessionStateError:
""",
        caught_by=(f"{_R2}[Question]",),
    ),
    Mutant(
        name="two-answers",
        promise="R2",
        sentence="A question that is answered takes another answer.",
        file="db/agent_messaging_db/migrations/0003_settling.sql",
        old="                WHEN p_state = 'expired' AND p_kind = 'answer' THEN 'late'\n",
        new="                WHEN p_state IN ('expired', 'answered') AND p_kind = 'answer' THEN 'late'\n",
        caught_by=(f"{_RACES}::test_of_two_answers_that_have_found_one_question_one_is_stored_and_the_other_told",),
    ),
    Mutant(
        name="decided-and-saved-whatever-happened",
        promise="R4",
        sentence="A transition is saved although the meeting has moved on since it was read.",
        file="db/agent_messaging_db/sql/meetings.sql",
        old="    WHERE id = $1 AND version = $2 AND (NOT $3",
        new="    WHERE id = $1 AND ($2::bigint IS NOT NULL) AND (NOT $3",
        caught_by=(f"{_RACES}::test_a_meeting_that_ends_while_words_are_composed_hears_none_of_them",),
    ),
)
