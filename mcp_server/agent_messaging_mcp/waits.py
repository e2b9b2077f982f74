"""Held waits: how long a call is kept open, what is reported meanwhile, and how the end of the process ends
it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from mcp.server.mcpserver.context import Context

T = TypeVar("T")

LONGEST_WAIT = 86_400.0
_LEAST_HOLD = 1.0


class Stopping(Exception):
    """The server is about to exit: this wait ends like a window that ends."""


class Waits:
    """The held waits of one server process."""

    def __init__(self, *, longest: float, progress_interval: float) -> None:
        self.longest = longest
        self._progress_interval = progress_interval
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End every held wait now, and every later one as soon as what it waits for has been recorded."""
        self._stopping.set()

    def window(self, seconds: float) -> float:
        """How long a wait of `seconds` is held inside its call."""
        return min(max(seconds, 0.0), self.longest)

    async def hold(self, context: Context[Any, Any], seconds: float, wait: Callable[[float], Awaitable[T]]) -> T:
        """`wait(window)`, with progress reported while it lasts.

        Cancelling the call cancels the wait. Raises `Stopping` when the process is about to exit.
        """
        window = self.window(seconds)
        if window == 0:
            return await wait(0)
        async with self._reported(context, window):
            return await self._unless_stopping(wait(window))

    async def _unless_stopping(self, wait: Awaitable[T]) -> T:
        waiting = asyncio.ensure_future(wait)
        stopping = asyncio.ensure_future(self._stopping.wait())
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                # What is recorded first (a question, a speech) is recorded within this time, or may have
                # been.
                left = began + _LEAST_HOLD - asyncio.get_running_loop().time()
                await asyncio.wait((waiting,), timeout=max(left, 0))
            if not waiting.done():
                raise Stopping
            return waiting.result()
        finally:
            stopping.cancel()
            waiting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await waiting

    @asynccontextmanager
    async def _reported(self, context: Context[Any, Any], window: float) -> AsyncGenerator[None]:
        async def report() -> None:
            # The SDK drops it for a client that did not ask for it.
            passed = 0.0
            while True:
                await asyncio.sleep(self._progress_interval)
                passed += self._progress_interval
                with suppress(Exception):
                    await context.report_progress(passed, window, f"waiting, {round(window - passed)} s left")

        reporting = asyncio.create_task(report())
        try:
            yield
        finally:
            reporting.cancel()
            with suppress(asyncio.CancelledError):
                await reporting
