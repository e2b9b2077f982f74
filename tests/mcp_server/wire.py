"""Requests written to a server's socket byte by byte, however wrong they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio

MODERN = "2026-07-28"
HANDSHAKE = "2025-11-25"
ACCEPT = "application/json, text/event-stream"
_SECONDS = 90

Headers = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Answer:
    """What came back. Status 0: the connection was closed without a word. A stream that does not end has no body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def message(self) -> dict[str, Any]:
        """The JSON-RPC message in it that answers the request."""
        if "text/event-stream" not in self.headers.get("content-type", ""):
            return json.loads(self.body)
        events = [json.loads(line[6:]) for line in self.text.splitlines() if line.startswith("data: {")]
        [answer] = [event for event in events if "result" in event or "error" in event]
        return answer


class Wire:
    """The socket of a server on loopback."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = int(address.rpartition(":")[2])
        self._ids = count(1)

    async def raw(self, request: bytes) -> Answer:
        """Write `request` as it is, and read what comes back."""
        with anyio.fail_after(_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                with suppress(ConnectionError):  # the answer may be there before the request has been taken
                    writer.write(request)
                    await writer.drain()
                return await _answer(reader, request.split(b" ", 1)[0])
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    async def request(
        self, method: str, path: str, headers: Headers = (), body: bytes = b"", *, host: str | None = None
    ) -> Answer:
        """A request with these headers, in this order, whatever they are; its length is declared."""
        given: list[tuple[str, str | bytes]] = [("Host", host or f"127.0.0.1:{self.port}"), *headers]
        if body or method == "POST":
            given.append(("Content-Length", str(len(body))))
        return await self.raw(head_of(method, path, [*given, ("Connection", "close")]) + body)

    async def call(
        self, token: str, method: str, params: Mapping[str, Any] | None = None, headers: Headers = ()
    ) -> Answer:
        """A request of the current era, complete in itself."""
        more, body = modern(method, params or {}, id_=next(self._ids))
        return await self.request("POST", "/mcp", [bearer(token), *more, *headers], body)

    async def tool(self, token: str, name: str, arguments: Mapping[str, Any], headers: Headers = ()) -> dict[str, Any]:
        """The result of a tool."""
        answer = await self.call(token, "tools/call", {"name": name, "arguments": dict(arguments)}, headers)
        assert answer.status == 200, (answer.status, answer.text)
        return answer.message()["result"]

    async def session(self, token: str, client: str = "test") -> str:
        """The id of a session of the 2025 era, ready to be used."""
        headers, body = initialize(client)
        answer = await self.request("POST", "/mcp", [bearer(token), *headers], body)
        assert answer.status == 200, answer
        session = answer.headers["mcp-session-id"]
        ready = b'{"jsonrpc": "2.0", "method": "notifications/initialized"}'
        given = [bearer(token), *headers, ("Mcp-Session-Id", session)]
        assert (await self.request("POST", "/mcp", given, ready)).status == 202
        return session

    @asynccontextmanager
    async def sse(self, token: str) -> AsyncGenerator[SseSession]:
        """A session over SSE."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head_of("GET", "/sse", [("Host", f"127.0.0.1:{self.port}"), bearer(token)]))
            session = SseSession(reader)
            await session.open()
            yield session
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


class SseSession:
    """What a server says over SSE, and where it is answered."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.path = ""
        self._reader = reader

    async def open(self) -> None:
        self.path = await self._data()
        assert self.path.startswith("/messages/?session_id="), self.path

    async def message(self) -> dict[str, Any]:
        """The next message."""
        return json.loads(await self._data())

    async def _data(self) -> str:
        with anyio.fail_after(_SECONDS):
            while not (line := (await self._reader.readuntil(b"\n")).decode().strip()).startswith("data: "):
                pass
        return line[6:]


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


def head_of(method: str, path: str, headers: Headers, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}".encode("latin-1")]
    for name, value in headers:
        lines.append(name.encode("latin-1") + b": " + (value if isinstance(value, bytes) else value.encode("utf-8")))
    return b"\r\n".join([*lines, b"", b""])


def modern(method: str, params: Mapping[str, Any], *, id_: int = 1) -> tuple[list[tuple[str, str]], bytes]:
    """The headers and the body of a request of the current era."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        **params.get("_meta", {}),
    }
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", ACCEPT),
        ("MCP-Protocol-Version", MODERN),
        ("Mcp-Method", method),
    ]
    if named := params.get("name") or params.get("uri"):
        headers.append(("Mcp-Name", named))
    body = {"jsonrpc": "2.0", "id": id_, "method": method, "params": {**params, "_meta": meta}}
    return headers, json.dumps(body).encode()


def legacy(method: str, params: Mapping[str, Any], *, id_: int = 1) -> tuple[list[tuple[str, str]], bytes]:
    """The headers and the body of a request of the 2025 era, without its session."""
    headers = [("Content-Type", "application/json"), ("Accept", ACCEPT), ("MCP-Protocol-Version", HANDSHAKE)]
    return headers, json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": dict(params)}).encode()


def initialize(name: str = "test") -> tuple[list[tuple[str, str]], bytes]:
    """What opens a session of the 2025 era."""
    params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": {"name": name, "version": "1"}}
    return legacy("initialize", params)


async def _answer(reader: asyncio.StreamReader, method: bytes) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    status = int(first.split()[1])
    if method == b"HEAD" or (method == b"GET" and "text/event-stream" in headers.get("content-type", "")):
        return Answer(status, headers)
    body = b""
    with suppress(ConnectionError):
        if "content-length" in headers:
            with suppress(asyncio.IncompleteReadError):
                body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = await reader.read()
    return Answer(status, headers, _joined(body) if headers.get("transfer-encoding") == "chunked" else body)


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        body, chunks = body + rest[:length], rest[length + 2 :] if length else b""
    return body
