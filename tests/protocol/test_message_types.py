"""The type of messages: every path gives back what was sent, in every process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from agent_messaging import InvalidMessageError, Message
from tests.protocol.world import eventually, opened


class Place(BaseModel):
    name: str
    since: date


class Visit(BaseModel):
    id: UUID
    at: datetime
    places: dict[str, Place]
    note: str | None = None


@dataclass
class Point:
    x: int
    label: str | None = None


@pytest.mark.requirement("message:typed")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            Visit,
            Visit(
                id=uuid4(), at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), places={"a": Place(name="ä", since=date.min)}
            ),
        ),
        (Point, Point(3, "p")),
        (dict, {"a": [1, 2.5, None, {"b": "ü"}]}),
        (str, "text"),
        (Point | Visit, Point(1)),
        (int | str, "7"),
        (list[Point], [Point(1), Point(2)]),
        (None, [1, {"any": "json"}, None]),
    ],
    ids=["model", "dataclass", "dict", "str", "union of models", "union of scalars", "list", "any json"],
)
async def test_every_path_gives_messages_of_the_type_back(dsn: str, kind: Any, message: Any) -> None:
    async with opened(dsn, "alice", "bob", message_type=kind) as sdk, opened(dsn, message_type=kind) as other:
        calls, there = sdk.async_conversation, other.async_conversation
        seen: list[Any] = []
        for _ in range(3):
            await calls.send("alice", "bob", message)
        seen += [item.content for item in (await other.inbox.page("bob")).items]
        seen += [read.content for read in await there.get_conversation("alice", "bob")]
        seen += [read.content for read in await there.get_unread("bob")]
        seen += await there.get_messages_from_agent("bob", "alice", limit=1)
        seen += [await there.wait_for_message("bob", "alice", 5)]
        seen += await there.get_unread_messages("bob")
        asking = asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", message, 30))
        other.register_handler("bob")(lambda got, context: seen.append(got) or got)
        await other.get_agent("bob")
        async with asyncio.timeout(90):
            seen.append(await asking)
        assert len(seen) == 14
        assert {type(got) for got in seen} == {type(message)}
        assert all(got == message for got in seen)


@pytest.mark.requirement("message:typed")
async def test_a_message_of_another_type_is_neither_sent_nor_lost(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", message_type=Point) as sdk, opened(dsn) as untyped:
        with pytest.raises(InvalidMessageError):
            await sdk.async_conversation.send("alice", "bob", {"y": 1})
        await untyped.async_conversation.send("alice", "bob", {"y": 1})
        await sdk.async_conversation.send("alice", "bob", Point(2))
        assert await sdk.async_conversation.get_unread_messages("bob") == [Point(2)]
        (item,) = (await sdk.inbox.page("bob")).items
        assert (item.content, item.dead_letter, item.read) == (None, True, False)
        (item,) = (await untyped.inbox.page("bob")).items
        assert item.content == {"y": 1}


@pytest.mark.requirement("message:typed")
async def test_an_answer_of_another_type_stays_in_the_inbox_of_the_asker(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", message_type=Point) as sdk, opened(dsn) as untyped:
        asking = asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", Point(1), 30))
        assert await untyped.async_conversation.wait_for_message("bob", "alice", 10) == {"x": 1, "label": None}
        await untyped.sync_conversation.reply("bob", "alice", "no point")
        async with asyncio.timeout(90):
            with pytest.raises(InvalidMessageError):
                await asking

        async def unread() -> list[Message[Any]]:
            return await untyped.async_conversation.get_unread("alice")

        (message,) = await eventually(unread)
        assert message.content == "no point"
