"""P10: whether what is done every day stays as fast in a database with millions of messages."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import asyncpg

from agent_messaging import AgentMessaging
from benchmarks.floor import BODY
from benchmarks.ground import Ground, Round, opened
from benchmarks.timing import medians_ms

SMALL = 10_000
ACTIVE = 50
"""Pairs that have talked lately; the others have not for long."""
RECENT = 100
"""Messages of each active pair, the newest of all, the last `UNREAD` of them unread."""
UNREAD = 40
PAGE = 20

Step: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

AGENTS = """
INSERT INTO organizations (id, external_id, name) SELECT gen_random_uuid(), 'bench', 'Bench';
INSERT INTO agents (id, external_id, organization_id, name)
SELECT gen_random_uuid(), role || number, o.id, role || number
FROM organizations o, unnest(ARRAY['writer', 'reader']) AS role, generate_series(0, {last}) AS number;
INSERT INTO pairs (low_id, high_id, last_seq)
SELECT least(w.id, r.id), greatest(w.id, r.id), 0
FROM agents w JOIN agents r ON r.external_id = 'reader' || substr(w.external_id, 7) WHERE w.external_id LIKE 'writer%';
INSERT INTO sessions (id, pair_id, low_id, high_id, type)
SELECT gen_random_uuid(), id, low_id, high_id, 'async' FROM pairs;
"""
# Messages {first} to {last} of each of the pairs {pairs}, in turns: those of one pair are scattered over the table.
MESSAGES = """
WITH talking AS MATERIALIZED (
    SELECT p.id AS pair_id, s.id AS session_id, w.id AS writer, r.id AS reader
    FROM generate_series({pairs}) AS number
    JOIN agents w ON w.external_id = 'writer' || number JOIN agents r ON r.external_id = 'reader' || number
    JOIN pairs p ON p.low_id = least(w.id, r.id) AND p.high_id = greatest(w.id, r.id)
    JOIN sessions s ON s.pair_id = p.id
), stored AS (
    INSERT INTO messages (id, pair_id, seq, session_id, sender_id, recipient_id, kind, content, created_at)
    SELECT uuidv7(), pair_id, seq, session_id, writer, reader, 'async', to_json(repeat('x', 300))::text,
           clock_timestamp()
    FROM generate_series({first}, {last}) AS seq, talking ORDER BY seq
    RETURNING id, sender_id, recipient_id, seq
)
INSERT INTO deliveries (message_id, recipient_id, sender_id, kind, read_at)
SELECT id, recipient_id, sender_id, 'async', CASE WHEN seq <= {read} THEN clock_timestamp() END FROM stored ORDER BY seq
"""
KNOWN = "UPDATE pairs p SET last_seq = $1, async_session = s.id FROM sessions s WHERE s.pair_id = p.id"


@asynccontextmanager
async def growth(ground: Ground) -> AsyncGenerator[Round]:
    large, small = ground.scale.messages, min(SMALL, ground.scale.messages // 2)
    against = f"with {large:,} messages, p50, against {small:,}"
    names = ("send", "unread page", "history page")
    active = {name: ground.figure("P10", f"{name}, active conversations, {against}", "ms", 1.3) for name in names}
    uniform = {name: ground.figure("", f"{name}, any conversation, {against}", "ms") for name in names[::2]}
    async with AsyncExitStack() as stack:
        sides: list[Side] = []
        for name, messages in (("small", small), ("large", large)):
            dsn = await ground.database(f"growth_{name}")
            pairs = await fill(dsn, messages)
            sides.append(Side(await stack.enter_async_context(opened(dsn)), pairs))
        for side in sides:
            await side.warm()

        async def once() -> None:
            times = ground.scale.calls(200)
            for name, figure in active.items():
                floor, ours = (side.step(name, ACTIVE) for side in sides)
                figure.add(*await medians_ms(floor, ours, times))
            for name, figure in uniform.items():
                floor, ours = (side.step(name, side.pairs) for side in sides)
                figure.add(*await medians_ms(floor, ours, times))

        yield once


async def fill(dsn: str, messages: int) -> int:
    """Fill the database; gives how many pairs talk in it."""
    pairs = max(messages // RECENT, ACTIVE)
    database: asyncpg.Connection[Any] = await asyncpg.connect(dsn)
    try:
        await database.execute(AGENTS.format(last=pairs - 1))
        # In portions, so that no statement holds millions of rows.
        for first in range(1, RECENT + 1, 10):
            others = MESSAGES.format(pairs=f"{ACTIVE}, {pairs - 1}", first=first, last=first + 9, read=RECENT)
            await database.execute(others, timeout=600)
        recent = MESSAGES.format(pairs=f"0, {ACTIVE - 1}", first=1, last=RECENT, read=RECENT - UNREAD)
        await database.execute(recent, timeout=600)
        await database.execute(KNOWN, RECENT, timeout=600)
        for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
            await database.execute(statement, timeout=600)
    finally:
        await database.close()
    return pairs


class Side:
    """One of the two databases."""

    def __init__(self, sdk: AgentMessaging[Any], pairs: int) -> None:
        self._sdk = sdk
        self.pairs = pairs
        self._any = random.Random(7)

    async def warm(self) -> None:
        """Every active conversation has been used lately; that is what active means."""
        for number in range(ACTIVE):
            for step in (self._send, self._unread, self._history):
                await step(number)

    def step(self, name: str, pairs: int) -> Step:
        """Do it in one conversation after the other of the first `pairs`, in no order."""
        do = {"send": self._send, "unread page": self._unread, "history page": self._history}[name]
        if pairs == ACTIVE:
            numbers = itertools.cycle(range(ACTIVE))
            return lambda: do(next(numbers))
        return partial(self._anywhere, do)

    async def _anywhere(self, do: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        await do(self._any.randrange(self.pairs))

    async def _send(self, number: int) -> None:
        await self._sdk.async_conversation.send(f"writer{number}", f"reader{number}", BODY)

    async def _unread(self, number: int) -> None:
        page = await self._sdk.async_conversation.get_unread(f"reader{number}", limit=PAGE)
        assert len(page) == PAGE, "the page is not full"

    async def _history(self, number: int) -> None:
        page = await self._sdk.async_conversation.get_conversation(
            f"writer{number}", f"reader{number}", after_seq=RECENT - PAGE - 10, limit=PAGE
        )
        assert len(page) == PAGE, "the page is not full"
