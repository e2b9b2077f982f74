"""Bugs that only show when two things happen in one order: what the forced interleavings of tests/races are for."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_WAKE_UPS = "tests/races/test_wake_ups.py::test_no_wake_up_is_lost_on_a_quiet_system_that_never_sweeps"

MUTANTS = (
    Mutant(
        name="looked-again-before-listening",
        promise="R5",
        sentence="After a reconnect everybody looks again before LISTEN is in force, and is deaf in between.",
        file="db/agent_messaging_db/wakeups.py",
        old="""\
            connection.add_termination_listener(lambda _: lost.set())
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
            connection.add_termination_listener(lambda _: lost.set())
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
        caught_by=(f"{_WAKE_UPS}[while_the_listener_is_away]",),
    ),
    Mutant(
        name="a-speech-after-its-time",
        promise="R4",
        sentence="A speech that was decided in time is saved after its turn has run out.",
        file="db/agent_messaging_db/sql/meetings.sql",
        old="(NOT $3 OR next_due IS NULL OR next_due > clock_timestamp())",
        new="(NOT $3 OR next_due IS NULL OR next_due > '-infinity')",
        caught_by=(
            "tests/protocol/test_saved_in_time.py::test_a_speech_that_is_saved_after_its_turn_ran_out_is_not_recorded",
        ),
    ),
)
