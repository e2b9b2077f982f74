"""What can be found out about a database, and the ways to it, by looking: nothing here writes anything but NOTIFY.

Every look works behind any pooler: its statements have no name, and what belongs together is one transaction.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from socket import gaierror
from typing import Any, TypeAlias
from uuid import uuid4

import asyncpg

from agent_messaging_db import pooler
from agent_messaging_db.errors import AddressError
from agent_messaging_db.migrate import check
from agent_messaging_db.migrate import load as migrations
from agent_messaging_db.pool import connect
from agent_messaging_db.statements import load
from agent_messaging_db.wakeups import CHANNEL

_SQL = load("diagnosis")
_NEW_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)

Link: TypeAlias = "asyncpg.Connection[Any]"


class Obstacle(StrEnum):
    """Why a database could not be reached."""

    UNKNOWN_HOST = "unknown host"
    REFUSED = "refused"
    NO_ANSWER = "no answer"
    PASSWORD = "password"  # noqa: S105 - a reason
    NOT_ADMITTED = "not admitted"
    UNKNOWN_DATABASE = "unknown database"
    FULL = "full"
    NOT_NOW = "not now"
    TLS = "TLS"
    PARAMETER = "parameter"
    ADDRESS = "address"
    OTHER = "other"


class Unreachable(Exception):
    """No connection was made. `said` is what the server or the system gave as the reason; it holds no secret."""

    def __init__(self, obstacle: Obstacle, said: str) -> None:
        super().__init__(said)
        self.obstacle = obstacle
        self.said = said


@asynccontextmanager
async def reached(dsn: str) -> AsyncGenerator[Link]:
    """A connection of the kind that every look here needs; raises Unreachable."""
    try:
        link = await connect(
            dsn, statement_cache_size=0, server_settings={"application_name": "agent-messaging doctor"}
        )
    except AddressError as error:
        raise _unreachable(error.__cause__ or error) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, ValueError) as error:
        raise _unreachable(error) from None
    try:
        yield link
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await link.close(timeout=1)


def _unreachable(error: BaseException) -> Unreachable:
    match error:
        case asyncpg.InvalidPasswordError():
            obstacle = Obstacle.PASSWORD
        case asyncpg.InvalidAuthorizationSpecificationError():
            obstacle = Obstacle.NOT_ADMITTED
        case asyncpg.InvalidCatalogNameError():
            obstacle = Obstacle.UNKNOWN_DATABASE
        case asyncpg.TooManyConnectionsError():
            obstacle = Obstacle.FULL
        case asyncpg.CannotConnectNowError() | asyncpg.ObjectNotInPrerequisiteStateError():
            obstacle = Obstacle.NOT_NOW
        case (
            asyncpg.UndefinedObjectError()
            | asyncpg.CantChangeRuntimeParamError()
            | asyncpg.InvalidParameterValueError()
        ):
            obstacle = Obstacle.PARAMETER
        case asyncpg.ProtocolViolationError() if "startup parameter" in str(error):  # PgBouncer
            obstacle = Obstacle.PARAMETER
        case asyncpg.PostgresError() | asyncpg.InternalClientError():
            obstacle = Obstacle.OTHER
        case TimeoutError():
            obstacle = Obstacle.NO_ANSWER
        case ssl.SSLError():
            obstacle = Obstacle.TLS
        case ConnectionError() if "SSL" in str(error):
            obstacle = Obstacle.TLS
        case gaierror():
            obstacle = Obstacle.UNKNOWN_HOST
        case OSError():
            obstacle = Obstacle.REFUSED
        case _:  # the driver's opinion of the address, which it may quote
            return Unreachable(Obstacle.ADDRESS, "")
    if isinstance(error, OSError):
        return Unreachable(obstacle, error.strerror or ("" if obstacle is Obstacle.NO_ANSWER else type(error).__name__))
    return Unreachable(obstacle, str(error))


@dataclass(frozen=True, slots=True)
class Server:
    """The server as this role sees it: `connections` is how many it gives to ordinary roles, limits are None
    where there is none, and `schema` is None where none of the search path exists.
    """

    version: int
    is_standby: bool
    is_read_only: bool
    synchronous_commit: str
    database: str
    role: str
    schema: str | None
    may_create: bool
    connections: int
    connections_used: int
    role_limit: int | None
    role_used: int
    database_limit: int | None
    database_used: int


async def server(link: Link) -> Server:
    async with link.transaction(readonly=True):
        (row,) = await link.fetch(_SQL["server"])
    return Server(**row)


async def forbidden(link: Link) -> dict[str, list[str]]:
    """What the role may not do with the tables of this code that exist, by table."""
    tables = [name for migration in migrations() for name in _NEW_TABLE.findall(migration.sql)]
    async with link.transaction(readonly=True):
        return {row["table_name"]: row["privileges"] for row in await link.fetch(_SQL["forbidden"], tables)}


async def schema(link: Link) -> None:
    """Raise what `migrate.check` raises, or PermissionError if the role may not look."""
    try:
        async with link.transaction(readonly=True):
            await check(link)
    except asyncpg.InsufficientPrivilegeError as error:
        raise PermissionError(str(error)) from None


async def round_trips(link: Link, *, times: int) -> list[float]:
    """How long the server takes to answer, in seconds."""
    clock = asyncio.get_running_loop().time
    taken: list[float] = []
    for _ in range(times):
        begun = clock()
        await link.execute("SELECT 1")
        taken.append(clock() - begun)
    return taken


async def time(link: Link) -> datetime:
    """The time by the database's clock."""
    return await link.fetchval(_SQL["time"])


