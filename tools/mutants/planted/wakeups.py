"""Bugs of waiting and of wake-ups between processes: R5 and R6."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_WAITING = "protocol/agent_messaging/waiting.py"
_WAKEUPS = "db/agent_messaging_db/wakeups.py"
_CARRIER = "db/agent_messaging_db/carrier.py"
_POOL = "db/agent_messaging_db/pool.py"
_FROZEN = "db/agent_messaging_db/frozen.py"

_TESTED_AGAIN = (
    "tests/db/test_wakeups.py::"
    "test_a_connection_whose_first_test_came_to_nothing_is_tested_again_before_anybody_is_told"
)

MUTANTS = (
    Mutant(
        name="a-frozen-pool-goes-unnoticed",
        promise="R6",
        sentence="Where only connections of the pool froze, a call lasts until the driver gives up, twice perhaps.",
        file=_POOL,
        old="            if lost := await frozen.lost(under_way,",
        new="            if lost := await frozen.lost((),",
        caught_by=(
            "tests/db/test_frozen_pool.py::"
            "test_where_only_the_pool_froze_what_hangs_is_made_again_once_on_a_new_connection",
        ),
    ),
    Mutant(
        name="frozen-ones-that-are-idle-are-kept",
        promise="R6",
        sentence="A call hangs on one frozen connection of the pool after the other.",
        file=_POOL,
        old="                await pool.expire_connections()  # the idle ones have",
        new="                pass  # the idle ones have",
        caught_by=(
            "tests/db/test_frozen_pool.py::"
            "test_where_only_the_pool_froze_what_hangs_is_made_again_once_on_a_new_connection",
        ),
    ),
    Mutant(
        name="a-connection-that-froze-as-it-was-opened-is-waited-for",
        promise="R6",
        sentence="Who needs a new connection just as the way freezes waits for as long as connecting may take.",
        file=_FROZEN,
        old="        found = [exchange for exchange in asked if exchange.backend in resting | {CONNECTING}]\n",
        new="        found = [exchange for exchange in asked if exchange.backend in resting]\n",
        caught_by=("tests/db/test_frozen_pool.py::test_a_connection_that_froze_as_it_was_opened_is_opened_again",),
    ),
    Mutant(
        name="whatever-takes-long-is-taken-for-frozen",
        promise="R6",
        sentence="A statement that has to wait for another one is ended, and made again, for ever.",
        file=_FROZEN,
        old="        OR (activity.state LIKE 'idle%' OR activity.wait_event = 'ClientRead')\n        AND activity",
        new="        OR activity",
        caught_by=(
            "tests/db/test_frozen_pool.py::"
            "test_a_statement_that_the_server_works_on_is_left_alone_and_a_reply_that_froze_is_not_waited_for",
        ),
    ),
    Mutant(
        name="a-statement-that-froze-half-prepared-is-taken-for-work",
        promise="R6",
        sentence="Where the way froze before the second half of a statement, the server waits for us, and we for it.",
        file=_FROZEN,
        old="        OR (activity.state LIKE 'idle%' OR activity.wait_event = 'ClientRead')\n",
        new="        OR activity.state LIKE 'idle%'\n",
        caught_by=(
            "tests/db/test_frozen_pool.py::"
            "test_a_statement_that_the_server_works_on_is_left_alone_and_a_reply_that_froze_is_not_waited_for",
        ),
    ),
    Mutant(
        name="an-answer-that-was-not-read-yet-is-taken-for-lost",
        promise="R6",
        sentence="What was answered while a handler kept the event loop is made again.",
        file=_FROZEN,
        old="    return [exchange for exchange in found if exchange.since == asked[exchange]]\n",
        new="    return found\n",
        caught_by=(
            "tests/db/test_frozen_pool.py::test_what_was_answered_while_the_server_was_asked_is_not_taken_for_lost",
        ),
    ),
    Mutant(
        name="wake-up-forgotten-after-the-look",
        promise="R5",
        sentence="What wakes a wait while it looks is forgotten, and it sleeps although the answer is there.",
        file=_WAITING,
        old="""\
                if (sleep := watch.sleep(min(window.remaining, pause))) is not None:
""",
        new="""\
                watch.forget()
                if (sleep := watch.sleep(min(window.remaining, pause))) is not None:
""",
        caught_by=(
            "tests/protocol/test_waiting.py::test_what_happens_while_a_wait_looks_is_seen_although_it_found_nothing",
        ),
    ),
    Mutant(
        name="subscribe-after-the-look",
        promise="R5",
        sentence="A wait looks before it subscribes: what is sent in between wakes nobody.",
        file=_WAITING,
        old="""\
        watch = watch or self.watch(topics)
""",
        new="""\
        watch, look_first = watch or self.watch(topics), look
        watch.stop()

        async def look() -> Found | None:
            found = await look_first()
            _enter(watch._registry, watch._topics, watch)
            return found

