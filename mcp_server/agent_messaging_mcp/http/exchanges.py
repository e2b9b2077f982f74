"""Requests and streams in progress: each ends with the token that opened it, and all of them with the process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_messaging_mcp import identity, logs
from agent_messaging_mcp.errors import TOO_MANY_REQUESTS
from agent_messaging_mcp.http.authentication import away
from agent_messaging_mcp.http.credentials import Credentials, current
from agent_messaging_mcp.http.gate import Gate, NoRoom, has_place_of_its_own
from agent_messaging_mcp.http.sessions import is_of_2025
from agent_messaging_mcp.limits import Open, TooManyOpen
from agent_messaging_mcp.waits import GONE, LEAVE, Gone

STREAMABLE_PATH = "/mcp"
_HAND_OVERS = 50
"""Rounds of the event loop, far more than it takes to get an answer from its request's task through the transport's
tasks to the socket: none of them waits for anything but the one before.
"""


class Exchanges:
    """What one server process is busy with over HTTP."""

    def __init__(
        self, credentials: Credentials, gate: Gate, open_streams: Open, *, refused: Callable[[str], None]
    ) -> None:
        self._credentials = credentials
        self._gate = gate
        self._open_streams = open_streams
        self._refused = refused
        self._in_progress = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._streams: set[anyio.CancelScope] = set()
        self._ending = False

    @property
    def in_progress(self) -> int:
        """Requests that have no answer yet."""
        return self._in_progress

    @property
    def streams(self) -> int:
        """Connections that are open for whatever the server has to say (2025 era and SSE)."""
        return len(self._streams)

    async def middleware(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Serve a request for as long as its token is good."""
        credential = current()
        if credential is None:
            raise MCPError(INVALID_REQUEST, "This request has no token.")
        if ctx.request_id is None:
            return await call_next(ctx)
        if not credential.is_checked:
            # As an answer to the request: a client that posts to a stream does not look at the response.
            raise MCPError(INTERNAL_ERROR, "The database could not be reached. Try again later.")
        when_over = partial(self._credentials.when_over, credential)
        if (task := asyncio.current_task()) is not None:
            self._count(task)
        over = asyncio.timeout(None)
        try:
            async with over:
                with (
                    self._credentials.while_good(credential, partial(over.reschedule, 0)),
                    identity.allowed_until(when_over),
                    logs.context(transport=_transport(ctx)),
                ):
                    if ctx.request is None or has_place_of_its_own(ctx.request.scope):
                        return await call_next(ctx)
                    return await self._in_its_place(
                        ctx.request.scope, partial(call_next, ctx), credential.subject or ""
                    )
        except TimeoutError:
            if not over.expired():
                raise
        raise MCPError(INVALID_REQUEST, "The token of this request is no longer good: it was revoked or has expired.")

    def tracked(self, app: ASGIApp) -> ASGIApp:
        """`app`, with open-ended responses that can be ended, and calls that learn when nobody reads theirs."""

        async def track(scope: Scope, receive: Receive, send: Send) -> None:
            credential = current()
            if credential is not None and not credential.is_checked:
                body = await _request_in(scope, receive) if _is_call(scope) else None
                if body is None:
                    await away()(scope, receive, send)
                    return
                receive = _again(body, receive)
            if scope["type"] == "http" and scope["method"] == "HEAD":
                # It would open a stream without a body, which nothing ends and nobody reads.
                await Response(status_code=405, headers={"allow": "GET, POST, DELETE"})(scope, receive, send)
            elif scope["type"] == "http" and scope["method"] == "GET":
                await self._stream(app, scope, receive, send)
            elif scope["type"] == "http" and scope["path"] == STREAMABLE_PATH:
                gone = scope[GONE] = Gone()
                try:
                    await app(scope, receive, send)
                finally:
                    gone.set()
            else:
                await app(scope, receive, send)

        return track

    async def end(self, seconds: float) -> None:
        """Let the requests in progress be answered, for so long at most; then end the streams."""
        self._ending = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
                for _ in range(_HAND_OVERS):
                    await asyncio.sleep(0)
        for stream in list(self._streams):
            stream.cancel()

    async def _in_its_place(
        self, scope: Scope, serve: Callable[[], Awaitable[HandlerResult]], agent: str
    ) -> HandlerResult:
        """Serve what was posted to a stream, as the gate lets it in."""
        try:
            async with self._gate.place(agent) as leave:
                scope[LEAVE] = leave
                return await serve()
        except NoRoom:
            self._refused("queue")
            raise MCPError(TOO_MANY_REQUESTS, "Too many requests of yours are waiting. Try again soon.") from None

    def _count(self, request: asyncio.Task[Any]) -> None:
        """Count the request that this task serves until the task has ended: then its transport has the answer."""
        self._in_progress += 1
        self._idle.clear()
        request.add_done_callback(self._answered)

    def _answered(self, _: asyncio.Task[Any]) -> None:
        self._in_progress -= 1
        if not self._in_progress:
            self._idle.set()

    async def _stream(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        response = _Response(send)
        credential = current()
        if self._ending or credential is None:
            await response.end(scope, receive)
            return
        try:
            with (
                self._open_streams.one(credential.subject or ""),
                anyio.CancelScope() as ending,
                self._credentials.while_good(credential, ending.cancel),
            ):
                self._streams.add(ending)
                try:
                    await app(scope, receive, response.send)
                finally:
                    self._streams.discard(ending)
        except TooManyOpen as refused:
            self._refused("streams")
            words = f"{refused.most} streams of yours are open, and one agent may have no more. Close one first."
            await PlainTextResponse(words, 429, headers={"retry-after": "5"})(scope, receive, send)
            return
        if ending.cancelled_caught:
            await response.end(scope, receive)


def _is_call(scope: Scope) -> bool:
    """Whether it opens and ends no session: a token that was revoked may look good while the database is away."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    headers = Headers(scope=scope)
    return scope["path"] != STREAMABLE_PATH or not is_of_2025(headers) or "mcp-session-id" in headers


async def _request_in(scope: Scope, receive: Receive) -> bytes | None:
    """The body, if it is a request: a notification that cancels one takes effect before anybody is asked."""
    try:
        body = await Request(scope, receive).body()
        message = json.loads(body)
        method = message["method"] if "id" in message else None
    except (ClientDisconnect, LookupError, RecursionError, TypeError, ValueError):
        return None
    return body if isinstance(method, str) and not method.startswith("notifications/") else None


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` as it was before the body was read."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return unread.pop() if unread else await receive()

    return read


def _transport(ctx: ServerRequestContext[Any, Any]) -> str:
    return "streamable-http" if ctx.request is not None and ctx.request.scope["path"] == STREAMABLE_PATH else "sse"


class _Response:
    """Knows how far a response has come, so that it can be ended properly at any point."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False
        self._complete = False

    async def send(self, message: Message) -> None:
        self._begun = True
        self._complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    async def end(self, scope: Scope, receive: Receive) -> None:
        if not self._begun:
            await PlainTextResponse("Not now. Try again.", 503)(scope, receive, self._send)
        elif not self._complete:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
