"""Handlers: what their return value is, how often they run, what they do not block, and what becomes of failures."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from agent_messaging import (
    AgentMessaging,
    ConversationTimeoutError,
    HandlerAlreadyRegisteredError,
    HandlerNotRegisteredError,
    InvalidArgumentError,
    InvalidIdentifierError,
    InvalidSessionStateError,
    MessageContext,
    QuestionDeclinedError,
)
from tests.protocol.world import BAD_NAMES, SWEEP_OFF, eventually, fetch, opened, register, row_counts

SDK = AgentMessaging[Any]


async def _ask(sdk: SDK, message: Any, asker: str = "alice", recipient: str = "bob", timeout: float = 20) -> Any:
    return await sdk.sync_conversation.send_and_wait(asker, recipient, message, timeout)


@pytest.mark.requirement("handler:returns")
@pytest.mark.requirement("handler:context")
async def test_a_returned_value_answers_a_question_and_nothing_else(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        contexts: list[MessageContext] = []

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> Any:
            contexts.append(context)
            return {"re": message}

        await sdk.async_conversation.get_unread_messages("alice")
        assert await _ask(sdk, "question") == {"re": "question"}
        await sdk.one_way.send("alice", "bob", "one way")
        await sdk.async_conversation.send("alice", "bob", "async")
        meeting = await sdk.meeting.create_meeting("alice", ["alice", "bob"])

        async def all_handled() -> bool:
            rows = await fetch(
                dsn,
                "SELECT FROM deliveries d JOIN agents a ON a.id = d.recipient_id "
                "WHERE a.external_id = 'bob' AND d.read_at IS NULL",
            )
            return len(contexts) == 4 and not rows

        await eventually(all_handled)
        kinds = Counter((context.message_type, context.requires_reply) for context in contexts)
        assert kinds == {("question", True): 1, ("one_way", False): 1, ("async", False): 1, ("invitation", False): 1}
        by_kind = {str(context.message_type): context for context in contexts}
        assert by_kind["question"].reply_by is not None
        assert by_kind["question"].session_id is not None
        assert by_kind["question"].session_id != by_kind["async"].session_id
        invitation = by_kind["invitation"]
        assert (invitation.is_meeting_message, invitation.meeting_id) == (True, meeting)
        history = await sdk.async_conversation.get_conversation("alice", "bob")
        assert [message.content for message in history] == ["question", {"re": "question"}, "one way", "async"]


@pytest.mark.requirement("handler:reply-first")
async def test_of_a_reply_and_a_returned_value_the_first_is_the_answer(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> Any:
            if message == "declined":
                await sdk.sync_conversation.reply("bob", context.sender_external_id, "no", decline=True)
            else:
                await sdk.sync_conversation.reply("bob", context.sender_external_id, "said first")
            with pytest.raises(InvalidSessionStateError):
                await sdk.sync_conversation.reply("bob", context.sender_external_id, "said twice")
            return "returned"

        assert await _ask(sdk, "?") == "said first"
        with pytest.raises(QuestionDeclinedError):
            await _ask(sdk, "declined")
        assert len(await sdk.sync_conversation.get_conversation("alice", "bob")) == 4


@pytest.mark.requirement("handler:context-variable")
async def test_concurrent_handlers_never_answer_each_others_questions(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        barrier = asyncio.Barrier(8)

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> None:
            await barrier.wait()
            if message % 2:
                await asyncio.gather(_reply_later(sdk, context.sender_external_id, message))
            else:
                await sdk.sync_conversation.reply("bob", context.sender_external_id, message)

        questions = [_ask(sdk, number, asker) for number, asker in enumerate(["alice", "carol"] * 4)]
        assert await asyncio.gather(*questions) == list(range(8))


async def _reply_later(sdk: SDK, recipient: str, message: Any) -> None:
    await asyncio.sleep(0)
    await sdk.sync_conversation.reply("bob", recipient, message)


@pytest.mark.requirement("handler:plain-function")
async def test_a_plain_function_may_be_a_handler(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        decorated = sdk.register_handler("bob")(len_of := lambda message, context: len(message))
        assert decorated is len_of
        assert await _ask(sdk, "four") == 4


@pytest.mark.requirement("handler:expired-is-delivered")
async def test_an_expired_question_is_still_delivered_and_answered_late(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.02) as sdk:
        with pytest.raises(ConversationTimeoutError):
            await sdk.sync_conversation.send_and_wait("alice", "bob", "?", timeout=5, reply_by=0.05)
        sdk.register_handler("bob")(lambda message, context: "late")

        async def answered() -> bool:
            items = (await sdk.inbox.page("alice")).items
            return [(item.content, item.late) for item in items] == [("late", True)]

        await eventually(answered)


@pytest.mark.requirement("handler:blocks-nobody")
async def test_a_slow_handler_blocks_neither_others_nor_its_own_agents_other_messages(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        never = asyncio.Event()

        @sdk.register_handler("bob")
        async def slow(message: Any, context: MessageContext) -> Any:
            if message == "slow":
                await never.wait()
            return "bob"

        sdk.register_handler("carol")(lambda message, context: "carol")
        slow_ones = [asyncio.create_task(_ask(sdk, "slow")) for _ in range(7)]
        assert await _ask(sdk, "quick") == "bob"
        assert await _ask(sdk, "quick", recipient="carol") == "carol"
        for task in slow_ones:
            task.cancel()
        await asyncio.gather(*slow_ones, return_exceptions=True)


@pytest.mark.requirement("handler:concurrency")
async def test_no_more_handlers_of_an_agent_run_at_once_than_allowed(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", handler_concurrency=2) as sdk:
        running = Counter[str]()
        most = Counter[str]()
        asks_back = asyncio.Event()

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> None:
            if message == "waits":  # in five waits at once, which give up one slot
                await asyncio.gather(*(_ask(sdk, number, "bob", "carol") for number in range(5)))
                return
            running["bob"] += 1
            most["bob"] = max(most["bob"], running["bob"])
            for _ in range(20):
                await asyncio.sleep(0.001)
            running["bob"] -= 1

        @sdk.register_handler("carol")
        async def late(message: Any, context: MessageContext) -> Any:
            await asks_back.wait()
            return message

        await sdk.async_conversation.send("alice", "bob", "waits")
        for number in range(20):
            await sdk.async_conversation.send("alice", "bob", number)

        async def handled() -> bool:
            return len(await fetch(dsn, "SELECT FROM deliveries WHERE read_at IS NOT NULL AND kind = 'async'")) == 20

        await eventually(handled)
        asks_back.set()
        assert most["bob"] == 2


@pytest.mark.requirement("handler:waits-do-not-count")
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_mutual_questions_use_up_no_slot(dsn: str, concurrency: int) -> None:
    async with opened(dsn, "alice", "bob", handler_concurrency=concurrency) as sdk:

        def make(me: str, other: str) -> None:
            @sdk.register_handler(me)
            async def handle(depth: int, context: MessageContext) -> int:
                return 0 if depth == 0 else 1 + await _ask(sdk, depth - 1, me, other)

        make("alice", "bob")
        make("bob", "alice")
        assert await _ask(sdk, 14) == 14, "fifteen questions, eight of them in one direction"


@pytest.mark.requirement("handler:waits-do-not-count")
async def test_a_ring_of_agents_asks_twenty_deep_around_itself(dsn: str) -> None:
    names = [f"agent{number}" for number in range(4)]
    async with opened(dsn, "alice", *names, handler_concurrency=1, max_hops=0) as sdk:

        def make(me: str, following: str) -> None:
            @sdk.register_handler(me)
            async def handle(depth: int, context: MessageContext) -> int:
                return 0 if depth == 0 else 1 + await _ask(sdk, depth - 1, me, following)

        for number, name in enumerate(names):
            make(name, names[(number + 1) % 4])
        assert await asyncio.gather(_ask(sdk, 20, "alice", "agent0"), _ask(sdk, 9, "alice", "agent2")) == [20, 9]


@pytest.mark.requirement("handler:resume")
async def test_without_automatic_invocation_messages_wait_for_resume(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", auto_invoke_handlers=False, sweep_interval=0.02) as sdk:
        with pytest.raises(HandlerNotRegisteredError):
            await sdk.async_conversation.resume_agent_handler("bob")
        handled: list[Any] = []
        sdk.register_handler("bob")(lambda message, context: handled.append(message))
        for number in range(20):
            await sdk.one_way.send("alice", "bob", number)
        assert [message.content for message in await sdk.async_conversation.get_unread("bob")] == list(range(20))
        assert handled == []
        assert await sdk.async_conversation.resume_agent_handler("bob") == 20
        assert await sdk.async_conversation.resume_agent_handler("bob") == 0

        async def all_handled() -> bool:
            return len(handled) == 20

        await eventually(all_handled)
        assert handled == list(range(20))


@pytest.mark.requirement("handler:twice")
async def test_a_second_handler_for_an_agent_is_refused_in_one_process_and_not_in_another(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as other:
        sdk.register_handler("bob")(lambda message, context: "first")
        with pytest.raises(HandlerAlreadyRegisteredError, match="'bob'"):
            sdk.register_handler("bob")(lambda message, context: "second")
        other.register_handler("bob")(lambda message, context: "first")
        await other.get_agent("bob")
        assert await asyncio.gather(*(_ask(sdk, number) for number in range(8))) == ["first"] * 8


@pytest.mark.requirement("handler:once")
async def test_a_message_is_handled_by_one_of_the_processes(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as one, opened(dsn) as other:
        handled: list[Any] = []
        for process in (one, other):
            process.register_handler("bob")(lambda message, context: handled.append(message))
            await process.get_agent("bob")
        await asyncio.gather(*(sdk.async_conversation.send("alice", "bob", number) for number in range(100)))

        async def all_read() -> bool:
            return not await fetch(dsn, "SELECT FROM deliveries WHERE read_at IS NULL")

        await eventually(all_read)
        assert sorted(handled) == list(range(100))


@pytest.mark.requirement("handler:later-agent")
async def test_a_handler_may_be_registered_before_its_agent_and_needs_no_further_call(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk, opened(dsn, sweep_interval=0.02) as worker:
        worker.register_handler("bob")(lambda message, context: f"re: {message}")
        await worker.get_agent("alice")
        await register(sdk, "bob")
        assert await _ask(sdk, "hello") == "re: hello"


@pytest.mark.requirement("handler:close")
async def test_closing_gives_what_is_being_handled_to_another_process_at_once(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", handler_lease=60, sweep_interval=0.05) as sdk:
        began = asyncio.Event()
        async with opened(dsn) as worker:

            @worker.register_handler("bob")
            async def handle(message: Any, context: MessageContext) -> None:
                began.set()
                await asyncio.Event().wait()

            await worker.get_agent("bob")
            asking = asyncio.create_task(_ask(sdk, "?"))
            async with asyncio.timeout(90):
                await began.wait()
        sdk.register_handler("bob")(lambda message, context: context.attempt)
        await sdk.get_agent("bob")
        async with asyncio.timeout(90):
            assert await asking == 1


@pytest.mark.requirement("input:handler")
async def test_a_bad_registration_is_refused(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        before = await row_counts(dsn)
        for name in BAD_NAMES.values():
            with pytest.raises(InvalidIdentifierError, match="external id"):
                sdk.register_handler(name)
        for handler in (None, "handler", 7):
            with pytest.raises(InvalidArgumentError, match="handler"):
                sdk.register_handler("bob")(handler)  # type: ignore[arg-type]
        await sdk.get_agent("bob")
        assert await row_counts(dsn) == before
