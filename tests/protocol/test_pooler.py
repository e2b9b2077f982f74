"""The library behind a pooler in transaction mode: prompt where LISTEN has a way of its own, right in any case."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from agent_messaging import AgentMessaging, MessageContext
from tests.db.pooler import pooled
from tests.protocol.programs.notes import Note
from tests.protocol.world import SWEEP_OFF, opened, program, register

BOUND = 60.0


async def ask(asker: AgentMessaging[Any], questions: int) -> list[Any]:
    """Ask bob one question after the other; gives the answers."""
    async with asyncio.timeout(BOUND):
        return [
            await asker.sync_conversation.send_and_wait("alice", "bob", f"question {number}", 30)
            for number in range(questions)
        ]


def answer_for_bob(sdk: AgentMessaging[Any]) -> None:
    @sdk.register_handler("bob")
    async def handle(message: str, _context: MessageContext) -> str:
        return f"answer to {message}"


@pytest.mark.requirement("pooler:sdk:direct-listening")
@pytest.mark.parametrize("keeps_statements", [True, False])
async def test_with_a_way_of_its_own_for_listen_everything_is_prompt_behind_a_pooler(
    keeps_statements: bool, dsn: str
) -> None:
    options = {"listen_database_url": SecretStr(dsn), "sweep_interval": SWEEP_OFF}  # only wake-ups end a wait
    async with (
        pooled(dsn, keeps_statements=keeps_statements) as pooler,
        opened(pooler.dsn, "alice", "bob", **options) as one,
        opened(pooler.dsn, **options) as other,
    ):
        answer_for_bob(other)
        await other.get_agent("bob")
        assert await ask(one, 3) == [f"answer to question {number}" for number in range(3)]

        async with asyncio.timeout(BOUND):
            waiting = asyncio.create_task(other.async_conversation.wait_for_message("alice", "bob", timeout=60))
            await one.async_conversation.send("bob", "alice", "news")
            assert await waiting == "news"


@pytest.mark.requirement("pooler:sdk:processes")
async def test_a_question_is_answered_by_another_process_behind_the_pooler(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_DATABASE_URL", dsn)
    async with (
        pooled(dsn) as pooler,
        opened(pooler.dsn, "alice", "bob", message_type=Note, sweep_interval=SWEEP_OFF) as sdk,
        program("answerer", pooler.dsn, "bob", "answer", "10") as answerer,
    ):
        await answerer.says("ready")
        async with asyncio.timeout(BOUND):
            answer = await sdk.sync_conversation.send_and_wait("alice", "bob", Note(text="behind it"), 30)
        assert answer.text == "answer to behind it"


@pytest.mark.requirement("pooler:sdk:swallowed")
async def test_where_listen_is_swallowed_waits_are_slower_and_still_right(dsn: str) -> None:
    async with (
        pooled(dsn) as pooler,
        opened(pooler.dsn, "alice", "bob", sweep_interval=0.2) as one,
        opened(pooler.dsn, sweep_interval=0.2) as other,
    ):
        answer_for_bob(other)
        await other.get_agent("bob")
        assert await ask(one, 3) == [f"answer to question {number}" for number in range(3)]


@pytest.mark.requirement("pooler:sdk:few-connections")
@pytest.mark.parametrize("keeps_statements", [True, False])
async def test_many_calls_at_once_share_few_connections_of_the_pooler(keeps_statements: bool, dsn: str) -> None:
    async with (
        pooled(dsn, size=2, keeps_statements=keeps_statements) as pooler,
        opened(pooler.dsn, listen_database_url=SecretStr(dsn)) as one,
        opened(pooler.dsn, listen_database_url=SecretStr(dsn)) as other,
    ):
        await register(one, "alice", "bob")
        async with asyncio.timeout(BOUND):
            await asyncio.gather(
                *(sdk.async_conversation.send("alice", "bob", number) for number in range(50) for sdk in (one, other))
            )
            read = await one.async_conversation.get_unread_messages("bob", limit=200)
        assert sorted(read) == sorted([*range(50), *range(50)])
