"""The database goes away and comes back: waits go on, sends succeed, and what cannot succeed says so."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent_messaging import (
    AgentMessaging,
    ConfigurationError,
    DatabaseUnavailableError,
    MeetingTimeoutError,
    MessageContext,
)
from tests.conftest import dsn_of
from tests.protocol.world import SWEEP_OFF, config, eventually, fetch, opened, question_is_open

SDK = AgentMessaging[Any]

TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
    WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Operator:
    """Whoever can hurt the database: it works from another one of the same server."""

    def __init__(self, server: str, dsn: str) -> None:
        self._server = server
        self._name = dsn.split("/")[-1].split("?")[0] if "@/" not in dsn else dsn.split("@/")[1].split("?")[0]

    async def terminate(self) -> int:
        """End every connection; says how many."""
        (row,) = await fetch(self._server, TERMINATE, self._name)
        return row["ended"]

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        """Nobody gets into the database while the block runs."""
        await fetch(self._server, f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        try:
            assert await self.terminate() > 0
            yield
        finally:
            await fetch(self._server, f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")


@pytest.fixture
def operator(server: str, dsn: str) -> Operator:
    return Operator(dsn_of(server, "postgres"), dsn)


async def _no_longer(seconds: float, waiting: asyncio.Task[Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await waiting


@pytest.mark.requirement("outage:waits-go-on")
async def test_every_wait_survives_the_end_of_all_connections(dsn: str, operator: Operator) -> None:
    async with opened(dsn, "alice", "bob", "carol", "dave") as sdk, opened(dsn) as other:
        meeting = await sdk.meeting.create_meeting("dave", ["dave", "carol"])
        waits = {
            "question": asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", "?", 40)),
            "message": asyncio.create_task(sdk.async_conversation.wait_for_message("alice", "carol", 40)),
            "inbox": asyncio.create_task(sdk.inbox.wait("dave", 40, from_agent="carol")),
            "turn": asyncio.create_task(sdk.meeting.attend_meeting("carol", meeting, 40)),
        }
        question = await eventually(lambda: question_is_open(other, "bob"))
        for _ in range(3):
            assert await operator.terminate() > 0
            await other.get_agent("alice")
        await other.sync_conversation.reply("bob", "alice", "!", question_id=question)
        await other.async_conversation.send("carol", "alice", "hello")
        await other.async_conversation.send("carol", "dave", "hello")

        async def started() -> bool:
            try:
                await other.meeting.start_meeting("dave", meeting, "welcome", force=True)
            except MeetingTimeoutError:
                return True
            return True

        await eventually(started)
        assert await _no_longer(90, waits["question"]) == "!"
        assert await _no_longer(90, waits["message"]) == "hello"
        assert [item.content for item in (await _no_longer(90, waits["inbox"])).items][:1] == ["hello"]
        assert (await _no_longer(90, waits["turn"])).reason == "your_turn"


@pytest.mark.requirement("outage:waits-go-on")
async def test_waits_outlast_an_outage_longer_than_the_patience(dsn: str, operator: Operator) -> None:
    async with opened(dsn, "alice", "bob", database_patience=0.2) as sdk:
        waiting = asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", "?", 40))
        inbox = asyncio.create_task(sdk.inbox.wait("alice", 40))
        question = await eventually(lambda: question_is_open(sdk, "bob"))
        async with operator.outage():
            with pytest.raises(DatabaseUnavailableError):
                await sdk.sync_conversation.reply("bob", "alice", "!", question_id=question)
            assert not waiting.done()
            assert not inbox.done()

        async def answered() -> bool:
            try:
                await sdk.async_conversation.send("bob", "alice", "back")
            except DatabaseUnavailableError:
                return False
            return True

        await eventually(answered)
        await sdk.sync_conversation.reply("bob", "alice", "!", question_id=question)
        assert await _no_longer(90, waiting) == "!"
        assert (await _no_longer(90, inbox)).items[0].content == "back"


@pytest.mark.requirement("outage:listener")
@pytest.mark.parametrize("answer", ["after the listener is back", "in the gap"])
async def test_a_killed_listener_costs_no_answer_even_without_the_sweep(dsn: str, answer: str) -> None:
    async with (
        opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk,
        opened(dsn, sweep_interval=SWEEP_OFF) as other,
    ):
        killed: set[int] = set()

        async def listener() -> int | None:
            wakeups: Any = sdk._engine.waiting._wakeups  # type: ignore[attr-defined]
            pid = wakeups._connection.get_server_pid() if wakeups.hears and wakeups._connection else None
            return None if pid in killed else pid

        for round in range(5):
            asking = asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", round, 40))
            question = await eventually(lambda: question_is_open(other, "bob"))
            pid = await eventually(listener)
            assert pid is not None
            killed.add(pid)
            assert await fetch(dsn, "SELECT WHERE pg_terminate_backend($1)", pid)
            if answer == "after the listener is back":
                await eventually(listener)
            await other.sync_conversation.reply("bob", "alice", -round, question_id=question)
            assert await _no_longer(90, asking) == -round


@pytest.mark.requirement("outage:sends")
async def test_every_call_succeeds_over_an_outage_that_is_shorter_than_the_patience(
    dsn: str, operator: Operator
) -> None:
    async with opened(dsn, "alice", "bob", "carol", "dave") as sdk:
        for name in ("alice", "bob", "carol"):  # so that each call meets the outage where it would otherwise succeed
            await sdk.async_conversation.get_unread_messages(name)
        asking = asyncio.create_task(sdk.sync_conversation.send_and_wait("carol", "dave", "?", 40))
        question = await eventually(lambda: question_is_open(sdk, "dave"))
        sdk._engine.room._counts.clear()  # type: ignore[attr-defined]
        calls = [
            sdk.async_conversation.send("alice", "bob", "async"),
            sdk.one_way.send("alice", "bob", "one way"),
            sdk.async_conversation.get_unread_messages("carol"),
            sdk.async_conversation.get_conversation("alice", "bob"),
            sdk.inbox.page("carol"),
            sdk.inbox.wait("carol", 0),
            sdk.async_conversation.wait_for_message("alice", "bob", 0),
            sdk.async_conversation.get_unread("alice"),
            sdk.async_conversation.mark_read("alice", [question] if question else []),
            sdk.sync_conversation.get_session("alice", "bob"),
            sdk.get_agent("alice"),
            sdk.register_agent("erin", "acme", "Erin"),
            sdk.sync_conversation.reply("dave", "carol", "!", question_id=question),
            sdk.meeting.create_meeting("alice", ["alice", "bob"]),
        ]
        async with operator.outage():
            running = [asyncio.create_task(call) for call in calls]
            await asyncio.sleep(1)
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
        assert await _no_longer(90, asking) == "!"
        assert sorted(await sdk.async_conversation.get_unread_messages("bob")) == ["async", "one way"]


@pytest.mark.requirement("outage:sends")
async def test_connections_that_end_under_load_neither_lose_nor_double_a_message(dsn: str, operator: Operator) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        done = asyncio.Event()
        ended = 0

        async def hurt() -> None:
            nonlocal ended
            while not done.is_set():
                ended += await operator.terminate()
                await asyncio.sleep(0.3)

        async def send(sender: int) -> None:
            for number in range(25):
                await sdk.async_conversation.send("alice", "bob", [sender, number])
                await asyncio.sleep(0.02)

        hurting = asyncio.create_task(hurt())
        async with asyncio.timeout(90):
            await asyncio.gather(*(send(sender) for sender in range(4)))
        done.set()
        await hurting
        assert ended > 0
        messages = await sdk.async_conversation.get_conversation("alice", "bob")
        assert sorted(message.content for message in messages) == [[s, n] for s in range(4) for n in range(25)]
        assert [message.seq for message in messages] == list(range(1, 101))


@pytest.mark.requirement("outage:unavailable")
async def test_an_outage_that_goes_on_is_an_error_of_the_library_within_the_patience(
    dsn: str, operator: Operator
) -> None:
    async with opened(dsn, "alice", "bob", database_patience=0.5) as sdk:
        await sdk.async_conversation.get_unread_messages("bob")
        async with operator.outage():
            calls: dict[str, Any] = {
                "async": lambda: sdk.async_conversation.send("alice", "bob", "hi"),
                "one way": lambda: sdk.one_way.send("alice", "bob", "hi"),
                "ask": lambda: sdk.sync_conversation.send_and_wait("alice", "bob", "hi", 30),
                "reply": lambda: sdk.sync_conversation.reply("alice", "bob", "hi"),
                "end": lambda: sdk.sync_conversation.end_conversation("alice", "bob"),
                "unread": lambda: sdk.async_conversation.get_unread_messages("bob"),
                "look": lambda: sdk.async_conversation.wait_for_message("bob", "alice", 0),
                "history": lambda: sdk.async_conversation.get_conversation("bob", "alice"),
                "page": lambda: sdk.inbox.page("bob"),
                "agent": lambda: sdk.get_agent("bob"),
                "register": lambda: sdk.register_agent("carol", "acme", "Carol"),
                "meeting": lambda: sdk.meeting.create_meeting("alice", ["alice", "bob"]),
            }
            for name, call in calls.items():
                async with asyncio.timeout(9):  # less than the patience that is the default
                    try:
                        result = await call()
                    except DatabaseUnavailableError as error:
                        result = error
                assert isinstance(result, DatabaseUnavailableError), name
                assert "try again" in str(result)
            with pytest.raises(DatabaseUnavailableError):
                await SDK(config(dsn, database_patience=0.2)).initialize()


@pytest.mark.requirement("outage:unavailable")
async def test_an_address_where_no_database_is_gives_an_error_of_the_library(dsn: str, operator: Operator) -> None:
    for address in (
        "postgresql://nobody@/nothing?host=/nonexistent",
        "postgresql://127.0.0.1:1/nothing",
        dsn.replace("agent_messaging@", "nobody@") if "agent_messaging@" in dsn else dsn + "_missing",
        dsn.split("?")[0] + "_missing?" + dsn.split("?")[1] if "?" in dsn else dsn + "_missing",
    ):
        async with asyncio.timeout(90):
            with pytest.raises((DatabaseUnavailableError, ConfigurationError)):
                await SDK(config(address, database_patience=0.2)).initialize()


@pytest.mark.requirement("outage:handlers")
async def test_a_message_whose_handler_ended_during_an_outage_is_not_stuck(dsn: str, operator: Operator) -> None:
    options = {"database_patience": 0.2, "sweep_interval": 0.1, "handler_lease": 60}
    async with opened(dsn, "alice", "bob", **options) as sdk:
        attempts: list[int] = []
        began, go_on = asyncio.Event(), asyncio.Event()

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> None:
            attempts.append(context.attempt)
            began.set()
            await go_on.wait()

        await sdk.async_conversation.send("alice", "bob", "hello")
        async with asyncio.timeout(90):
            await began.wait()
        async with operator.outage():
            go_on.set()
            run = next(iter(sdk._handlers._tasks))  # type: ignore[attr-defined]
            async with asyncio.timeout(90):
                await asyncio.wait([run])

        async def handled() -> bool:
            try:
                (message,) = await sdk.async_conversation.get_conversation("alice", "bob")
            except DatabaseUnavailableError:
                return False
            return message.read_at is not None

        await eventually(handled)
        assert attempts == [1, 2], "at least once, and counted"


@pytest.mark.requirement("outage:close")
async def test_closing_during_an_outage_takes_no_longer_than_the_patience(dsn: str, operator: Operator) -> None:
    async with opened(dsn, "alice", "bob", database_patience=0.5) as helper:
        sdk = SDK(config(dsn, database_patience=0.5))
        await sdk.initialize()
        sdk.register_handler("bob")(lambda message, context: None)
        waiting = asyncio.create_task(sdk.sync_conversation.send_and_wait("bob", "alice", "?", 40))
        await eventually(lambda: question_is_open(helper, "alice"))
        async with operator.outage():
            waiting.cancel()
            async with asyncio.timeout(90):
                await sdk.close()


@pytest.mark.requirement("outage:raw-errors")
async def test_no_error_of_the_driver_reaches_a_caller(dsn: str, operator: Operator) -> None:
    async with opened(dsn, "alice", "bob", database_patience=0) as sdk:
        done = asyncio.Event()
        seen: set[type[BaseException]] = set()

        rounds = 0

        async def hurt() -> None:
            nonlocal rounds
            while not done.is_set():
                await operator.terminate()
                rounds += 1

        hurting = asyncio.create_task(hurt())
        for number in itertools.count():
            if number >= 150 and rounds >= 10 and seen:
                break
            try:
                await sdk.async_conversation.send("alice", "bob", number)
                await sdk.async_conversation.get_unread_messages("bob", limit=1)
            except Exception as error:
                seen.add(type(error))
        done.set()
        await hurting
        assert seen == {DatabaseUnavailableError}
