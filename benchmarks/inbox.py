"""P15: the first page of a very full inbox."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg

from benchmarks.ground import Ground, Round, opened
from benchmarks.timing import medians_ms

PAGE = 20
SMALL = 100
HOLES = 2_000

# $3 messages from a writer to a reader, as if they had been sent one after the other; `read` says which have been read.
FILL = """
WITH pair AS (
    INSERT INTO pairs (low_id, high_id, last_seq, async_session)
    VALUES (least($1::uuid, $2), greatest($1::uuid, $2), $3, gen_random_uuid()) RETURNING id, async_session
), session AS (
    INSERT INTO sessions (id, pair_id, low_id, high_id, type)
    SELECT async_session, id, least($1::uuid, $2), greatest($1::uuid, $2), 'async' FROM pair RETURNING id, pair_id
), stored AS (
    INSERT INTO messages (id, pair_id, seq, session_id, sender_id, recipient_id, kind, content, created_at)
    SELECT uuidv7(), pair_id, seq, id, $1, $2, 'async', to_json(repeat('x', 300))::text, clock_timestamp()
    FROM session, generate_series(1, $3::bigint) AS seq ORDER BY seq RETURNING id, seq
)
INSERT INTO deliveries (message_id, recipient_id, sender_id, kind, read_at)
SELECT id, $2, $1, 'async', CASE WHEN {read} THEN clock_timestamp() END FROM stored ORDER BY seq
"""


@asynccontextmanager
async def inbox(ground: Ground) -> AsyncGenerator[Round]:
    large = ground.scale.inbox
    kinds = {
        "small": (SMALL, "false"),
        "unread": (large, "false"),
        "read": (large, f"seq <= {large - SMALL}"),
        "holes": (large, f"seq <= {HOLES} AND seq % 2 = 0"),
    }
    floor = f"against an inbox of {SMALL}"
    figures = {
        "unread": ground.figure("P15", f"first page of {PAGE} of {large:,} unread messages, {floor}", "ms", 1.5),
        "read": ground.figure(
            "P15", f"first page of {PAGE} behind {large - SMALL:,} read messages, {floor}", "ms", 1.5
        ),
        "holes": ground.figure("P15", f"the same with every second of the first {HOLES:,} read, {floor}", "ms", 2.0),
    }
    dsn = await ground.database("inbox")
    async with opened(dsn) as sdk:
        await sdk.register_organization("bench", "Bench")
        writer = await sdk.register_agent("writer", "bench", "Writer")
        database = await asyncpg.connect(dsn)
        for name, (count, read) in kinds.items():
            reader = await sdk.register_agent(name, "bench", name)
            await database.execute(FILL.format(read=read), writer, reader, count, timeout=300)
        await database.execute("VACUUM ANALYZE")
        await database.close()

        async def page(name: str) -> None:
            messages = await sdk.async_conversation.get_unread(name, limit=PAGE)
            assert len(messages) == PAGE, "the page is not full"

        async def once() -> None:
            for name, figure in figures.items():
                figure.add(*await medians_ms(partial(page, "small"), partial(page, name), ground.scale.calls(100)))

        yield once
