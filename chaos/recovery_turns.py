"""Every process dies while turns are held, one is started: how long after its deadline each turn has passed."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from agent_messaging import AgentMessaging, Config, MeetingTimeoutError
from chaos.grounds import Ground
from chaos.processes import Server, server
from chaos.recovery_group import ORGANIZATION, PEER, python_program, ready
from chaos.recovery_lines import HttpLine, Line, ProcessLine, http_client

HOLDER = "holder"
SHORTEST, LONGEST = 3.0, 4.0
"""Seconds that a turn lasts: where the machine is not busy, a process starts meanwhile."""
_BOUND = 60.0
_LOOK_AGAIN = 0.02


@dataclass(frozen=True)
class Passed:
    """A turn that was held, or only offered, when every process died, and how long after its deadline it passed.

    `process_late` is how long after that deadline there was a process again: 0 unless starting took longer than the
    turn had left. Both are in seconds; `late` is `inf` for a turn that did not pass.
    """

    offered: bool
    late: float
    process_late: float


@dataclass(frozen=True)
class _Held:
    meeting: UUID
    offered: bool
    turn: int
    due_at: float


async def turns(ground: Ground, directory: Path, *, cycles: int, each: int, rng: random.Random) -> list[Passed]:
    """Kill all and start one, `cycles` times with `each` turns held: a server, a Python program, in turn."""
    token = await _register(ground)
    passed: list[Passed] = []
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(http_client())
        served, program = server("alone", ground.dsn, directory), python_program({"DATABASE_URL": ground.dsn})
        for process in (served, program):
            stack.push_async_callback(process.kill)
        running: tuple[Server | ProcessLine, Line] = served, HttpLine(http, lambda: served.address, token)
        other: tuple[Server | ProcessLine, Line] = program, program
        await _start(running[0])
        for _ in range(cycles):
            held = await _hold(ground, running[1], each, rng)
            await running[0].kill()
            watching = [asyncio.create_task(_passes(ground, one)) for one in held]
            try:
                await _start(other[0])
                started_at = time.monotonic()
                for one, task in zip(held, watching, strict=True):
                    late = await task - one.due_at
                    passed.append(Passed(one.offered, late, max(0.0, started_at - one.due_at)))
            finally:
                for task in watching:
                    task.cancel()
            running, other = other, running
    return passed


async def _start(process: Server | ProcessLine) -> None:
    await process.start()
    await (process.ready() if isinstance(process, Server) else ready(process))


def _here(ground: Ground) -> AgentMessaging[Any]:
    return AgentMessaging[Any](Config(database_url=SecretStr(ground.dsn)))


async def _register(ground: Ground) -> str:
    """Give the token of the agent that holds turns."""
    async with _here(ground) as sdk:
        await sdk.register_organization(ORGANIZATION, ORGANIZATION, exist_ok=True)
        for name in (PEER, HOLDER):
            await sdk.register_agent(name, ORGANIZATION, name, exist_ok=True)
        return (await sdk.tokens.create(HOLDER)).token


async def _hold(ground: Ground, line: Line, each: int, rng: random.Random) -> list[_Held]:
    """Have turns held by way of the one process there is; every third one is offered there, and not seen yet.

    What of it is done here is over, and this process out of the way, when it returns.
    """
    meetings: list[tuple[UUID, bool]] = []
    async with _here(ground) as sdk:
        for number in range(each):
            seconds, offered = rng.uniform(SHORTEST, LONGEST), number % 3 == 2
            meeting = await sdk.meeting.create_meeting(PEER, [HOLDER], seconds, offer_timeout=seconds)
            with suppress(MeetingTimeoutError):
                await sdk.meeting.attend_meeting(HOLDER, meeting, 0)
            await sdk.meeting.start_meeting(PEER, meeting, "Welcome.", HOLDER)
            if not offered:
                handle = (await sdk.meeting.get_meeting_status(meeting)).handle
                given = {"meeting": handle, "wait_seconds": 30}
                if isinstance(line, ProcessLine):
                    given |= {"agent": HOLDER, "meeting_id": str(meeting)}
                await line.call("attend_meeting", given, held=lambda: None)
            meetings.append((meeting, offered))
    return await _due(ground, meetings)


async def _due(ground: Ground, meetings: Sequence[tuple[UUID, bool]]) -> list[_Held]:
    held: list[_Held] = []
    async with ground.connection() as connection:
        for meeting, offered in meetings:
            row = await connection.fetchrow(
                "SELECT turn, floor, extract(epoch FROM floor_deadline - clock_timestamp())::float8 AS left"
                " FROM meetings WHERE id = $1",
                meeting,
            )
            if row is None or row["floor"] != ("offered" if offered else "seen"):
                raise RuntimeError(f"the turn is not held as it should be: {row}")
            held.append(_Held(meeting, offered, row["turn"], time.monotonic() + row["left"]))
    return held


async def _passes(ground: Ground, held: _Held) -> float:
    """Give when the turn has passed, or `inf`."""
    async with ground.connection() as connection:
        while time.monotonic() < held.due_at + _BOUND:
            if await connection.fetchval("SELECT turn <> $2 FROM meetings WHERE id = $1", held.meeting, held.turn):
                return time.monotonic()
            await asyncio.sleep(_LOOK_AGAIN)
    return math.inf
