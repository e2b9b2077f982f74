"""What was meant for a process that is no longer there."""

from __future__ import annotations

import pytest

from agent_messaging import ConversationTimeoutError
from tests.conftest import execute
from tests.protocol.world import SWEEP_OFF, opened

CLAIMED_BY_THE_DEAD = "UPDATE deliveries SET claimed_by = gen_random_uuid()"


@pytest.mark.requirement("process:asker-killed")
async def test_what_a_dead_process_had_claimed_is_in_every_view_of_the_inbox(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        with pytest.raises(ConversationTimeoutError):
            await sdk.sync_conversation.send_and_wait("alice", "bob", "?", 0, reply_by=60)
        await sdk.sync_conversation.reply("bob", "alice", "yes")
        await sdk.async_conversation.send("bob", "alice", "hello")
        await execute(dsn, CLAIMED_BY_THE_DEAD)

        assert [item.content for item in (await sdk.inbox.page("alice")).items] == ["yes", "hello"]
        assert (await sdk.inbox.page("alice", limit=1)).more == 1
        assert [message.content for message in await sdk.async_conversation.get_unread("alice")] == ["yes", "hello"]
        assert await sdk.async_conversation.wait_for_message("alice", "bob", 0) == "yes"
        await execute(dsn, CLAIMED_BY_THE_DEAD)
        assert await sdk.async_conversation.get_unread_messages("alice") == ["hello"]
