"""The floors of sending: what one would write by hand on bare asyncpg, with none of the product's promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

BODY = "x" * 300

SCHEMA = """
CREATE TABLE floor_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sender text, recipient text, content text,
    created_at timestamptz NOT NULL DEFAULT now(), read_at timestamptz
);
CREATE SEQUENCE floor_question_ids;
CREATE TABLE floor_questions (id bigint PRIMARY KEY, content text, answer text, read_at timestamptz);

-- The simplest thing that works: look up both, insert, notify, in one transaction.
CREATE FUNCTION floor_send(p_sender text, p_recipient text, p_content text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
BEGIN
    PERFORM FROM agents WHERE external_id = p_sender;
    PERFORM FROM agents WHERE external_id = p_recipient;
    INSERT INTO floor_messages (sender, recipient, content) VALUES (p_sender, p_recipient, p_content)
    RETURNING id INTO v_id;
    PERFORM pg_notify('floor', v_id::text);
    RETURN v_id;
END $$;
CREATE FUNCTION floor_ask(p_id bigint, p_content text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO floor_questions (id, content) VALUES (p_id, p_content);
    PERFORM pg_notify('floor_q', p_id::text);
END $$;
CREATE FUNCTION floor_answer(p_id bigint, p_answer text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE floor_questions SET answer = p_answer WHERE id = p_id;
    PERFORM pg_notify('floor_a', p_id::text);
END $$;
"""


class Inserts:
    """Floor (a): one row, one commit."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def send(self, sender: str, recipient: str) -> None:
        await self._pool.execute(
            "INSERT INTO floor_messages (sender, recipient, content) VALUES ($1, $2, $3)", sender, recipient, BODY
        )


class Functions:
    """Floor (b): one function that looks up, inserts and notifies in one transaction."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def send(self, sender: str, recipient: str) -> None:
        await self._pool.execute("SELECT floor_send($1, $2, $3)", sender, recipient, BODY)


class Batches:
    """A hand-written coalescing runner: what arrives during a flush is the next flush."""

    def __init__(self, flush: Callable[[list[Any]], Awaitable[None]]) -> None:
        self._flush = flush
        self._rows: list[tuple[Any, asyncio.Future[None]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def __call__(self, row: Any) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rows.append((row, done))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        await done

    async def _run(self) -> None:
        while self._rows:
            batch, self._rows = self._rows[:400], self._rows[400:]
            await self._flush([row for row, _ in batch])
            for _, done in batch:
                done.set_result(None)


class Writer:
    """Floor (c): a coalescing writer, one multi-row INSERT and one NOTIFY for each batch."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self.send_row = Batches(self._flush)

    async def send(self, sender: str, recipient: str) -> None:
        await self.send_row((sender, recipient, BODY))

    async def _flush(self, rows: list[Any]) -> None:
        async with self._pool.acquire() as connection:
            await connection.execute(
                "INSERT INTO floor_messages (sender, recipient, content)"
                " SELECT * FROM unnest($1::text[], $2::text[], $3::text[])",
                *(list(column) for column in zip(*rows, strict=True)),
            )
            await connection.execute("SELECT pg_notify('floor', '')")
