"""What becomes of a delivery whose handler is at work, or has just returned, when its process closes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import AgentMessaging, Config, MeetingEvent, MessageContext
from tests.conftest import connect


async def opened(sdk: AgentMessaging[str], *agents: str) -> None:
    await sdk.register_organization("acme", "Acme")
    for agent in agents:
        await sdk.register_agent(agent, "acme", agent.title())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.01)


async def is_read(dsn: str, message: UUID) -> bool:
    async with connect(dsn) as connection:
        return await connection.fetchval("SELECT read_at IS NOT NULL FROM deliveries WHERE message_id = $1", message)


@pytest.mark.requirement("examples:closing:finished")
async def test_a_message_whose_handler_has_returned_is_read_although_its_process_closes_at_that_moment(dsn: str):
    returned = asyncio.Event()
    going_on = asyncio.Event()
    async with asyncio.timeout(90), connect(dsn) as other:
        async with AgentMessaging[str](Config(database_url=dsn)) as sdk:  # pyright: ignore[reportArgumentType]
            await opened(sdk, "alice", "bob")

            @sdk.register_handler("bob")
            async def handle(_message: str, _context: MessageContext) -> None:
                await going_on.wait()
                returned.set()

            message = await sdk.one_way.send("alice", "bob", "Server restart in 5 minutes")
            await until(lambda: any(map(_handles, asyncio.all_tasks())))
            async with other.transaction():
                # Recording that it was handled takes for as long as this transaction lasts.
                await other.execute("SELECT FROM deliveries WHERE message_id = $1 FOR UPDATE", message)
                going_on.set()
                await returned.wait()
                handling = next(filter(_handles, asyncio.all_tasks()))
                closing = asyncio.create_task(sdk.close())
                await until(lambda: handling.cancelling() > 0)
            await closing
        assert await is_read(dsn, message)


@pytest.mark.requirement("examples:closing:invitation")
async def test_an_invitation_given_back_after_the_meeting_has_ended_is_given_to_nobody_again(dsn: str):
    at_work = asyncio.Event()
    async with asyncio.timeout(90):
        async with AgentMessaging[str](Config(database_url=dsn)) as sdk:  # pyright: ignore[reportArgumentType]
            await opened(sdk, "alice", "bob")

            @sdk.register_handler("bob")
            async def handle(_message: str, context: MessageContext) -> None:
                invitations.append(context.message_id)
                at_work.set()
                await asyncio.Event().wait()

            invitations: list[UUID] = []
            meeting = await sdk.meeting.create_meeting("alice", ["bob"])
            await at_work.wait()
            await sdk.meeting.end_meeting("alice", meeting)
        assert await is_read(dsn, invitations[0])


@pytest.mark.requirement("handler:opened-again")
async def test_a_process_that_is_opened_again_handles_and_hears_again(dsn: str):
    sdk = AgentMessaging[str](Config(database_url=dsn))  # pyright: ignore[reportArgumentType]
    handled: list[str] = []
    heard: list[str] = []

    @sdk.register_handler("bob")
    async def handle(message: str, context: MessageContext) -> None:
        if context.message_type != "invitation":
            handled.append(message)

    @sdk.register_event_handler(MeetingEvent.MEETING_ENDED)
    async def hear(_meeting: UUID, _agent: str | None, data: dict[str, Any]) -> None:
        heard.append(data["outcome"])

    async with asyncio.timeout(90):
        for number in (1, 2, 3):
            async with sdk:
                if number == 1:
                    await opened(sdk, "alice", "bob")
                await sdk.one_way.send("alice", "bob", f"open {number}")
                meeting = await sdk.meeting.create_meeting("alice", ["bob"])
                await sdk.meeting.end_meeting("alice", meeting, outcome=f"{number}")
                await until(lambda number=number: len(handled) == 2 * number - 1 and len(heard) == number)
            async with AgentMessaging[str](Config(database_url=dsn)) as other:  # pyright: ignore[reportArgumentType]
                await other.async_conversation.send("alice", "bob", f"closed {number}")
    assert sorted(handled) == ["closed 1", "closed 2", "open 1", "open 2", "open 3"]
    assert heard == ["1", "2", "3"]


def _handles(task: asyncio.Task[object]) -> bool:
    return task.get_name() == "agent-messaging handler of bob"
