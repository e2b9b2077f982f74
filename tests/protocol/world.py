"""What the tests of conversations share: agents to talk, bounded polling, the rows of the database, other processes."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from pydantic import SecretStr

from agent_messaging import AgentMessaging, AgentMessagingError, Config

Seen = TypeVar("Seen")

ROOT = Path(__file__).parents[2]
ORGANIZATION = "acme"
SWEEP_OFF = 3600.0

BAD_NAMES: dict[str, Any] = {
    "none": None,
    "int": 7,
    "bytes": b"bob",
    "list": ["bob"],
    "dict": {},
    "empty": "",
    "blank": " ",
    "nul": "bo\0b",
    "surrogate": "bo\ud800b",
    "too long": "b" * 129,
    "very long": "b" * 1_000_000,
    "foreign letters": "böb",
    "first a sign": "-bob",
    "line break": "bob\n",
}
BAD_TIMEOUTS: dict[str, Any] = {
    "negative": -1,
    "nan": float("nan"),
    "minus infinity": float("-inf"),
    "text": "5",
    "list": [1],
}
BAD_COUNTS: dict[str, Any] = {
    "zero": 0,
    "negative": -1,
    "text": "5",
    "float": 1.5,
    "huge": 2**70,
    "list": [1],
    "true": True,
}
BAD_IDS: dict[str, Any] = {
    "none": None,
    "text": "not-a-uuid",
    "nul": "\0",
    "int": 7,
    "bytes": b"0" * 16,
    "list": [],
}
BAD_METADATA: dict[str, Any] = {
    "list": [1],
    "text": "note",
    "nul": {"a": "\0"},
    "nul key": {"\0": 1},
    "surrogate": {"a": "\ud800"},
    "nan": {"a": float("nan")},
    "int key": {1: 2},
    "object": {"a": object()},
    "bytes": {"a": b"x"},
    "big int": {"a": 2**64},
}
BAD_KEYS: dict[str, Any] = {
    "empty": "",
    "int": 7,
    "bytes": b"k",
    "nul": "\0",
    "surrogate": "\ud800",
    "too long": "k" * 201,
    "list": ["k"],
}


def config(dsn: str, **options: Any) -> Config:
    return Config(database_url=SecretStr(dsn), **options)


async def register(sdk: AgentMessaging[Any], *names: str) -> None:
    await sdk.register_organization(ORGANIZATION, "Acme", exist_ok=True)
    for name in names:
        await sdk.register_agent(name, ORGANIZATION, name.title(), exist_ok=True)


@asynccontextmanager
async def opened(
    dsn: str, *names: str, message_type: Any = None, **options: Any
) -> AsyncGenerator[AgentMessaging[Any]]:
    """An open SDK object; to the database, each is a process of its own. Agents are registered by name."""
    kind: type[AgentMessaging[Any]] = AgentMessaging if message_type is None else AgentMessaging[message_type]
    async with kind(config(dsn, **options)) as sdk:
        if names:
            await register(sdk, *names)
        yield sdk


async def eventually(look: Callable[[], Awaitable[Seen]], *, within: float = 90) -> Seen:
    """Look until there is something."""
    async with asyncio.timeout(within):
        while not (seen := await look()):  # noqa: ASYNC110 - another process has no event to set
            await asyncio.sleep(0.01)
    return seen


async def fetch(dsn: str, statement: str, *arguments: Any) -> list[Any]:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn, timeout=90, command_timeout=90)
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def row_counts(dsn: str) -> dict[str, int]:
    """How many rows each table has."""
    tables = [
        row[0] for row in await fetch(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    ]
    counted = " UNION ALL ".join(f"SELECT '{table}' AS name, count(*) AS rows FROM {table}" for table in tables)  # noqa: S608
    return {row["name"]: row["rows"] for row in await fetch(dsn, counted)}


async def question_is_open(sdk: AgentMessaging[Any], agent: str) -> UUID | None:
    """The oldest question that the agent owes an answer."""
    for item in (await sdk.inbox.page(agent)).items:
        if item.owed and item.question_id is not None:
            return item.question_id
    return None


async def nobody_accepts(dsn: str, calls: Mapping[str, Callable[[], Awaitable[object]]]) -> dict[str, str]:
    """Make each call; says which were not refused with an error of the library that says something, or left a trace."""
    wrong: dict[str, str] = {}
    before = await row_counts(dsn)
    for name, call in calls.items():
        try:
            async with asyncio.timeout(90):
                result = await call()
            wrong[name] = f"gave {result!r}"[:200]
        except AgentMessagingError as error:
            if len(str(error)) < 20 or len(str(error)) > 1000:
                wrong[name] = f"{len(str(error))} characters: {error!s:.200}"
        except Exception as error:
            wrong[name] = f"{error!r}"[:200]
    after = await row_counts(dsn)
    if after != before:
        wrong["rows"] = f"{before} became {after}"
    return wrong


class Program:
    """A Python program in a process of its own, which says on its standard output where it is."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self, beginning: str, *, within: float = 90) -> str:
        """Read until a line that begins so; gives the rest of it."""
        assert self._process.stdout is not None
        async with asyncio.timeout(within):
            async for line in self._process.stdout:
                text = line.decode().rstrip("\n")
                if text.startswith(beginning):
                    return text.removeprefix(beginning).strip()
        raise AssertionError(f"the program ended and never said {beginning!r}")

    async def kill(self) -> None:
        """End it as kill -9 does: it cannot say goodbye."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(90):
            await self._process.wait()


@asynccontextmanager
async def program(name: str, *arguments: str) -> AsyncGenerator[Program]:
    """Run `tests/protocol/programs/<name>.py` until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.protocol.programs.{name}",
        *arguments,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    running = Program(process)
    try:
        yield running
    finally:
        await running.kill()


@asynccontextmanager
async def asked(
    sdk: AgentMessaging[Any],
    text: Any,
    asker: str = "alice",
    recipient: str = "bob",
    timeout: float = 30,
    **options: Any,
) -> AsyncGenerator[tuple[asyncio.Task[Any], UUID]]:
    """A question that is open while the block runs, and the task that waits for its answer."""
    before = await open_questions(sdk, recipient)
    wait = sdk.sync_conversation.send_and_wait(asker, recipient, text, timeout, **options)
    waiting = asyncio.create_task(wait)

    async def arrived() -> set[UUID]:
        if waiting.done():
            waiting.result()
        return await open_questions(sdk, recipient) - before

    (question,) = await eventually(arrived)
    try:
        yield waiting, question
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def open_questions(sdk: AgentMessaging[Any], recipient: str) -> set[UUID]:
    """The questions that the agent owes an answer."""
    page = await sdk.inbox.page(recipient, limit=1000)
    return {item.question_id for item in page.items if item.owed and item.question_id is not None}


async def within(waiting: asyncio.Task[Any], seconds: float = 90) -> Any:
    """What the task gives, soon."""
    async with asyncio.timeout(seconds):
        return await waiting
