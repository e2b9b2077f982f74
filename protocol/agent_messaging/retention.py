"""Retention: what is old, read and settled is removed, a small transaction at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from agent_messaging.config import LONGEST
from agent_messaging.engine import Engine
from agent_messaging.errors import InvalidArgumentError
from agent_messaging.models import Pruned
from agent_messaging_db import retention
from agent_messaging_db.pool import Connection

Result = TypeVar("Result")

LEAST = 86_400.0  # seconds: for so long a key gives its first result, which has to be there
MESSAGES = 1_000  # walked in one transaction
MEETINGS = 5  # whole ones, however much was said in them
PAUSE = 0.05  # seconds between two transactions, for everybody else
CLOCKS_APART = 86_400.0  # seconds by which a sender's clock, whose time is in its ids, may be ahead

_FIRST = UUID(int=0)


class Retention:
    """Removes what nobody will ask for again. Each batch stands for itself: stopped anywhere, nothing is half gone."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine

    async def prune(
        self, older_than: float, *, dry_run: bool = False, progress: Callable[[Pruned], None] | None = None
    ) -> Pruned:
        """See AgentMessaging.prune."""
        await self._engine.ready()
        seconds = _checked_age(older_than)
        before = await self._engine.read(lambda connection: retention.cutoff(connection, seconds=seconds))
        done = Pruned(older_than=before)
        for part in (self._messages, self._meetings) if dry_run else (self._messages, self._meetings, self._sessions):
            done = await part(done, dry_run, progress or _nobody)
        return done

    async def _messages(self, done: Pruned, dry_run: bool, progress: Callable[[Pruned], None]) -> Pruned:
        before, after = done.older_than, _FIRST
        until = _first_id_of(before)
        while True:
            batch = await self._batch(
                lambda connection, after=after: retention.prune_messages(
                    connection, after=after, until=until, before=before, limit=MESSAGES, only_count=dry_run
                )
            )
            if batch.last is None:
                return done
            after = batch.last
            done = done.model_copy(
                update={"messages": done.messages + batch.messages, "questions": done.questions + batch.questions}
            )
            progress(done)
            await asyncio.sleep(PAUSE)

    async def _meetings(self, done: Pruned, dry_run: bool, progress: Callable[[Pruned], None]) -> Pruned:
        before, after = done.older_than, 0
        while True:
            batch = await self._batch(
                lambda connection, after=after: retention.prune_meetings(
                    connection, after=after, before=before, limit=MEETINGS, only_count=dry_run
                )
            )
            if batch.last is None:
                return done
            after = batch.last
            done = done.model_copy(
                update={"meetings": done.meetings + batch.meetings, "events": done.events + batch.events}
            )
            progress(done)
            await asyncio.sleep(PAUSE)

    async def _sessions(self, done: Pruned, _dry_run: bool, progress: Callable[[Pruned], None]) -> Pruned:
        before, after = done.older_than, _FIRST
        while True:
            batch = await self._batch(
                lambda connection, after=after: retention.prune_sessions(
                    connection, after=after, before=before, limit=MESSAGES
                )
            )
            if batch.last is None:
                return done
            after = batch.last
            done = done.model_copy(update={"sessions": done.sessions + batch.sessions})
            progress(done)
            await asyncio.sleep(PAUSE)

    async def _batch(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        # One statement is one transaction. Made again after an outage it finds less to remove, and counts only that.
        return await self._engine.read(work)


def _checked_age(seconds: object) -> float:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not LEAST <= seconds <= LONGEST:
        raise InvalidArgumentError(
            f"older_than is a number of seconds, {LEAST:.0f} (a day) or more, not {str(seconds)[:40]!r}: for a day, an "
            "idempotency key still gives its first result"
        )
    return float(seconds)


def _first_id_of(moment: datetime) -> UUID:
    """Give an id that is larger than that of any message sent before the moment, by any clock."""
    return UUID(int=int((moment.timestamp() + CLOCKS_APART) * 1000) << 80)


def _nobody(_: Pruned) -> None:
    return
