"""Whose an idempotency key is."""

from __future__ import annotations

import pytest

from tests.protocol.world import SWEEP_OFF, opened


@pytest.mark.requirement("idempotency:agent")
async def test_a_key_is_its_agents_own(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", sweep_interval=SWEEP_OFF) as sdk:
        sent = [
            await sdk.async_conversation.send(sender, "carol", "hello", idempotency_key="k")
            for sender in ("alice", "bob", "alice", "bob")
        ]
        assert sent[:2] == sent[2:]
        assert sent[0] != sent[1]
        assert [message.sender for message in await sdk.async_conversation.get_unread("carol")] == ["alice", "bob"]
        other = await sdk.async_conversation.send("carol", "bob", "another", idempotency_key="k")
        assert other not in sent
