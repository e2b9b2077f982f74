"""The lease of this process: renewed from a thread with a connection of its own, so that a blocked event loop
does not lose it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from uuid import UUID

from agent_messaging_db import presence
from agent_messaging_db.pool import connect

logger = logging.getLogger("agent_messaging.lease")


class Lease:
    """Keeps the row of process `process` alive. `locate` gives the address of the database from any thread."""

    def __init__(self, locate: Callable[[], str], *, process: UUID, seconds: float) -> None:
        self._locate = locate
        self._process = process
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], object] | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="agent-messaging lease", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop renewing; the row is left to whoever closes the process."""
        self._stopping.set()
        if self._wake is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended by itself
                self._wake()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5)

    def _run(self) -> None:
        asyncio.run(self._renew_for_ever())

    async def _renew_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(stop.set)
        while not self._stopping.is_set():
            try:
                await self._renew(stop)
            except Exception as error:
                # Whatever it was, only trying again keeps the claims of this process.
                logger.info("the lease could not be renewed (%s); trying again", type(error).__name__)
                await _pause(stop, self._seconds / 20)

    async def _renew(self, stop: asyncio.Event) -> None:
        connection = await connect(self._locate(), server_settings={"application_name": "agent-messaging lease"})
        try:
            while not self._stopping.is_set():
                await asyncio.wait_for(
                    presence.renew_lease(connection, process=self._process, seconds=self._seconds),
                    self._seconds / 3,
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._seconds / 4)
        finally:
            connection.terminate()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, unless told to stop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
