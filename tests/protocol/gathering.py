"""What the tests of meetings share: a message type, an open SDK with some agents, and meetings under way."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from agent_messaging import AgentMessaging, MeetingTimeoutError, TurnSignal
from tests.protocol import world
from tests.protocol.world import eventually, fetch

BOUND = 60.0
"""Seconds within which everything here happens; far more than it takes."""


class Word(BaseModel):
    """What is said in these meetings."""

    text: str


OFTEN = {"sweep_interval": 0.1, "default_meeting_timeout": BOUND, "default_conversation_timeout": BOUND}


@asynccontextmanager
async def opened(dsn: str, *agents: str, **changes: Any) -> AsyncGenerator[AgentMessaging[Word]]:
    """One process on the database, with these agents registered: it sweeps often, and no wait of it is long."""
    async with world.opened(dsn, *agents, message_type=Word, **(OFTEN | changes)) as sdk:
        yield sdk


async def attends(sdk: AgentMessaging[Word], meeting: UUID, *agents: str) -> None:
    """They come to the meeting, and nobody waits for a turn."""
    for agent in agents:
        try:
            await sdk.meeting.attend_meeting(agent, meeting, timeout=0)
        except MeetingTimeoutError:
            continue


async def started(sdk: AgentMessaging[Word], *members: str, **limits: Any) -> UUID:
    """A meeting that its host, the first one, has opened; the second one is offered turn 2."""
    meeting = await sdk.meeting.create_meeting(members[0], list(members), **limits)
    await attends(sdk, meeting, *members[1:])
    await sdk.meeting.start_meeting(members[0], meeting, Word(text="welcome"))
    return meeting


async def turn_of(sdk: AgentMessaging[Word], agent: str, meeting: UUID) -> TurnSignal[Word]:
    """The signal of the agent's turn, which comes."""
    signal = await sdk.meeting.attend_meeting(agent, meeting, timeout=BOUND)
    assert signal.reason == "your_turn", signal
    return signal


async def says(
    sdk: AgentMessaging[Word], agent: str, meeting: UUID, text: str | None, then: str | None = None, **options: Any
) -> None:
    """The agent speaks, or passes with None, and does not wait for its next turn."""
    message = None if text is None else Word(text=text)
    try:
        await sdk.meeting.speak(agent, meeting, message, then, 0, **options)
    except MeetingTimeoutError:
        return


async def speaks(sdk: AgentMessaging[Word], meeting: UUID, *agents: str) -> None:
    """They get their turns in this order, and each says its name."""
    for agent in agents:
        await turn_of(sdk, agent, meeting)
        await says(sdk, agent, meeting, agent)


async def speeches(sdk: AgentMessaging[Word], meeting: UUID) -> list[tuple[int, str, str]]:
    """What was said: turn, speaker, words."""
    history = await sdk.meeting.get_meeting_history(meeting)
    return [(entry.turn, entry.sender, entry.content.text) for entry in history if entry.sender and entry.content]


async def phase(sdk: AgentMessaging[Any], meeting: UUID, status: str) -> Any:
    """The status of the meeting once it is this one."""

    async def reached() -> Any:
        found = await sdk.meeting.get_meeting_status(meeting)
        return found if found.status == status else None

    return await eventually(reached)


async def comes_now(dsn: str, meeting: UUID, deadline: Literal["start_by", "deadline", "floor_deadline"]) -> float:
    """The time of a deadline that lies ahead has come; gives how many seconds away it was.

    A deadline that is near from the beginning would come before a slow machine is ready for it.
    """
    (row,) = await fetch(
        dsn,
        f"WITH ahead AS (SELECT id, {deadline} - clock_timestamp() AS left FROM meetings WHERE id = $1 FOR UPDATE)"  # noqa: S608
        f" UPDATE meetings m SET {deadline} = clock_timestamp() FROM ahead WHERE m.id = ahead.id"
        " RETURNING extract(epoch FROM ahead.left)::float",
        meeting,
    )
    assert row[0] > 0, f"{deadline} had come by itself"
    return row[0]


async def lets_go_by(dsn: str, meeting: UUID, *agents: str) -> None:
    """They get the floor in this order, and the time of each runs out."""
    sql = """
        UPDATE meetings SET floor_deadline = clock_timestamp()
        WHERE id = $1 AND floor_deadline > clock_timestamp()
          AND holder_id = (SELECT id FROM agents WHERE external_id = $2)
        RETURNING turn
    """
    for agent in agents:
        await eventually(lambda agent=agent: fetch(dsn, sql, meeting, agent))


async def contents(dsn: str) -> dict[str, str]:
    """Every row of every table, without what merely says that somebody is there."""
    tables = await fetch(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    presence = "'last_seen_at', 'last_call_at'"
    found: dict[str, str] = {}
    for (table,) in tables:
        rows = await fetch(dsn, f"SELECT to_jsonb(t) - ARRAY[{presence}] FROM {table} t ORDER BY 1")  # noqa: S608
        found[table] = json.dumps([row[0] for row in rows])
    return {table: rows for table, rows in found.items() if table not in ("processes", "attachments")}
