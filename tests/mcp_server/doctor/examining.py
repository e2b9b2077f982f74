"""What the tests of the doctor share: what a finding must say, and what there is to find."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from agent_messaging_db import embedded
from agent_messaging_mcp.doctor.findings import Check, Finding, Result

SECRET = "CanaryOfThePassword"
NOWHERE = f"postgresql://app:{SECRET}@127.0.0.1:1/agents"
NEEDS_DATABASE = (
    Check.SERVER,
    Check.ROLE,
    Check.CONNECTIONS,
    Check.SCHEMA,
    Check.WAKEUPS,
    Check.POOLER,
    Check.CLOCK,
    Check.TOKENS,
)

Examine = Callable[..., Awaitable[dict[Check, Finding]]]


def told(finding: Finding, result: Result, *words: str) -> None:
    """The finding is this bad, and says these words; the last of them as what to do."""
    assert finding.result is result, finding
    for word in words[:-1]:
        assert word in finding.found, finding
    if words:
        assert words[-1] in (finding.do or finding.found), finding


def with_role(dsn: str, role: str) -> str:
    """The address that shows what this role, which cannot log in, would see."""
    return f"{dsn}{'&' if '?' in dsn else '?'}role={role}"


@asynccontextmanager
async def joined(directory: Path) -> AsyncGenerator[str]:
    """The address of the server of this directory."""
    share = await embedded.ensure(directory, linger=0)
    try:
        yield share.dsn
    finally:
        share.release()


def put_first(rules: Path, line: str) -> None:
    rules.write_text(f"{line}\n{rules.read_text()}")


@asynccontextmanager
async def listening(answer: Callable[[bytes], bytes]) -> AsyncGenerator[int]:
    """The port of a server that answers whatever comes first with `answer`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await reader.read(4096)
            writer.write(answer(asked))
            await writer.drain()
            if answer(asked).startswith(b"HTTP"):
                return
            await reader.read()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def page(document: object, status: str = "200 OK") -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status.encode(), len(body)) + body
