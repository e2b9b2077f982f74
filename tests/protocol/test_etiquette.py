"""Agents do not keep each other busy for ever: a pair has a budget, and a chain of messages has an end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import asyncpg
import pytest

from agent_messaging import (
    AgentMessaging,
    ExchangeBudgetError,
    HandlerFailedError,
    HopLimitError,
    MessageContext,
    WaitEndedError,
)
from tests.conftest import connect
from tests.protocol.world import asked, eventually, fetch, opened

BUDGET = 20


async def exchange(sdk: AgentMessaging[Any], count: int, one: str = "alice", other: str = "bob") -> None:
    """They write to each other in turns, so many messages in all."""
    for number in range(count):
        sender, recipient = (one, other) if number % 2 == 0 else (other, one)
        await sdk.async_conversation.send(sender, recipient, number)


async def stored(dsn: str) -> int:
    return (await fetch(dsn, "SELECT count(*) FROM messages"))[0][0]


async def passes(dsn: str, seconds: float) -> None:
    """What was sent was sent so many seconds earlier."""
    await fetch(dsn, "UPDATE messages SET created_at = created_at - make_interval(secs => $1)", seconds)


@pytest.mark.requirement("etiquette:budget")
async def test_the_message_after_the_budget_is_refused_and_says_until_when_to_pause(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", exchange_budget=BUDGET) as sdk:
        await exchange(sdk, BUDGET)
        (first,) = await fetch(dsn, "SELECT min(created_at) FROM messages")
        for sender, recipient in (("alice", "bob"), ("bob", "alice")):
            with pytest.raises(ExchangeBudgetError, match="pause until") as refused:
                await sdk.async_conversation.send(sender, recipient, "thanks")
            assert refused.value.agent == recipient
            assert refused.value.paused_until == first[0] + timedelta(seconds=600)
            assert 500 < refused.value.seconds_left <= 600
        assert await stored(dsn) == BUDGET
        await sdk.async_conversation.send("alice", "carol", "another pair")
        await sdk.async_conversation.send("carol", "bob", "and another")
        assert sdk.measures.snapshot().refusals["budget"] == 2


@pytest.mark.requirement("etiquette:budget")
async def test_there_is_room_again_when_the_window_has_passed(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", exchange_budget=BUDGET, exchange_window=600) as sdk:
        await exchange(sdk, BUDGET)
        with pytest.raises(ExchangeBudgetError):
            await sdk.async_conversation.send("alice", "bob", "too early")
        await passes(dsn, 599)
        with pytest.raises(ExchangeBudgetError) as refused:
            await sdk.async_conversation.send("alice", "bob", "still too early")
        assert refused.value.seconds_left <= 1
        await passes(dsn, 1)
        await sdk.async_conversation.send("alice", "bob", "now")


@pytest.mark.requirement("etiquette:budget:question")
async def test_a_new_question_is_taken_and_opens_the_budget_again(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", exchange_budget=BUDGET) as sdk:
        await exchange(sdk, BUDGET)
        async with asked(sdk, "why?", "alice", "bob") as (waiting, question):
            await exchange(sdk, BUDGET)
            with pytest.raises(ExchangeBudgetError):
                await sdk.async_conversation.send("bob", "alice", "one more")
            await sdk.sync_conversation.reply("bob", "alice", "because", question_id=question)
            assert await waiting == "because"


@pytest.mark.requirement("etiquette:budget:answers")
async def test_no_budget_refuses_an_answer_however_much_was_said(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", exchange_budget=1) as sdk:
        async with asked(sdk, 1) as (first, _), asked(sdk, 2) as (second, _), asked(sdk, 3) as (third, _):
            await sdk.one_way.send("alice", "bob", "that is all")
            for number in (1, 2, 3):
                await sdk.sync_conversation.reply("bob", "alice", number)
            assert [await first, await second, await third] == [1, 2, 3]
        with pytest.raises(ExchangeBudgetError):
            await sdk.async_conversation.send("alice", "bob", "thanks")


@pytest.mark.requirement("etiquette:budget:questions")
async def test_questions_have_a_budget_ten_times_as_large_and_their_answers_have_none(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", exchange_budget=1) as sdk:

        @sdk.register_handler("bob")
        async def answer(message: Any, _context: MessageContext) -> Any:
            return message

        for number in range(5):
            assert await sdk.sync_conversation.send_and_wait("alice", "bob", number) == number
        with pytest.raises(ExchangeBudgetError, match="10 messages of all kinds") as refused:
            await sdk.sync_conversation.send_and_wait("alice", "bob", 6)
        assert refused.value.questions_too
        assert await stored(dsn) == 10


@pytest.mark.requirement("etiquette:budget:retries")
async def test_a_retry_of_what_was_accepted_is_neither_counted_nor_refused(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", exchange_budget=2) as sdk, opened(dsn, exchange_budget=2) as other:
        first = await sdk.async_conversation.send("alice", "bob", 1, idempotency_key="first")
        for process in (sdk, other, sdk):
            assert await process.async_conversation.send("alice", "bob", 1, idempotency_key="first") == first
        await sdk.async_conversation.send("alice", "bob", 2, idempotency_key="second")
        assert await other.async_conversation.send("alice", "bob", 1, idempotency_key="first") == first
        for _ in range(2):  # a refusal is not remembered
            with pytest.raises(ExchangeBudgetError):
                await sdk.async_conversation.send("alice", "bob", 3, idempotency_key="third")
        await passes(dsn, 600)
        await other.async_conversation.send("alice", "bob", 3, idempotency_key="third")
        assert await stored(dsn) == 3


@pytest.mark.requirement("etiquette:budget:processes")
async def test_processes_at_once_do_not_spend_more_than_the_budget(dsn: str) -> None:
    refused = 0
    async with (
        opened(dsn, "alice", "bob", "carol", exchange_budget=BUDGET) as one,
        opened(dsn, exchange_budget=BUDGET) as other,
        anyio.create_task_group() as tasks,
    ):

        async def send(sdk: AgentMessaging[Any], sender: str, recipient: str) -> None:
            nonlocal refused
            try:
                await sdk.async_conversation.send(sender, recipient, "hello")
            except ExchangeBudgetError:
                refused += 1

        for sdk in (one, other):
            for _ in range(BUDGET):
                tasks.start_soon(send, sdk, "alice", "bob")
                tasks.start_soon(send, sdk, "bob", "alice")
                tasks.start_soon(send, sdk, "carol", "bob")
    by_pair = await fetch(dsn, "SELECT count(*), max(seq) FROM messages GROUP BY pair_id")
    assert [tuple(row) for row in by_pair] == [(BUDGET, BUDGET)] * 2, "numbered without a gap, as ever"
    assert refused == 6 * BUDGET - 2 * BUDGET


async def sent_while_held(
    one: AgentMessaging[Any], other: AgentMessaging[Any], database: asyncpg.Connection[Any], hold: str
) -> list[bool]:
    """Both write to bob while a transaction holds something of the pair, which then thinks better of it: they go on at
    once. Says who was refused for the budget."""
    ids = [row["id"] for row in await database.fetch("SELECT id FROM agents ORDER BY id")]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def both_wait() -> bool:
        return await database.fetchval(waiting) == 2

    holding = database.transaction()
    await holding.start()
    await database.execute(hold, *ids)
    sending = [asyncio.create_task(sdk.async_conversation.send("alice", "bob", "hello")) for sdk in (one, other)]
    await eventually(both_wait)
    await holding.rollback()
    said = await asyncio.gather(*sending, return_exceptions=True)
    return [isinstance(each, ExchangeBudgetError) for each in said]


@pytest.mark.requirement("etiquette:budget:processes")
async def test_two_processes_that_write_first_at_the_same_time_share_a_budget(dsn: str) -> None:
    async with (
        opened(dsn, "alice", "bob", exchange_budget=1) as one,
        opened(dsn, exchange_budget=1) as other,
        connect(dsn) as database,
    ):
        hold = "INSERT INTO pairs (low_id, high_id, last_seq) VALUES ($1, $2, 1)"
        assert sorted(await sent_while_held(one, other, database, hold)) == [False, True]
    assert await stored(dsn) == 1


@pytest.mark.requirement("etiquette:budget:processes")
async def test_two_processes_do_not_both_spend_the_last_of_a_budget(dsn: str) -> None:
    async with (
        opened(dsn, "alice", "bob", exchange_budget=2) as one,
        opened(dsn, exchange_budget=2) as other,
        connect(dsn) as database,
    ):
        await one.async_conversation.send("alice", "bob", "the first of two")
        hold = "SELECT FROM pairs WHERE low_id = $1 AND high_id = $2 FOR UPDATE"
        assert sorted(await sent_while_held(one, other, database, hold)) == [False, True]
    assert await stored(dsn) == 2


@pytest.mark.requirement("etiquette:budget")
async def test_a_notice_to_several_is_all_or_nothing_and_names_with_whom_to_pause(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", exchange_budget=1) as sdk:
        for agent in ("bob", "carol"):
            await sdk.inbox.page(agent)
        await sdk.one_way.send("alice", "bob", "hello")
        with pytest.raises(ExchangeBudgetError) as refused:
            await sdk.one_way.send("alice", ["carol", "bob"], "hello")
        assert refused.value.agent == "bob"
        assert await stored(dsn) == 1


@pytest.mark.requirement("etiquette:budget:off")
async def test_a_program_has_no_budget_unless_it_sets_one(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn, exchange_budget=0) as other:
        await exchange(sdk, 3 * BUDGET)
        await exchange(other, 3 * BUDGET)


@pytest.mark.requirement("etiquette:loops")
async def test_two_handlers_that_thank_each_other_for_ever_are_stopped_by_the_budget(dsn: str) -> None:
    options: dict[str, Any] = {"exchange_budget": BUDGET, "max_hops": 0}
    async with opened(dsn, "alice", "bob", **options) as one, opened(dsn, **options) as two:
        for sdk, me, other in ((one, "alice", "bob"), (two, "bob", "alice")):

            @sdk.register_handler(me)
            async def thank(_message: Any, _context: Any, sdk: Any = sdk, me: str = me, other: str = other) -> None:
                await sdk.async_conversation.send(me, other, "thank you")

        await one.async_conversation.send("alice", "bob", "well done")
        (given_up,) = await eventually(lambda: fetch(dsn, "SELECT error FROM deliveries WHERE dead_at IS NOT NULL"))
        assert "pause until" in given_up[0]
        assert await stored(dsn) == BUDGET


@pytest.mark.requirement("etiquette:hops")
async def test_what_a_handler_sends_is_one_hop_further_and_what_a_program_begins_is_none(dsn: str) -> None:
    hops: list[int] = []
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        done = asyncio.Event()

        @sdk.register_handler("bob")
        async def pass_on(message: Any, context: MessageContext) -> None:
            hops.append(context.hop)
            await asyncio.create_task(sdk.async_conversation.send("bob", "carol", message))

        @sdk.register_handler("carol")
        async def end(_message: Any, context: MessageContext) -> None:
            hops.append(context.hop)
            done.set()

        await sdk.async_conversation.send("alice", "bob", "hello")
        async with asyncio.timeout(90):
            await done.wait()
        assert hops == [0, 1]
        told = await sdk.async_conversation.get_conversation("bob", "carol")
        assert [message.hop for message in told] == [1]
        await sdk.async_conversation.send("bob", "carol", "by itself")
        assert [message.hop for message in await sdk.async_conversation.get_conversation("bob", "carol")] == [1, 0]


@pytest.mark.requirement("etiquette:hops")
async def test_messages_questions_and_invitations_follow_from_one_another_up_to_the_limit(dsn: str) -> None:
    refused: list[HopLimitError] = []
    async with opened(dsn, "a", "b", "c", "d", "e", max_hops=3) as sdk:
        over = asyncio.Event()

        @sdk.register_handler("b")
        async def by_message(message: Any, _context: Any) -> None:
            await sdk.one_way.send("b", "c", message)

        @sdk.register_handler("c")
        async def by_question(message: Any, _context: Any) -> None:
            await sdk.sync_conversation.send_and_wait("c", "d", message)

        @sdk.register_handler("d")
        async def by_invitation(_message: Any, context: MessageContext) -> str | None:
            if context.is_meeting_message:  # the host's own invitation
                return None
            await sdk.meeting.create_meeting("d", ["d", "e"])
            return "answers are no hop"

        @sdk.register_handler("e")
        async def refused_all(_message: Any, context: MessageContext) -> None:
            assert context.hop == 3
            for call in (
                lambda: sdk.one_way.send("e", "b", 1),
                lambda: sdk.async_conversation.send("e", "b", 1),
                lambda: sdk.sync_conversation.send_and_wait("e", "b", 1),
                lambda: sdk.meeting.create_meeting("e", ["e", "b"]),
            ):
                with pytest.raises(HopLimitError, match="4 messages") as error:
                    await call()
                refused.append(error.value)
            over.set()

        await sdk.one_way.send("a", "b", "round and round")
        async with asyncio.timeout(90):
            await over.wait()
        assert [(error.hop, error.limit) for error in refused] == [(4, 3)] * 4
        assert sdk.measures.snapshot().refusals["hops"] == 4


@pytest.mark.requirement("etiquette:hops:handlers")
async def test_a_handler_that_is_refused_for_its_loop_is_not_tried_again(dsn: str) -> None:
    attempts: list[int] = []
    """Else every handler on the way would try again, and each attempt go all the way once more."""
    async with opened(dsn, "alice", "bob", max_hops=4, retry_backoff=0.01) as sdk:

        @sdk.register_handler("bob")
        async def ask_back(_message: Any, context: MessageContext) -> Any:
            attempts.append(context.attempt)
            return await sdk.sync_conversation.send_and_wait("bob", "alice", "and you?")

        @sdk.register_handler("alice")
        async def ask_again(_message: Any, _context: Any) -> Any:
            return await sdk.sync_conversation.send_and_wait("alice", "bob", "and you?")

        with pytest.raises(HandlerFailedError) as failed:
            await sdk.sync_conversation.send_and_wait("alice", "bob", "how are you?", 60)
        assert failed.value.looped
        assert attempts == [1, 1, 1]
        assert await stored(dsn) == 5


@pytest.mark.requirement("etiquette:hops:mcp")
async def test_an_agent_over_mcp_follows_from_what_it_was_shown_within_the_last_minute(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", max_hops=2) as sdk:
        views = {name: sdk.as_agent(name, within_organization=True) for name in ("alice", "bob", "carol")}

        for view in views.values():
            await view.called()

        async def reads(name: str) -> list[int]:
            page = await views[name].inbox()
            await views[name].shown(page.items)
            await views[name].acknowledge(await views[name].cursor(page.items))
            return [item.hop for item in page.items if not item.shown]

        await views["alice"].send("bob", 0)
        assert await reads("bob") == [0]
        await views["bob"].send("carol", 1)
        assert await reads("carol") == [1]
        await views["carol"].notify(["alice"], 2)
        assert await reads("alice") == [2]
        for call in (
            lambda: views["alice"].send("bob", 3),
            lambda: views["alice"].notify(["bob", "carol"], 3),
            lambda: views["alice"].ask("bob", 3),
            lambda: views["alice"].create_meeting(["bob"]),
        ):
            with pytest.raises(HopLimitError, match="3 messages"):
                await call()
        await fetch(dsn, "UPDATE agents SET heard_at = heard_at - interval '1 minute'")
        await views["alice"].send("bob", "of my own accord")
        assert await reads("bob") == [0]


@pytest.mark.requirement("etiquette:hops:mcp")
async def test_who_owes_an_answer_follows_from_the_question_as_long_as_it_does(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", max_hops=1) as sdk:
        views = {name: sdk.as_agent(name, within_organization=True) for name in ("alice", "bob", "carol")}
        for asker, recipient in (("alice", "bob"), ("bob", "carol")):
            with pytest.raises(WaitEndedError):
                await views[asker].ask(recipient, "?", timeout=0, reply_by=600)
            await views[recipient].shown((await views[recipient].inbox()).items)
            await fetch(dsn, "UPDATE agents SET heard_at = heard_at - interval '1 minute'")
        with pytest.raises(HopLimitError):
            await views["carol"].ask("alice", "?", timeout=0)
        (owed,) = (await views["carol"].inbox()).items
        assert owed.hop == 1
        await views["carol"].reply(str(owed.handle), "an answer is never too far")
        with pytest.raises(WaitEndedError):
            await views["carol"].ask("alice", "?", timeout=0)


@pytest.mark.requirement("etiquette:budget")
async def test_the_end_of_a_pause_is_told_by_the_clock_of_the_database(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", exchange_budget=1, exchange_window=3600) as sdk:
        await exchange(sdk, 1)
        with pytest.raises(ExchangeBudgetError) as refused:
            await exchange(sdk, 1)
        (now,) = (await fetch(dsn, "SELECT clock_timestamp()"))[0]
        assert now.astimezone(UTC) < refused.value.paused_until <= now + timedelta(hours=1)
        assert isinstance(refused.value.paused_until, datetime)