""",
        caught_by=(
            "tests/protocol/test_waiting.py::test_what_happens_while_a_wait_looks_is_seen_although_it_found_nothing",
        ),
    ),
    Mutant(
        name="no-look-after-a-reconnect",
        promise="R5",
        sentence="Whose wake-up was lost while the listener was away waits until the sweep finds it.",
        file=_WAKEUPS,
        old="            self._reset()\n            if self.counts.connections > 1:\n",
        new="            if self.counts.connections > 1:\n",
        caught_by=(
            "tests/db/test_wakeups.py::test_a_connection_that_the_server_ends_is_replaced_and_everybody_looks_again",
            "tests/protocol/test_waiting.py::"
            "test_a_message_whose_wake_up_was_lost_while_the_listener_was_away_is_found_when_it_is_back",
        ),
    ),
    Mutant(
        name="wake-before-commit",
        promise="R5",
        sentence="Whoever waits for a message is woken before the message is there, finds nothing and sleeps on.",
        file="protocol/agent_messaging/outbox.py",
        old="""\
        try:
            verdicts = await self._database.run(send)
        finally:
            if takers is not None and places:
                taken = _handed(takers, batch, verdicts, places)
                for message, place in places.items():
                    takers.cancel(place, message, doubtful=doubtful)
            # Also when the outcome is unknown: waking for nothing is cheap.
            self._waiting.wake(
                {agent_topic(row.recipient_id) for sending in batch for row in sending.messages if row.id not in taken}
            )
""",
        new="""\
        self._waiting.wake({agent_topic(row.recipient_id) for sending in batch for row in sending.messages})
        try:
            verdicts = await self._database.run(send)
        finally:
            if takers is not None and places:
                taken = _handed(takers, batch, verdicts, places)
                for message, place in places.items():
                    takers.cancel(place, message, doubtful=doubtful)
""",
        caught_by=("tests/protocol/test_woken_in_time.py::test_nobody_is_woken_before_what_wakes_him_is_committed",),
    ),
    Mutant(
        name="wake-ups-stay-at-home",
        promise="R5",
        sentence="A wake-up is told to the waits of its own process and never sent to the others.",
        file=_WAITING,
        old="        self._wakeups.publish(topics)\n",
        new="",
        caught_by=(
            "tests/protocol/test_waiting.py::test_a_message_sent_elsewhere_between_the_look_and_the_sleep_is_found",
        ),
    ),
    Mutant(
        name="meetings-wake-nobody",
        promise="R5",
        sentence="A meeting moves on and nobody who waits in it is woken.",
        file="protocol/agent_messaging/meeting_store.py",
        old="            if touched:\n                self._engine.waiting.wake(touched)\n",
        new="            pass\n",
        caught_by=("tests/protocol/test_woken_in_time.py::test_a_turn_is_told_in_every_process_though_nobody_sweeps",),
    ),
    Mutant(
        name="wake-ups-dropped-in-an-outage",
        promise="R5",
        sentence="What was to be told while the database was away is forgotten when it is back.",
        file=_CARRIER,
        old="                self._pending |= topics\n",
        new="",
        caught_by=(
            "tests/db/test_wakeups.py::"
            "test_publishing_without_a_database_raises_nothing_and_is_carried_when_it_is_back",
        ),
    ),
    Mutant(
        name="wake-ups-dropped-at-the-end",
        promise="R5",
        sentence="A process that closes does not send the wake-ups of its last messages any more.",
        file=_CARRIER,
        old="                await self._sent.wait()\n",
        new="                pass\n",
        caught_by=("tests/db/test_wakeups.py::test_what_was_published_before_closing_is_still_carried",),
    ),
    Mutant(
        name="too-long-a-wake-up",
        promise="R5",
        sentence="Many topics at once make a payload that PostgreSQL refuses, and nobody is woken.",
        file=_CARRIER,
        old="MAX_PAYLOAD = 7_900  #",
        new="MAX_PAYLOAD = 79_000  #",
        caught_by=(
            "tests/db/test_wakeups.py::"
            "test_what_is_published_together_travels_together_in_payloads_that_postgresql_takes",
        ),
    ),
    Mutant(
        name="half-open-connection-trusted",
        promise="R6",
        sentence="A listening connection that is frozen but not closed is believed in for ever.",
        file=_WAKEUPS,
        old="            await self._until_lost(lost, lambda: self._look_for_others(connection))\n",
        new="            await self._until_lost(lost, lambda: asyncio.sleep(0))\n",
        caught_by=(
            "tests/db/test_wakeups.py::test_a_frozen_connection_is_noticed_and_replaced_and_everybody_looks_again",
        ),
    ),
    Mutant(
        name="lost-listener-stays-lost",
        promise="R6",
        sentence="When the server ends the listening connection, nobody connects again.",
        file=_CARRIER,
        old='                self._tell(level, "listening for wake-ups stopped (%s); connecting again", '
        "type(error).__name__)\n",
        new="                raise\n",
        caught_by=(
            "tests/db/test_wakeups.py::test_a_connection_that_the_server_ends_is_replaced_and_everybody_looks_again",
        ),
    ),
    Mutant(
        name="the-loss-is-told-before-it-is-made-good",
        promise="R6",
        sentence="A process that has lost its listener imports what formats its first line before it connects again.",
        file=_CARRIER,
        old="        asyncio.get_running_loop().call_later(TOLD_AFTER, logger.log, level, *words)\n",
        new="        logger.log(level, *words)\n",
        caught_by=(
            "tests/db/test_wakeups.py::test_that_a_connection_was_lost_is_told_after_it_is_made_good[postgres-late]",
        ),
    ),
    Mutant(
        name="a-wait-dies-with-the-database",
        promise="R6",
        sentence="An outage of a second ends every wait with an error, however much of its window is left.",
        file=_WAITING,
        old="""\
                except DatabaseUnavailable:
                    if last:
                        raise
