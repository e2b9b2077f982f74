"""The floors: what a competent engineer would write by hand on bare asyncpg, with nothing of the product's promises."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

BODY = "x" * 300

_numbers = itertools.count(1)

SCHEMA = """
CREATE TABLE floor_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sender text, recipient text, content text,
    created_at timestamptz NOT NULL DEFAULT now(), read_at timestamptz
);
CREATE TABLE floor_questions (id bigint PRIMARY KEY, content text, answer text, read_at timestamptz);
"""


async def prepare(dsn: str) -> None:
    """Create the tables of the floors."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(SCHEMA)
    await connection.close()


class Inserts:
    """Floor (a): one row, one commit."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def send(self, sender: str, recipient: str) -> None:
        await self._pool.execute(
            "INSERT INTO floor_messages (sender, recipient, content) VALUES ($1, $2, $3)", sender, recipient, BODY
        )


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


class Answers:
    """Floor (e): durable questions and answers over coalescing writers; `by_notify`: woken by NOTIFY, else by hand.

    A round trip is two durable writes, a fetch of the question and one of the answer.
    """

    def __init__(self, pool: asyncpg.Pool[Any], *, by_notify: bool) -> None:
        self._pool = pool
        self._by_notify = by_notify
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._ask = Batches(self._insert)
        self._answer = Batches(self._update)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncpg.Connection[Any] | None = None

    async def start(self, dsn: str) -> None:
        if self._by_notify:
            self._listener = await asyncpg.connect(dsn)
            await self._listener.add_listener("floor_answers", self._heard)

    async def stop(self) -> None:
        if self._listener is not None:
            await self._listener.close()

    async def ask(self) -> None:
        """One round trip."""
        number = next(_numbers)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[number] = answered
        await self._ask((number, BODY))
        if not self._by_notify:
            self._handle(number)
        await answered
        await self._pool.fetchrow("SELECT answer FROM floor_questions WHERE id = $1", number)

    def _handle(self, number: int) -> None:
        task = asyncio.create_task(self._reply(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, number: int) -> None:
        await self._pool.fetchrow("SELECT content FROM floor_questions WHERE id = $1", number)
        await self._answer((number, BODY))
        if not self._by_notify:
            self._asked.pop(number).set_result(None)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        kind, _, numbers = str(payload).partition(":")
        for number in map(int, numbers.split(",")):
            if kind == "q":
                self._handle(number)
            else:
                self._asked.pop(number).set_result(None)

    async def _insert(self, rows: list[Any]) -> None:
        columns = [list(column) for column in zip(*rows, strict=True)]
        await self._pool.execute(
            "INSERT INTO floor_questions (id, content) SELECT * FROM unnest($1::bigint[], $2::text[])", *columns
        )
        await self._tell("q", columns[0])

    async def _update(self, rows: list[Any]) -> None:
        columns = [list(column) for column in zip(*rows, strict=True)]
        await self._pool.execute(
            "UPDATE floor_questions q SET answer = n.answer FROM unnest($1::bigint[], $2::text[]) AS n (id, answer)"
            " WHERE q.id = n.id",
            *columns,
        )
        await self._tell("a", columns[0])

    async def _tell(self, kind: str, numbers: list[int]) -> None:
        if self._by_notify:
            payload = f"{kind}:{','.join(map(str, numbers))}"
            await self._pool.execute("SELECT pg_notify('floor_answers', $1)", payload)


class PingPong:
    """Floor (d): a durable insert and a NOTIFY there, a NOTIFY back."""

    def __init__(self) -> None:
        self._here: asyncpg.Connection[Any]
        self._there: asyncpg.Connection[Any]
        self._back: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, dsn: str) -> None:
        self._here, self._there = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
        await self._here.add_listener("floor_pong", self._pong)
        await self._there.add_listener("floor_ping", self._ping)

    async def stop(self) -> None:
        await self._here.close()
        await self._there.close()

    async def round(self) -> None:
        self._back = asyncio.get_running_loop().create_future()
        await self._here.execute("INSERT INTO floor_messages (content) VALUES ($1)", BODY)
        await self._here.execute("SELECT pg_notify('floor_ping', '')")
        await self._back

    def _ping(self, *_: object) -> None:
        task = asyncio.create_task(self._there.execute("SELECT pg_notify('floor_pong', '')"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _pong(self, *_: object) -> None:
        if self._back is not None and not self._back.done():
            self._back.set_result(None)
