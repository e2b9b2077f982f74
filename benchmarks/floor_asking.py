"""The floors of asking: durable questions and answers by hand, in one process or between two.

A round trip is two durable writes, a fetch of the question and one of the answer.
`python -m benchmarks.floor_asking DSN` answers for another process until its input ends.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncpg

from benchmarks.floor import BODY, Batches


class Answers:
    """Floor (e): both sides over coalescing writers, woken by one NOTIFY a batch, or by hand-over in the process.

    `asks` and `answers` say which sides are here; a process that only answers is `serve`.
    """

    def __init__(self, pool: asyncpg.Pool[Any], *, by_notify: bool, asks: bool = True, answers: bool = True) -> None:
        self._pool = pool
        self._by_notify = by_notify
        self._asks = asks
        self._answers = answers
        self._numbers = 0
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._ask = Batches(self._insert)
        self._answer = Batches(self._update)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncpg.Connection[Any] | None = None

    async def start(self, dsn: str) -> None:
        # A block of numbers of its own: no round trip for an id.
        self._numbers = await self._pool.fetchval("SELECT nextval('floor_question_ids')") * 10_000_000
        if self._by_notify:
            self._listener = await asyncpg.connect(dsn)
            if self._answers:
                await self._listener.add_listener("floor_q", self._heard_questions)
            if self._asks:
                await self._listener.add_listener("floor_a", self._heard_answers)

    async def stop(self) -> None:
        if self._listener is not None:
            await self._listener.close()

    async def ask(self) -> None:
        """One round trip."""
        self._numbers += 1
        number = self._numbers
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
            self._settle(number)

    def _settle(self, number: int) -> None:
        if (asked := self._asked.pop(number, None)) is not None:
            asked.set_result(None)

    def _heard_questions(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        for number in map(int, str(payload).split(",")):
            self._handle(number)

    def _heard_answers(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        for number in map(int, str(payload).split(",")):
            self._settle(number)

    async def _insert(self, rows: list[Any]) -> None:
        columns = [list(column) for column in zip(*rows, strict=True)]
        await self._pool.execute(
            "INSERT INTO floor_questions (id, content) SELECT * FROM unnest($1::bigint[], $2::text[])", *columns
        )
        await self._tell("floor_q", columns[0])

    async def _update(self, rows: list[Any]) -> None:
        columns = [list(column) for column in zip(*rows, strict=True)]
        await self._pool.execute(
            "UPDATE floor_questions q SET answer = n.answer FROM unnest($1::bigint[], $2::text[]) AS n (id, answer)"
            " WHERE q.id = n.id",
            *columns,
        )
        await self._tell("floor_a", columns[0])

    async def _tell(self, channel: str, numbers: list[int]) -> None:
        if self._by_notify:
            await self._pool.execute("SELECT pg_notify($1, $2)", channel, ",".join(map(str, numbers)))


class PlainAnswers(Answers):
    """The same in the manner of (b): each write is one function call that notifies in its own transaction."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        super().__init__(pool, by_notify=True)

    async def ask(self) -> None:
        self._numbers += 1
        number = self._numbers
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[number] = answered
        await self._pool.execute("SELECT floor_ask($1, $2)", number, BODY)
        await answered
        await self._pool.fetchrow("SELECT answer FROM floor_questions WHERE id = $1", number)

    async def _reply(self, number: int) -> None:
        await self._pool.fetchrow("SELECT content FROM floor_questions WHERE id = $1", number)
        await self._pool.execute("SELECT floor_answer($1, $2)", number, BODY)


async def serve(dsn: str) -> None:
    """Answer until standard input ends."""
    async with asyncpg.create_pool(dsn, min_size=8, max_size=8) as pool:
        answers = Answers(pool, by_notify=True, asks=False)
        await answers.start(dsn)
        print("answering", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await answers.stop()


if __name__ == "__main__":
    from benchmarks.loop import run

    run(serve(sys.argv[1]))
