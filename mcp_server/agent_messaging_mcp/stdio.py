"""The server on standard input and output: one agent, one pipe, and a clean end however the end comes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from types import TracebackType
from typing import Any

import mcp_types as types
from mcp.server import MCPServer
from mcp.server.stdio import stdio_server
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from agent_messaging_mcp.service import Service
from agent_messaging_mcp.waits import Waits

_FLUSH_SECONDS = 2.5
"""After a signal: how long the ended waits may take to be answered."""
_CLOSING_SECONDS = 1.5

logger = logging.getLogger(__name__)


async def serve(server: MCPServer[Any], service: Service, waits: Waits) -> None:
    """Serve until the client closes its end, or until SIGTERM or SIGINT.

    A signal ends every held wait with a result, lets the results be written and closes the service. A
    client that does not
    read them does not hold the process up.
    """
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    wire = _Wire()
    answers = _Answers()
    serving = asyncio.create_task(_run(server, answers), name="agent-messaging stdio")
    stopping = asyncio.create_task(signalled.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            waits.stop()
            await answers.all_given(_FLUSH_SECONDS)
            wire.end()
            await asyncio.wait((serving,), timeout=_CLOSING_SECONDS)
    finally:
        stopping.cancel()
        await service.close()
    if not serving.done():
        logger.warning("the client does not read; leaving")
        # A thread hangs in a write to it, and would be joined by every other way out. All else is closed.
        os._exit(0)
    try:
        serving.result()
    except* (BrokenPipeError, ConnectionResetError):
        logger.info("the client has gone")


async def _run(server: MCPServer[Any], answers: _Answers) -> None:
    low_level = getattr(server, "_lowlevel_server", None)
    if low_level is None:
        await server.run_stdio_async()
        return
    async with stdio_server() as (read, write):
        responses = _Responses(write, answers)
        requests = _Requests(read, answers, responses)
        await low_level.run(requests, responses, low_level.create_initialization_options())


_UNREADABLE = b"unreadable\n"
"""Stands for a line that was left out, and is answered like any other that is no message."""


class _Wire:
    """Puts a pipe in the place of descriptor 0, which a thread fills from the real one, and which can be
    ended at any time.

    The SDK reads in a thread that every exit joins: without this, a signal would have to wait for the
    client's next line.
    """

    def __init__(self) -> None:
        self._client = os.dup(0)
        read, self._fill = os.pipe()
        os.dup2(read, 0)
        os.close(read)
        threading.Thread(target=self._pump, name="stdin", daemon=True).start()

    def end(self) -> None:
        """Let the reader see the end of input, whatever is still to come."""
        # Replaced rather than closed: the thread may be about to write, and the number must not mean
        # another file by then.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._fill, inheritable=False)
        os.close(nowhere)

    def _pump(self) -> None:
        begun: list[bytes] = []  # joined once: a line may be long, and comes in small pieces
        try:
            while received := os.read(self._client, 65_536):
                *ends, rest = received.split(b"\n")
                for end in ends:
                    self._pass_on(b"".join((*begun, end, b"\n")))
                    begun.clear()
                begun.append(rest)
            self._pass_on(b"".join(begun))
        except OSError as gone:
            logger.info("standard input failed: %r", gone)
        self.end()

    def _pass_on(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            line.decode()
        except UnicodeDecodeError:
            # The SDK would read something else into it, and a message would arrive changed.
            logger.warning("a line on standard input is not UTF-8, and was left out")
            line = _UNREADABLE
        while line:
            line = line[os.write(self._fill, line) :]


class _Answers:
    """Which requests have been read and not been answered yet."""

    def __init__(self) -> None:
        self._open: set[str | int] = set()
        self._all_given = asyncio.Event()
        self._all_given.set()

    async def all_given(self, timeout: float) -> None:
        """Wait until every request has its answer, but no longer than `timeout` seconds."""
        waiting = asyncio.ensure_future(self._all_given.wait())
        await asyncio.wait((waiting,), timeout=timeout)
        waiting.cancel()

    def read(self, item: SessionMessage | Exception) -> None:
        if isinstance(item, Exception):
            return
        match item.message:
            # A listen stream has no answer before its end.
            case types.JSONRPCRequest(method=method, id=request) if method != "subscriptions/listen":
                self._open.add(request)
                self._all_given.clear()
            case types.JSONRPCNotification(method="notifications/cancelled", params={"requestId": request}):
                self._settle(request)
            case _:
                pass

    def written(self, item: SessionMessage) -> None:
        if isinstance(item.message, types.JSONRPCResponse | types.JSONRPCError):
            self._settle(item.message.id)

    def _settle(self, request: object) -> None:
        # A client may name anything at all as what it cancels.
        if isinstance(request, str | int):
            self._open.discard(request)
        if not self._open:
            self._all_given.set()


class _Stream:
    """What the two directions have in common."""

    def __init__(self, inner: Any, answers: _Answers) -> None:
        self._inner = inner
        self._answers = answers

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Any:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, trace)


class _Requests(_Stream, ReadStream[SessionMessage | Exception]):
    """The stream of what the client sends, with requests noted, and what is no message answered as JSON-RPC has it."""

    def __init__(self, inner: Any, answers: _Answers, responses: _Responses) -> None:
        super().__init__(inner, answers)
        self._responses = responses

    @property
    def last_context(self) -> Any:
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        return await self._read(await self._inner.receive())

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return await self._read(await self._inner.__anext__())

    async def _read(self, item: SessionMessage | Exception) -> SessionMessage | Exception:
        self._answers.read(item)
        if isinstance(item, Exception):
            await self._responses.send(SessionMessage(_refusal(item)))
        return item


def _refusal(error: Exception) -> types.JSONRPCError:
    """JSON-RPC's answer to what has no id that could be relied on."""
    is_json = isinstance(error, ValidationError) and all(found["type"] != "json_invalid" for found in error.errors())
    code, words = (types.INVALID_REQUEST, "Invalid request") if is_json else (types.PARSE_ERROR, "Parse error")
    return types.JSONRPCError(jsonrpc="2.0", id=None, error=types.ErrorData(code=code, message=words))


class _Responses(_Stream, WriteStream[SessionMessage]):
    """The stream of what the client is sent, with answers noted."""

    async def send(self, item: SessionMessage, /) -> None:
        await self._inner.send(item)
        self._answers.written(item)
