"""What is acknowledged is stored: no call says that it sent what it could not send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from agent_messaging import DatabaseUnavailableError
from agent_messaging_db import conversations, sync_points
from agent_messaging_db.conversations import Sending, Verdict
from agent_messaging_db.pool import Connection
from agent_messaging_db.sync_points import SyncPoint
from tests.protocol.test_outages import Operator, operator
from tests.protocol.world import SWEEP_OFF, opened

__all__ = ["operator"]  # a fixture


@pytest.mark.requirement("outage:unavailable")
async def test_nothing_is_acknowledged_while_the_database_is_away_though_everything_else_is_known(
    dsn: str, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_messaging.room.FRESH", 3600.0)  # so that a call asks for nothing before it writes
    async with opened(dsn, "alice", "bob", database_patience=0.2, sweep_interval=SWEEP_OFF) as sdk:
        conversation = sdk.async_conversation
        await conversation.send("alice", "bob", "before")
        (message,) = await conversation.get_unread("bob")
        calls: dict[str, Any] = {
            "send": lambda: conversation.send("alice", "bob", "lost"),
            "keyed": lambda: conversation.send("alice", "bob", "lost", idempotency_key="k"),
            "ask": lambda: sdk.sync_conversation.send_and_wait("alice", "bob", "lost", 0, reply_by=60),
            "mark": lambda: conversation.mark_read("bob", [message.id]),
        }
        async with operator.outage():
            for name, call in calls.items():
                with pytest.raises(DatabaseUnavailableError):
                    pytest.fail(f"{name} gave {await call()!r}")
        assert await conversation.get_unread_messages("bob") == ["before"]


@pytest.mark.requirement("outage:sends")
async def test_a_send_whose_outcome_was_lost_is_stored_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bool] = []
    send = conversations.send_messages

    async def sending(
        connection: Connection, *, batch: Sequence[Sending], again: bool, **options: Any
    ) -> list[Verdict]:
        verdicts = await send(connection, batch=batch, again=again, **options)
        sent.append(again)
        return verdicts

    async def lose(point: SyncPoint) -> None:
        if point is SyncPoint.TRY_DONE and sent == [False]:
            raise ConnectionResetError

    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        monkeypatch.setattr(conversations, "send_messages", sending)
        monkeypatch.setattr(sync_points, "hook", lose)
        await sdk.async_conversation.send("alice", "bob", "once")
        assert sent == [False, True]
        assert await sdk.async_conversation.get_unread_messages("bob") == ["once"]
