"""Held waits: how long a call is kept open, what is reported meanwhile, and what ends it early: the end of
the process, or the client's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from mcp.server.mcpserver.context import Context

from agent_messaging_mcp.limits import Open

T = TypeVar("T")

LONGEST_WAIT = 86_400.0
GONE = "agent_messaging.gone"
"""In the scope of an HTTP request: a future that is done once nobody reads its response any more."""
LEAVE = "agent_messaging.leave"
"""In the scope of an HTTP request that others of its agent queue behind: `leave()` lets the next one in."""
_LEAST_HOLD = 1.0


class Stopping(Exception):
    """The server is about to exit: this wait ends like a window that ends."""


class ClientGone(Exception):
    """Nobody would read the result: this wait ends, and nothing counts as shown."""


class Waits:
    """The held waits of one server process. Each is one task: what may end it is a future, and its progress a timer."""

    def __init__(self, *, longest: float, progress_interval: float, most_per_agent: int = 16) -> None:
        self.longest = longest
        self.open = Open(most_per_agent)
        self.stopping = asyncio.Event()
        self._progress_interval = progress_interval
        self._ends: set[asyncio.Future[None]] = set()

    def stop(self) -> None:
        """End every held wait now, and every later one as soon as what it waits for has been recorded."""
        self.stopping.set()
        for end in self._ends:
            _set(end)

    def window(self, seconds: float) -> float:
        """How long a wait of `seconds` is held inside its call."""
        return min(max(seconds, 0.0), self.longest)

    async def hold(
        self, context: Context[Any, Any], agent: str, seconds: float, wait: Callable[[float], Awaitable[T]]
    ) -> T:
        """`wait(window)`, with progress reported while it lasts.

        Cancelling the call cancels the wait. Raises `Stopping` when the process is about to exit,
        `ClientGone` when the client has, `TooManyOpen` before anything was done.
        """
        window = self.window(seconds)
        if window == 0:
            return await wait(0)
        with self.open.one(agent):
            leave_gate(context.request_context.request)
            progress = _Progress(context, window, self._progress_interval)
            try:
                return await self._unless_ended(wait(window), _gone(context))
            finally:
                progress.end()

    async def _unless_ended(self, wait: Awaitable[T], gone: asyncio.Future[None] | None) -> T:
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = asyncio.ensure_future(wait)
        end = loop.create_future()
        self._ends.add(end)
        if self.stopping.is_set():
            _set(end)
        if gone is not None:
            gone.add_done_callback(lambda _: _set(end))
        try:
            await asyncio.wait((waiting, end), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                # What is recorded first (a question, a speech) is recorded within this time, or may have
                # been.
                left = began + _LEAST_HOLD - loop.time()
                await asyncio.wait((waiting,), timeout=max(left, 0))
            if gone is not None and gone.done():
                raise ClientGone
            if not waiting.done():
                raise Stopping
            return waiting.result()
        finally:
            self._ends.discard(end)
            waiting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await waiting


class _Progress:
    """Tells the client, now and then, that its call is still held."""

    __slots__ = ("_context", "_interval", "_passed", "_sending", "_timer", "_window")

    def __init__(self, context: Context[Any, Any], window: float, interval: float) -> None:
        self._context = context
        self._window = window
        self._interval = interval
        self._passed = 0.0
        self._sending: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(interval, self._due)

    def end(self) -> None:
        self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()

    def _due(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._due)
        self._passed += self._interval
        if self._sending is None or self._sending.done():  # else the client does not read
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        left = round(self._window - self._passed)
        # The SDK drops it for a client that did not ask for it.
        with suppress(Exception):
            await self._context.report_progress(self._passed, self._window, f"waiting, {left} s left")


def leave_gate(request: Any) -> None:
    """Let the next request of the agent be served: this one is about to do nothing but wait. None came over HTTP."""
    if request is not None and (leave := request.scope.get(LEAVE)) is not None:
        leave()


def _gone(context: Context[Any, Any]) -> asyncio.Future[None] | None:
    # In the 2025 era the SDK lets a call run on when its client's connection breaks, so it is looked for here.
    request = context.request_context.request
    return None if request is None else request.scope.get(GONE)


def _set(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)
