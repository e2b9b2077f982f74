"""The floor of waking: a durable insert and a NOTIFY there and back."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from benchmarks.floor import BODY


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
