"""Held waits: how long a call is kept open, what is reported meanwhile, and what ends it early: the end of
the process, or the client's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from mcp.server.mcpserver.context import Context
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params

from agent_messaging_mcp.limits import Open

T = TypeVar("T")

LONGEST_WAIT = 86_400.0
GONE = "agent_messaging.gone"
"""In the scope of an HTTP request: a `Gone`, which tells once nobody reads its response any more."""
LEAVE = "agent_messaging.leave"
"""In the scope of an HTTP request that others of its agent queue behind: `leave()` lets the next one in."""
_LEAST_HOLD = 1.0


class Stopping(Exception):
    """The server is about to exit: this wait ends like a window that ends."""


class ClientGone(Exception):
    """Nobody would read the result: this wait ends, and nothing counts as shown."""


class Gone:
    """Whether nobody reads the response of an HTTP request any more; `tell` is called when that comes to be so."""

    __slots__ = ("is_so", "tell")

    def __init__(self) -> None:
        self.is_so = False
        self.tell: Callable[[], None] | None = None

    def set(self) -> None:
        self.is_so = True
        if self.tell is not None:
            self.tell()


class Waits:
    """The held waits of one server process: none has a task of its own, and a timer only those that report progress."""

    def __init__(self, *, longest: float, progress_interval: float, most_per_agent: int = 16) -> None:
        self.longest = longest
        self.open = Open(most_per_agent)
        self.stopping = asyncio.Event()
        self._progress_interval = progress_interval
        self._held: set[_Held] = set()

    def stop(self) -> None:
        """End every held wait now, and every later one as soon as what it waits for has been recorded."""
        self.stopping.set()
        for held in self._held:
            held.end()

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
            gone = _gone(context)
            progress = _Progress(context, window, self._progress_interval) if _wants_progress(context) else None
            held = _Held()
            try:
                async with held.until:
                    self._begin(held, gone)
                    result = await wait(window)
            except Exception:
                if gone is not None and gone.is_so:
                    raise ClientGone from None
                if held.until.expired():
                    raise Stopping from None
                raise
            finally:
                self._end(held, gone)
                if progress is not None:
                    progress.end()
            if gone is not None and gone.is_so:
                raise ClientGone
            return result

    def _begin(self, held: _Held, gone: Gone | None) -> None:
        self._held.add(held)
        if gone is not None:
            gone.tell = held.end
        if self.stopping.is_set() or (gone is not None and gone.is_so):
            held.end()

    def _end(self, held: _Held, gone: Gone | None) -> None:
        self._held.discard(held)
        if gone is not None:
            gone.tell = None


class _Held:
    """What ends one wait."""

    __slots__ = ("_began", "until")

    def __init__(self) -> None:
        self._began = asyncio.get_running_loop().time()
        self.until = asyncio.timeout(None)

    def end(self) -> None:
        # What is recorded first (a question, a speech) is recorded within this time, or may have been.
        if not self.until.expired():
            self.until.reschedule(self._began + _LEAST_HOLD)


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


def _gone(context: Context[Any, Any]) -> Gone | None:
    # In the 2025 era the SDK lets a call run on when its client's connection breaks, so it is looked for here.
    request = context.request_context.request
    return None if request is None else request.scope.get(GONE)


def _wants_progress(context: Context[Any, Any]) -> bool:
    """Whether the client asked for it; the SDK would drop it for another, but every held call would keep a timer."""
    # Within one process the SDK passes the wish on without a token, and over a pipe there is one client.
    request = context.request_context
    return request.request is None or progress_token_from_params(request.params) is not None
