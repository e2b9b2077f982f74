"""What the sweep clears away, and what it must never take along."""

from __future__ import annotations

from typing import Any

import pytest

from agent_messaging import AgentMessaging, IdempotencyConflictError
from agent_messaging_db import upkeep
from tests.conftest import connect, execute
from tests.protocol.world import SWEEP_OFF, opened

AGED = (
    "UPDATE messages SET created_at = created_at - interval '400 days'",
    "UPDATE idempotency_keys SET created_at = created_at - interval '{hours} hours'",
    "UPDATE inbox_cursors SET created_at = created_at - interval '{days} days'",
)


async def forget(dsn: str, *, hours: int, days: int) -> None:
    """Clear away, after so many hours for keys and days for cursors, and more than a year for messages."""
    await execute(dsn, *(statement.format(hours=hours, days=days) for statement in AGED))
    async with connect(dsn) as connection:
        await upkeep.forget(connection)


async def rows(dsn: str, table: str) -> int:
    async with connect(dsn) as connection:
        return await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608


@pytest.mark.requirement("inbox:kept")
async def test_what_nobody_has_read_is_never_forgotten(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        for number in range(3):
            await sdk.async_conversation.send("alice", "bob", number)
        await forget(dsn, hours=25, days=8)
        assert await sdk.async_conversation.get_unread_messages("bob") == [0, 1, 2]
        history = await sdk.async_conversation.get_conversation("alice", "bob")
        assert [message.content for message in history] == [0, 1, 2]


@pytest.mark.requirement("idempotency:24h")
async def test_keys_are_cleared_away_after_a_day_and_cursors_after_a_week_and_not_before(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        first = await _send(sdk, "hello")
        cursor = await sdk.inbox.cursor("bob", (await sdk.inbox.page("bob")).items)
        await forget(dsn, hours=23, days=6)
        assert await _send(sdk, "hello") == first
        with pytest.raises(IdempotencyConflictError):
            await _send(sdk, "something else")
        assert await sdk.inbox.acknowledge("bob", cursor) == 1

        await forget(dsn, hours=2, days=2)
        assert (await rows(dsn, "idempotency_keys"), await rows(dsn, "inbox_cursors")) == (0, 0)
        assert await _send(sdk, "something else") != first


async def _send(sdk: AgentMessaging[Any], text: str) -> object:
    return await sdk.async_conversation.send("alice", "bob", text, idempotency_key="k")