""",
        new="""\
                except DatabaseUnavailable:
                    if window:
                        raise
""",
        caught_by=(
            "tests/protocol/test_waiting.py::test_an_unreachable_database_is_waited_out_and_told_only_when_the_window_ends",
        ),
    ),
    Mutant(
        name="no-second-try",
        promise="R6",
        sentence="A call whose connection ends gives up at once, although the database is back in a moment.",
        file="db/agent_messaging_db/pool.py",
        old="                if loop.time() + pause > give_up_at:\n",
        new="                if give_up_at:\n",
        caught_by=(
            "tests/protocol/test_outages.py::test_every_call_succeeds_over_an_outage_that_is_shorter_than_the_patience",
        ),
    ),
    Mutant(
        name="nobody-sweeps-for-the-deaf",
        promise="R6",
        sentence="Where wake-ups do not arrive, as behind a pooler, a wait finds nothing until its window ends.",
        file="protocol/agent_messaging/sweep.py",
        old="        await self._look_again()\n",
        new="",
        caught_by=("tests/protocol/test_pooler.py::test_where_listen_is_swallowed_waits_are_slower_and_still_right",),
    ),
    Mutant(
        name="events-not-swept-for",
        promise="R6",
        sentence="A meeting event whose wake-up was lost is told to no event handler, ever.",
        file="protocol/agent_messaging/meeting_events.py",
        old="        self._follow([meeting for meeting, seq in changed.items() "
        "if seq > self._followed.get(meeting, 0)])\n",
        new="",
        caught_by=("tests/protocol/test_meeting_events.py::test_an_event_whose_wake_up_was_lost_is_told_by_the_sweep",),
    ),
    Mutant(
        name="frozen-bus-trusted",
        promise="R6",
        sentence="A connection to the NATS server that is frozen but not closed is believed in for ever.",
        file="db/agent_messaging_db/nats_wakeups.py",
        old="            await self._until_lost(lost, lambda: self._to_its_end(client.flush(_NEVER)))\n",
        new="            await self._until_lost(lost, lambda: asyncio.sleep(0))\n",
        caught_by=(
            "tests/db/test_wakeups.py::test_a_frozen_connection_is_noticed_and_replaced_and_everybody_looks_again",
        ),
    ),
    Mutant(
        name="no-look-after-the-bus-came-back",
        promise="R5",
        sentence="Whose wake-up was lost while the NATS server was away waits until the sweep finds it.",
        file="db/agent_messaging_db/nats_wakeups.py",
        old="            self._reset()\n            await self._test()\n",
        new="            await self._test()\n",
        caught_by=(
            "tests/db/test_wakeups.py::test_a_connection_that_the_server_ends_is_replaced_and_everybody_looks_again",
        ),
    ),
    Mutant(
        name="deaf-after-one-test",
        promise="R6",
        sentence="A process whose machine was busy as it connected takes itself for deaf for ever, and gets no work.",
        file=_CARRIER,
        old="            if not lost.is_set() and not self.hears:\n                await self._test()\n",
        new="",
        caught_by=(f"{_TESTED_AGAIN}[postgres]",),
    ),
    Mutant(
        name="a-bus-that-answers-too-late",
        promise="R6",
        sentence="One answer of the NATS server that comes after its call was given up, and nothing is heard any more.",
        file="db/agent_messaging_db/nats_wakeups.py",
        old="        done, _ = await asyncio.wait({calling}, timeout=SILENCE)\n        if not done:\n"
        "            raise TimeoutError\n",
        new="        async with asyncio.timeout(SILENCE):\n            await calling\n",
        caught_by=(f"{_TESTED_AGAIN}[nats]",),
    ),
    Mutant(
        name="kept-from-the-newcomer",
        promise="R5",
        sentence="What a process told nobody, being alone, is not told to the one that came at that moment.",
        file=_WAKEUPS,
        old="        withheld = self._withheld | self._withheld_before\n",
        new="        withheld = set[str]()\n",
        caught_by=("tests/db/test_wakeups.py::test_a_process_that_is_alone_tells_nobody_until_another_one_comes",),
    ),
)
