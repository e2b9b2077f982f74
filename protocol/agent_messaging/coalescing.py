"""Coalesced statements: whatever arrives while one is under way goes out together as the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from agent_messaging_db import sync_points
from agent_messaging_db.errors import Conflict
from agent_messaging_db.sync_points import SyncPoint

Row = TypeVar("Row")
Result = TypeVar("Result")


class Coalescer(Generic[Row, Result]):
    """Turns single calls into batches without a timer: a lone call goes out at once.

    `flush` does a batch in one statement and gives one result a row, in order. If it raises Conflict, nothing
    of the batch was done: then the rows are done one by one, so that a bad one harms only itself.
    `apart(row)` is what two rows of one batch must not have in common. A call that is cancelled while its row
    still queues takes it back; later the row goes out all the same, and `undo`, if there is one, gets its
    result.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Row]], Awaitable[Sequence[Result]]],
        *,
        limit: int = 400,
        apart: Callable[[Row], object] | None = None,
        undo: Callable[[Row, Result], None] | None = None,
    ) -> None:
        self._flush = flush
        self._limit = limit
        self._apart = apart
        self._undo = undo
        self._queue: deque[tuple[Row, asyncio.Future[Result]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    async def __call__(self, row: Row) -> Result:
        """Have the row done; raises what the flush raised for it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        entry = (row, future)
        self._enqueue(entry)
        try:
            # Not shielded, which would cost another future for each row: that this one is cancelled tells `_do` that
            # nobody waits any more.
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                with suppress(ValueError):
                    self._queue.remove(entry)
            elif future.exception() is None:
                self._abandoned(row, future.result())
            raise

    def soon(self, row: Row) -> None:
        """Have the row done without waiting for it; a failure is nobody's."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._enqueue((row, future))

    async def settled(self) -> None:
        """Wait until everything that was asked for is done."""
        while self._runner is not None and not self._runner.done():
            await asyncio.wait([self._runner])

    def _enqueue(self, entry: tuple[Row, asyncio.Future[Result]]) -> None:
        self._queue.append(entry)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name="agent-messaging coalescer")

    def _abandoned(self, row: Row, result: Result) -> None:
        if self._undo is not None:
            self._undo(row, result)

    def _batch(self) -> list[tuple[Row, asyncio.Future[Result]]]:
        batch: list[tuple[Row, asyncio.Future[Result]]] = []
        seen: set[object] = set()
        while self._queue and len(batch) < self._limit:
            if self._apart is not None and (key := self._apart(self._queue[0][0])) is not None:
                if key in seen:
                    break
                seen.add(key)
            batch.append(self._queue.popleft())
        return batch

    async def _run(self) -> None:
        while self._queue:
            batch = self._batch()
            try:
                await self._do(batch)
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise

    async def _do(self, batch: Sequence[tuple[Row, asyncio.Future[Result]]]) -> None:
        try:
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.BATCH_GOES)
            results = await self._flush([row for row, _ in batch])
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.BATCH_DONE)
        except Conflict as conflict:
            if len(batch) > 1:
                for entry in batch:
                    await self._do([entry])
                return
            _fail(batch, conflict)
        except Exception as error:
            # Each caller gets it; this task has nobody to raise it to.
            _fail(batch, error)
        else:
            for (row, future), result in zip(batch, results, strict=True):
                if future.cancelled():
                    self._abandoned(row, result)
                else:
                    future.set_result(result)


def _fail(batch: Sequence[tuple[object, asyncio.Future[Result]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
            # A caller that was cancelled does not come back for it.
            future.exception()
