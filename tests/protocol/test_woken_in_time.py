"""When waits are woken: after the commit and not before it, without the sweep, and by the sweep alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from agent_messaging import AgentMessaging, HandlerFailedError, MessageContext
from agent_messaging_db import sync_points
from agent_messaging_db.sync_points import SyncPoint
from tests.protocol import gathering
from tests.protocol.gathering import Word, attends, comes_now, started
from tests.protocol.world import SWEEP_OFF, asked, eventually, opened, within
from tests.races.stops import acting, stopping


async def somebody_waits(sdk: AgentMessaging[Any], number: int = 1) -> None:
    async def waits() -> bool:
        return sdk.measures.snapshot().waits_open >= number

    await eventually(waits)


@pytest.mark.requirement("waiting:after-commit")
async def test_nobody_is_woken_before_what_wakes_him_is_committed(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    async def passed(point: SyncPoint) -> None:
        if point is SyncPoint.TRY_DONE:
            happened.append("committed")

    def woken(_: Iterable[str]) -> None:
        happened.append("woken")

    async with (
        opened(dsn, "alice", "bob", "carol", sweep_interval=SWEEP_OFF) as sdk,
        asked(sdk, "?") as (waiting, question),
    ):
        for agent in ("bob", "carol"):
            await sdk.async_conversation.get_unread_messages(agent)
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"])
        sdk._engine.waiting.tap(woken)  # type: ignore[attr-defined]
        monkeypatch.setattr(sync_points, "hook", passed)
        calls = {
            "answer": lambda: sdk.sync_conversation.reply("bob", "alice", "yes", question_id=question),
            "send": lambda: sdk.async_conversation.send("alice", "bob", "hello"),
            "notify": lambda: sdk.one_way.send("alice", ["bob", "carol"], "hello"),
            "end": lambda: sdk.sync_conversation.end_conversation("alice", "bob"),
            "meet": lambda: sdk.meeting.create_meeting("bob", ["carol"]),
            "leave": lambda: sdk.meeting.leave_meeting("bob", meeting),
            "cancel": lambda: sdk.meeting.end_meeting("alice", meeting),
        }
        for name, call in calls.items():
            happened.clear()
            await call()
            assert "woken" in happened, name
            if name == "answer":  # whoever waits for it goes on at once
                assert happened.index("woken") > 0, (name, happened)
                assert await within(waiting) == "yes"
            else:
                assert "committed" in happened[: happened.index("woken")], (name, happened)
                assert "committed" not in happened[happened.index("woken") :], (name, happened)


@pytest.mark.requirement("waiting:at-once")
async def test_a_turn_is_told_in_every_process_though_nobody_sweeps(dsn: str) -> None:
    options = {"sweep_interval": SWEEP_OFF}
    async with gathering.opened(dsn, "alice", "bob", **options) as one, gathering.opened(dsn, **options) as other:
        meeting = await one.meeting.create_meeting("alice", ["bob"])
        await attends(one, meeting, "alice")
        here = asyncio.create_task(one.meeting.attend_meeting("bob", meeting))
        there = asyncio.create_task(other.meeting.attend_meeting("bob", meeting))
        await somebody_waits(one)
        await somebody_waits(other)
        await one.meeting.start_meeting("alice", meeting, Word(text="welcome"))
        for waiting in (here, there):
            assert (await within(waiting)).turn == 2


@pytest.mark.requirement("meeting:clock:offer")
async def test_who_waits_for_a_turn_is_told_when_one_runs_out_though_nobody_calls(dsn: str) -> None:
    async with gathering.opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        waiting = asyncio.create_task(sdk.meeting.attend_meeting("carol", meeting))
        await somebody_waits(sdk)
        await comes_now(dsn, meeting, "floor_deadline")
        signal = await within(waiting, 30)
        assert (signal.reason, signal.turn, signal.system[-1]) == ("your_turn", 3, "bob let turn 2 go by")


@pytest.mark.requirement("meeting:clock:offer")
async def test_who_waits_is_told_when_a_meeting_runs_out_though_nobody_calls(dsn: str) -> None:
    async with gathering.opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        waiting = asyncio.create_task(sdk.meeting.attend_meeting("carol", meeting))
        await somebody_waits(sdk)
        await comes_now(dsn, meeting, "deadline")
        signal = await within(waiting, 30)
        assert (signal.reason, signal.ended.reason) == ("meeting_ended", "deadline")


@pytest.mark.requirement("handler:dead-letter")
async def test_who_asked_is_told_that_the_handler_failed_long_before_the_window_ends(dsn: str) -> None:
    gate = asyncio.Event()
    with stopping() as stops:
        async with opened(dsn, "alice", "bob", max_delivery_attempts=1, sweep_interval=SWEEP_OFF) as sdk:

            @sdk.register_handler("bob")
            async def handle(_: Any, __: MessageContext) -> None:
                await gate.wait()
                raise RuntimeError("broken")

            async def asleep() -> bool:
                return stops.passed_by("asker")[SyncPoint.WAIT_SLEEPS] > 0

            asking = acting("asker", sdk.sync_conversation.send_and_wait("alice", "bob", "?", 3600))
            await eventually(asleep)
            gate.set()
            with pytest.raises(HandlerFailedError):
                await within(asking, 30)
