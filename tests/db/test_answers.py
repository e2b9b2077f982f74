"""The function that settles questions, by itself: it does not rely on what is asked before it is called."""

from __future__ import annotations

from uuid import uuid4

import pytest

from agent_messaging_db import conversations
from agent_messaging_db.conversations import Answering
from agent_messaging_db.rows import MessageKind
from tests.conftest import connect
from tests.protocol.world import SWEEP_OFF, asked, opened, within


@pytest.mark.requirement("sync:reply:asked")
async def test_a_question_is_settled_by_the_one_who_was_asked_alone(dsn: str) -> None:
    async with (
        opened(dsn, "alice", "bob", "mallory", sweep_interval=SWEEP_OFF) as sdk,
        asked(sdk, "?") as (waiting, question),
        connect(dsn) as connection,
    ):
        agents = {agent.external_id: agent.id for agent in await sdk.agents()}

        async def answer(name: str, kind: MessageKind) -> str:
            row = Answering(question, uuid4(), kind, agents[name], '"mine"', None)
            (verdict,) = await conversations.answer_questions(connection, batch=[row], again=False)
            return verdict.verdict

        for name in ("mallory", "alice"):
            for kind in (MessageKind.ANSWER, MessageKind.DECLINE):
                assert await answer(name, kind) == "unknown", (name, kind)
        await sdk.sync_conversation.reply("bob", "alice", "right", question_id=question)
        assert await within(waiting) == "right"
        assert await answer("mallory", MessageKind.ANSWER) == "unknown"
        assert await answer("bob", MessageKind.ANSWER) == "refused"
        told = await sdk.sync_conversation.get_conversation("alice", "bob")
        assert [message.content for message in told] == ["?", "right"]
