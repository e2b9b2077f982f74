"""Two misfortunes at once: a commit whose reply is lost, and a caller that has gone or gives up meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent_messaging import ConversationEndedError, DatabaseUnavailableError, NotMeetingHostError
from agent_messaging_db import meetings, pool, sync_points
from agent_messaging_db.sync_points import SyncPoint
from chaos.proxy import Proxy, proxied
from chaos.proxy_link import Fault
from tests.model.processes import LocalProcess
from tests.promises import kept
from tests.protocol import gathering
from tests.protocol.gathering import attends
from tests.protocol.world import SWEEP_OFF, open_questions
from tests.races.operations import Acknowledging, Operation, Taking, WaitingForOne, attempt
from tests.races.stops import BOUND, PATIENCE, Stops, acting, soon, stopping
from tests.races.waits import quiet

TAKES = r"FOR UPDATE OF d SKIP LOCKED\s*\), marked"
MARKS_READ = r"AS n \(message_id, recipient_id\)"
MARKS_TAKEN = r"d\.message_id = ANY \(\$1::uuid\[\]\) AND d\.read_at IS NULL"


class Cut:
    """Cancels a call after its connection was cut around a commit."""

    def __init__(self, proxy: Proxy, stops: Stops) -> None:
        self._stops = [
            stops.at(point, actor="caller", when=self.has_happened)
            for point in (SyncPoint.TRY_BEGUN, SyncPoint.TRY_DONE)
        ]
        self._proxy = proxy
        self._before = self._count()

    def has_happened(self) -> bool:
        return self._count() > self._before

    def _count(self) -> int:
        return self._proxy.fired[Fault.CUT_BEFORE] + self._proxy.fired[Fault.CUT_AFTER]

    async def __call__(self, call: asyncio.Task[Any]) -> None:
        reached = [asyncio.create_task(stop.reached()) for stop in self._stops]
        await asyncio.wait([*reached, call], return_when=asyncio.FIRST_COMPLETED)
        call.cancel()
        for stop, waiting in zip(self._stops, reached, strict=True):
            waiting.cancel()
            stop.go()
        await asyncio.gather(*reached, return_exceptions=True)


@pytest.mark.requirement("inbox:cancelled-read", "question:cancelled", "async:cancelled-wait")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "commits"),
    [(Taking, TAKES), (WaitingForOne, TAKES), (Acknowledging, MARKS_READ)],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_was_taken_with_a_connection_that_was_cut_for_a_caller_that_has_gone_is_still_there(
    dsn: str, kind: type[Operation], commits: str, when: Any
) -> None:
    with stopping() as stops:
        async with (
            proxied(dsn) as proxy,
            quiet(dsn, "alice-0", "bob-0") as there,
            quiet(proxy.dsn, listen_database_url=dsn, max_pool_size=2) as here,
        ):
            operation = kind(here, there, 0)
            await operation.begin()
            proxy.cut_commits(when, matching=commits)
            cut = Cut(proxy, stops)
            assert await attempt(operation, cut, "caller", stops), "nobody was cancelled"
            assert cut.has_happened()
    kept("R3", f"{kind.__name__}: cancelled after its connection was cut {when} the commit", tried=1)


@pytest.mark.requirement("question:cancelled")
async def test_the_answer_to_a_question_that_was_asked_unheard_in_an_outage_is_in_the_inbox(dsn: str) -> None:
    with stopping() as stops:
        async with (
            proxied(dsn) as proxy,
            quiet(dsn, "alice", "bob") as there,
            quiet(proxy.dsn, listen_database_url=dsn, database_patience=0.3) as here,
        ):
            await here.get_agent("bob")
            proxy.cut_commits("after", matching=r"send_messages\(")
            again = stops.at(SyncPoint.TRY_BEGUN, actor="asker", when=lambda: proxy.fired[Fault.CUT_AFTER] > 0)
            asking = acting("asker", here.sync_conversation.send_and_wait("alice", "bob", "?", BOUND))
            await again.reached()
            await proxy.refuse()
            again.go()
            with pytest.raises(DatabaseUnavailableError):
                await asking
            await proxy.accept()
            (question,) = await open_questions(there, "bob")
            await there.sync_conversation.reply("bob", "alice", "answer", question_id=question)

            async def found() -> list[Any]:
                return await there.async_conversation.get_unread_messages("alice")

            assert await soon(found) == ["answer"]
    kept("R3", "a question whose sending stayed unknown", tried=1)


@pytest.mark.requirement("question:taken")
@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_answer_that_a_wait_has_given_is_in_no_inbox_though_acknowledging_it_was_cut(
    dsn: str, when: Any
) -> None:
    async with proxied(dsn) as proxy, quiet(dsn, "alice", "bob") as there:
        async with quiet(proxy.dsn, listen_database_url=dsn) as here:
            asking = asyncio.create_task(here.sync_conversation.send_and_wait("alice", "bob", "?", PATIENCE))
            await soon(lambda: open_questions(there, "bob"))
            proxy.cut_commits(when, times=2, matching=MARKS_TAKEN)
            await there.sync_conversation.reply("bob", "alice", "answer")
            assert await asking == "answer"
            assert await there.async_conversation.get_unread("alice") == []
        assert proxy.fired[Fault.CUT_BEFORE] + proxy.fired[Fault.CUT_AFTER] == 2
        # The process that had the answer is gone, and with it the claim that hid the answer.
        assert await there.async_conversation.get_unread("alice") == []
    kept("R2", f"an answer given, its acknowledgement cut {when} the commit", tried=1)


@pytest.mark.requirement("question:taken-unmarked")
async def test_an_answer_whose_process_was_killed_before_it_was_acknowledged_is_in_the_inbox_again(dsn: str) -> None:
    async with (
        proxied(dsn) as proxy,
        quiet(dsn, "alice", "bob") as there,
        quiet(proxy.dsn, listen_database_url=dsn, handler_lease=1) as here,
    ):
        proxy.cut_commits("before", times=1_000, matching=MARKS_TAKEN)  # if it comes to try at all
        asking = asyncio.create_task(here.sync_conversation.send_and_wait("alice", "bob", "?", PATIENCE))
        await soon(lambda: open_questions(there, "bob"))
        await there.sync_conversation.reply("bob", "alice", "answer")
        assert await asking == "answer"
        await LocalProcess(here).crash()
        items = await soon(lambda: there.async_conversation.get_unread("alice"))
        assert [item.content for item in items] == ["answer"]
        assert await there.async_conversation.get_unread_messages("alice") == ["answer"]
        assert await there.async_conversation.get_unread("alice") == []
    kept("R1", "an answer given by a process that was killed before it could acknowledge it", tried=1)


@pytest.mark.requirement("question:end")
async def test_whoever_waits_in_a_conversation_that_was_ended_unheard_is_told_without_a_sweep(dsn: str) -> None:
    async with (
        proxied(dsn) as proxy,
        quiet(dsn, "alice", "bob") as there,
        quiet(proxy.dsn, listen_database_url=dsn) as here,
    ):
        asking = asyncio.create_task(there.sync_conversation.send_and_wait("alice", "bob", "?", PATIENCE))
        await soon(lambda: open_questions(there, "bob"))
        proxy.cut_commits("after", matching="end_sessions")
        await here.sync_conversation.end_conversation("bob", "alice")
        assert proxy.fired[Fault.CUT_AFTER] == 1
        async with asyncio.timeout(BOUND):
            with pytest.raises(ConversationEndedError):
                await asking
    kept("R5", "the end of a conversation whose reply was lost, sweep off", tried=1)


class Hurried:
    """`asyncio`, on whose clock every look is a hundred seconds after the one before."""

    def __init__(self) -> None:
        self._now = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    def get_running_loop(self) -> Hurried:
        return self

    def time(self) -> float:
        self._now += 100.0
        return self._now


@pytest.mark.requirement("inbox:cancelled-read")
async def test_what_a_cancelled_read_has_taken_is_given_back_however_long_the_outage_lasts(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopping() as stops:
        async with (
            proxied(dsn) as proxy,
            quiet(dsn, "alice", "bob") as there,
            quiet(proxy.dsn, listen_database_url=dsn) as here,
        ):
            await there.async_conversation.send("alice", "bob", "hello")
            stop = stops.at(SyncPoint.TRANSACTION_COMMITTED, actor="reader")
            reading = acting("reader", here.async_conversation.get_unread_messages("bob"))
            await stop.reached()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            monkeypatch.setattr(pool, "asyncio", Hurried())
            refused = proxy.connections
            await proxy.refuse()
            stop.go()

            async def given_back() -> list[Any]:
                return await there.async_conversation.get_unread_messages("bob")

            async with asyncio.timeout(BOUND):
                while not here._engine.database.errors.outage:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
            assert await given_back() == []
            await proxy.accept()
            assert await soon(given_back) == ["hello"]
            assert proxy.connections > refused
    kept("R3", "a cancelled read in an outage that outlasts every patience", tried=1)


@pytest.mark.requirement("meeting:host:again")
async def test_a_hand_over_whose_outcome_was_lost_is_no_refusal(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[SyncPoint] = []

    async def lose(point: SyncPoint) -> None:
        if point is SyncPoint.TRY_DONE and not lost and at_it:
            lost.append(point)
            raise ConnectionResetError

    at_it = False
    async with gathering.opened(dsn, "alice", "bob", "carol", sweep_interval=SWEEP_OFF) as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"])
        await attends(sdk, meeting, "alice", "bob")
        save = meetings.save_meeting

        async def saved(*arguments: Any, **options: Any) -> Any:
            nonlocal at_it
            at_it = True
            return await save(*arguments, **options)

        monkeypatch.setattr(meetings, "save_meeting", saved)
        monkeypatch.setattr(sync_points, "hook", lose)
        await sdk.meeting.hand_over_host("alice", meeting, "bob")
        monkeypatch.undo()
        assert lost
        assert (await sdk.meeting.get_meeting_status(meeting)).host_external_id == "bob"
        with pytest.raises(NotMeetingHostError):
            await sdk.meeting.hand_over_host("alice", meeting, "bob")