@dataclass(frozen=True, slots=True)
class Access:
    """Agents and their tokens. `ending`: agents whose last valid token ends soon; `without`: those that have
    none; of both, `…_agents` names the first few.
    """

    agents: int
    tokens: int
    valid: int
    ending: int
    ending_agents: Sequence[str]
    without: int
    without_agents: Sequence[str]


async def access(link: Link, *, soon: float, names: int) -> Access:
    """`soon` is in seconds."""
    async with link.transaction(readonly=True):
        (row,) = await link.fetch(_SQL["access"], soon, names)
    return Access(**row)


@dataclass(frozen=True, slots=True)
class Pooling:
    """What lies between here and the server. `is_direct`: nothing that speaks PostgreSQL's protocol. `shares`:
    connections are lent out for one transaction at a time. `keeps_statements`: see `pooler`.
    """

    is_direct: bool
    shares: bool
    keeps_statements: bool


async def pooling(dsn: str) -> Pooling:
    """Find out what lies on the way; raises Unreachable."""
    async with reached(dsn) as one, reached(dsn) as other:
        is_direct = await pooler.is_direct(one)
        shares = await _share(one, other)
        kept = (is_direct and not shares) or await pooler.keeps_statements(one)
    return Pooling(is_direct, shares, kept)


async def _share(one: Link, other: Link, *, rounds: int = 3) -> bool:
    """Have two connections of ours been served by the same process, or one of them by several?"""
    ones: set[int] = set()
    others: set[int] = set()
    for _ in range(rounds):
        ones.add(await _backend(one))
        # Whoever is in a transaction keeps its process, so that the other one has to take another, or to wait.
        async with other.transaction(readonly=True):
            others.add(await other.fetchval(_SQL["backend"]))
            asked = asyncio.create_task(_backend(one))
            # Not given up when it takes too long: a cancellation might meet a later statement.
            at_once, _ = await asyncio.wait([asked], timeout=1)
        ones.add(await asked)
        if not at_once:
            return True
    return bool(ones & others) or len(ones) > 1 or len(others) > 1


async def _backend(link: Link) -> int:
    return await link.fetchval(_SQL["backend"])


async def place(link: Link) -> tuple[int, str] | None:
    """Which server, and which database of it; None if the role may not know."""
    try:
        async with link.transaction(readonly=True):
            (row,) = await link.fetch(_SQL["place"])
    except asyncpg.InsufficientPrivilegeError:
        return None
    return row["server"], row["database"]


class Ear:
    """Listens on one connection as a server process does, for what is published through another."""

    def __init__(self, listener: Link) -> None:
        self._listener = listener
        self._wanted = ""
        self._heard = asyncio.Event()

    async def open(self) -> None:
        """Begin to listen; raises PermissionError where PostgreSQL does not allow it (a standby)."""
        try:
            await self._listener.add_listener(CHANNEL, self._receive)
        except asyncpg.PostgresError as error:
            raise PermissionError(str(error)) from None

    async def hear(self, publisher: Link, *, within: float) -> float | None:
        """Publish once; gives the seconds until it was heard, or None."""
        # The form that processes use, from nobody they know, about nothing: they ignore it.
        self._wanted = f"{uuid4().hex}:"
        self._heard.clear()
        clock = asyncio.get_running_loop().time
        begun = clock()
        await publisher.fetchval(_SQL["notify"], CHANNEL, self._wanted)
        try:
            async with asyncio.timeout(within):
                await self._heard.wait()
        except TimeoutError:
            return None
        return clock() - begun

    async def close(self) -> None:
        """Stop listening, if the connection still carries anything."""
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            async with asyncio.timeout(1):
                await self._listener.remove_listener(CHANNEL, self._receive)

    def _receive(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload == self._wanted:
            self._heard.set()
