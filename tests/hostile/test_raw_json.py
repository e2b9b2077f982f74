"""Bytes that are no message, or a poisoned one, written to the wire of each transport: refused, and the next one
works.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.conftest import connect
from tests.hostile.raw import Raw, accepted, bytes_of, calls
from tests.mcp_server.serving import serving, tokens_of
from tests.mcp_server.wire import MODERN, Answer, Headers, Wire, bearer, head_of, legacy, modern
from tests.promises import kept

_ENVELOPE = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
META = f',"_meta":{json.dumps(_ENVELOPE)}'
BOUND = 60


async def messages_to_bob(dsn: str) -> int:
    async with connect(dsn) as database:
        return await database.fetchval("SELECT count(*) FROM messages m JOIN agents a ON a.id = m.recipient_id "
                                       "WHERE a.external_id = 'bob'")  # fmt: skip


class Neighbours:
    """carol and dave, who go on writing to each other."""

    def __init__(self, wire: Wire, tokens: dict[str, str]) -> None:
        self._wire = wire
        self._tokens = tokens
        self._cursor = ""
        self._sent = 0

    async def are_served(self) -> bool:
        """Whether the next message gets through."""
        self._sent += 1
        await self._wire.tool(self._tokens["carol"], "send", {"to": "dave", "message": f"message {self._sent}"})
        read = await self._wire.tool(self._tokens["dave"], "check_inbox", {"after": self._cursor})
        self._cursor = read["structuredContent"].get("cursor", "")
        return [item["text"] for item in read["structuredContent"].get("items", ())] == [f"message {self._sent}"]


def is_refusal(answer: Answer) -> bool:
    """An HTTP status, a JSON-RPC error, or a refusal of the tool: with words, and without what is behind them."""
    if any(leak in answer.text for leak in ("Traceback", "site-packages", "asyncpg", '.py"', ".py:")):
        return False
    if answer.status != 200:
        return 400 <= answer.status < 500 or answer.status == 202
    message = answer.message()
    if "error" in message:
        return message["error"]["code"] != -32603 and len(message["error"]["message"]) < 5_000
    return message["result"].get("isError", False) is True


@pytest.mark.requirement("content:refused")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("era", ["current", "legacy"])
async def test_no_bytes_over_http_do_more_than_be_refused(dsn: str, era: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob", "carol", "dave")
    wrong: list[str] = []
    meta = META if era == "current" else ""
    bodies: Raw = calls(meta) | bytes_of(meta)
    async with serving(dsn, AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE="100000") as server:
        wire = Wire(server.address)
        headers, _ = modern("tools/call", {"name": "send"}) if era == "current" else legacy("tools/call", {})
        given: Headers = [bearer(tokens["alice"]), *headers]
        if era == "legacy":
            given = [*given, ("Mcp-Session-Id", await wire.session(tokens["alice"]))]
        neighbours = Neighbours(wire, tokens)
        for name, body in bodies.items():
            answer = await wire.request("POST", "/mcp", given, body)
            if not is_refusal(answer):
                wrong.append(f"{name}: {answer.status} {answer.text:.200}")
            if not await neighbours.are_served():
                wrong.append(f"after {name} a neighbour was not served")
        if await messages_to_bob(dsn):
            wrong.append(f"{await messages_to_bob(dsn)} messages were sent")
        for name, body in accepted(meta).items():
            answer = await wire.request("POST", "/mcp", given, body)
            if answer.message().get("result", {}).get("structuredContent", {}).get("status") != "sent":
                wrong.append(f"{name}: {answer.status} {answer.text:.200}")
        read = await wire.tool(tokens["bob"], "check_inbox", {})
        if {item["text"] for item in read["structuredContent"]["items"]} != {"x"}:
            wrong.append(f"what is accepted came changed: {read}")
        if "Traceback" in server.log or "unexpected" in server.log:
            wrong.append(server.log)
    print("\n".join(wrong[:20]))
    kept("R10", f"raw bodies over HTTP, {era} era", tried=len(bodies) + len(accepted(meta)), broken=len(wrong))


@pytest.mark.requirement("content:refused")
async def test_no_framing_of_http_holds_up_a_neighbour(dsn: str) -> None:
    """Wrong types of content, wrong lengths, requests that never end."""
    tokens = await tokens_of(dsn, "alice", "bob", "carol", "dave")
    wrong: list[str] = []
    async with serving(dsn) as server:
        wire = Wire(server.address)
        neighbours = Neighbours(wire, tokens)
        headers, body = modern("tools/call", {"name": "send", "arguments": {"to": "bob", "message": "x"}})
        kinds = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
                  "application/xml", "*/*", "text/event-stream"]  # fmt: skip
        tried: list[tuple[str, bytes]] = []
        fixed = [("Host", f"127.0.0.1:{wire.port}"), bearer(tokens["alice"]), ("Connection", "close")]
        for kind in kinds:
            typed = [(name, value) for name, value in headers if name != "Content-Type"]
            head = [*fixed, *typed, ("Content-Type", kind), ("Content-Length", str(len(body)))]
            tried.append((f"content type {kind!r}", head_of("POST", "/mcp", head) + body))
        for length in ("-1", "x", "1e3", "0x10", "99999999999999999999", "", "+5", "5, 5"):
            head = [*fixed, *headers, ("Content-Length", length)]
            tried.append((f"length {length!r}", head_of("POST", "/mcp", head) + body))
        both = [*fixed, *headers, ("Content-Length", str(len(body))), ("Transfer-Encoding", "chunked")]
        tried.append(("two ways to end", head_of("POST", "/mcp", both) + b"0\r\n\r\n" + body))
        for chunk in (b"zz\r\n", b"-1\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"\x00\x00"):
            head = [*fixed, *headers, ("Transfer-Encoding", "chunked")]
            tried.append((f"chunk {chunk!r}", head_of("POST", "/mcp", head) + chunk + b"\r\n\r\n"))
        for name, request in tried:
            try:
                answer = await wire.raw(request)
            except TimeoutError:
                wrong.append(f"{name}: no answer")
                continue
            if answer.status not in range(400, 500) and answer.status:
                wrong.append(f"{name}: {answer.status} {answer.text:.200}")
            if not await neighbours.are_served():
                wrong.append(f"after {name} a neighbour was not served")
        # Requests that never come to their end keep nobody waiting but themselves.
        ends = [request[: len(request) // 2] for _, request in tried] + [head_of("POST", "/mcp", fixed)[:-2]]
        ends.append(head_of("POST", "/mcp", [*fixed, *headers, ("Transfer-Encoding", "chunked")]) + b"f" * 16 + b"\r\n")
        async with unfinished(wire, ends * 4):
            for _ in range(5):
                if not await neighbours.are_served():
                    wrong.append("beside unfinished requests a neighbour was not served")
    if await messages_to_bob(dsn):
        wrong.append("a message was sent")
    print("\n".join(wrong[:20]))
    kept("R10", "framings of HTTP", tried=len(tried) + len(ends) * 4, broken=len(wrong))


@asynccontextmanager
async def unfinished(wire: Wire, requests: list[bytes]) -> AsyncGenerator[None]:
    """Connections on which these requests have begun."""
    writers: list[asyncio.StreamWriter] = []
    try:
        for request in requests:
            _, writer = await asyncio.open_connection("127.0.0.1", wire.port)
            writer.write(request)
            writers.append(writer)
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


@pytest.mark.requirement("content:refused")
@pytest.mark.timeout(120)
async def test_no_bytes_on_stdio_end_the_server_or_are_taken_for_a_message(dsn: str) -> None:
    await tokens_of(dsn, "bob")
    wrong: list[str] = []
    bodies: Raw = calls(META) | bytes_of(META)
    async with pipe(dsn) as (write, read):
        for number, (name, body) in enumerate(bodies.items(), 1_000):
            write(body + b"\n")
            ask = {"name": "get_conversation", "arguments": {"with_agent": "bob"}}
            _, good = modern("tools/call", ask, id_=number)
            write(good + b"\n")
            try:
                answer = await read(number)
            except (TimeoutError, EOFError) as ended:
                wrong.append(f"after {name}: {ended!r}")
                break
            if answer.get("result", {}).get("structuredContent", {}).get("status") != "empty":
                wrong.append(f"after {name}: {answer!s:.300}")
    print("\n".join(wrong[:20]))
    kept("R10", "raw lines on stdio, each followed by a good one", tried=len(bodies), broken=len(wrong))


@asynccontextmanager
async def pipe(dsn: str) -> AsyncGenerator[Any]:
    """A stdio server of alice: what writes to it, and what reads until the answer to a request."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent_messaging_mcp", "--agent", "alice"),
        env={
            "DATABASE_URL": dsn,
            "PATH": os.environ.get("PATH", ""),
            "AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE": "100000",
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=16 * 1024 * 1024,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    writer, reader = process.stdin, process.stdout

    async def read(number: int) -> dict[str, Any]:
        with anyio.fail_after(BOUND):
            while line := await reader.readline():
                answer = json.loads(line)  # nothing but the protocol is on it
                if answer.get("id") == number and ("result" in answer or "error" in answer):
                    return answer
        raise EOFError

    try:
        yield writer.write, read
        writer.close()
        with anyio.fail_after(BOUND):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
