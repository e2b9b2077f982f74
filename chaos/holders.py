"""Who has the floor of which meeting, as the database knows it: what a fault is aimed with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from agent_messaging.identifiers import HandleKind, handle

_LONGEST = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """A turn whose holder has seen that it is its own."""

    meeting: int
    turn: int
    agent: str

    @property
    def facts(self) -> dict[str, Any]:
        """The same, as a history says it."""
        return {"meeting": handle(HandleKind.MEETING, self.meeting), "turn": self.turn, "agent": self.agent}


async def held_by(database: asyncpg.Connection[Any], agents: Sequence[str]) -> list[Held]:
    """The turns that these agents have now."""
    rows = await database.fetch(
        "SELECT m.number, m.turn, a.external_id FROM meetings m JOIN agents a ON a.id = m.holder_id"
        " WHERE m.phase = 'active' AND m.floor = 'seen' AND a.external_id = ANY ($1)",
        list(agents),
    )
    return [Held(*row) for row in rows]


async def have_passed(database: asyncpg.Connection[Any], held: Sequence[Held]) -> bool:
    """Wait until all of these turns have passed, for a while; says whether they have."""
    give_up_at = time.monotonic() + _LONGEST
    while time.monotonic() < give_up_at:
        left = await database.fetchval(
            "SELECT count(*) FROM meetings m JOIN unnest($1::bigint[], $2::int[]) AS held (number, turn)"
            " ON held.number = m.number AND held.turn = m.turn WHERE m.phase = 'active'",
            [one.meeting for one in held],
            [one.turn for one in held],
        )
        if not left:
            return True
        await asyncio.sleep(0.03)
    return False
