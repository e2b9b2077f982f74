"""Connecting to the database as a server would, and what to do where that is not possible."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from agent_messaging_db import diagnosis, embedded
from agent_messaging_db.diagnosis import Obstacle, Unreachable
from agent_messaging_db.embedded import ServerState
from agent_messaging_mcp.doctor.configuration import place_of
from agent_messaging_mcp.doctor.findings import Case, Check, Finding, Result, milliseconds, quoted
from agent_messaging_mcp.text import one_line

SAMPLES = 5
FAR = 0.05
"""Seconds for a round trip, from which a call, which makes several, is felt to be slow."""

_WORDS: Mapping[Obstacle, tuple[str, str]] = {
    Obstacle.UNKNOWN_HOST: ("no such host", "Correct the host in {variable}."),
    Obstacle.REFUSED: (
        "nobody listens there",
        "Start PostgreSQL, or correct host and port in {variable}; `pg_isready -h {host} -p {port}` tells when it "
        "answers.",
    ),
    Obstacle.NO_ANSWER: (
        "no answer",
        "Let this host through to it (firewall, security group, VPN), or correct {variable}.",
    ),
    Obstacle.PASSWORD: (
        "the password of role {role} is not accepted",
        "Correct it in {variable}, with every sign that has a meaning in addresses escaped (@ as %40, / as %2F); or "
        "set it: ALTER ROLE {role} PASSWORD '…'",
    ),
    Obstacle.NOT_ADMITTED: (
        "role {role} is not admitted",
        "Create the role, or admit it: a line in pg_hba.conf for database {database} and role {role} from this host, "
        "then SELECT pg_reload_conf()",
    ),
    Obstacle.UNKNOWN_DATABASE: (
        "there is no database {database}",
        "CREATE DATABASE {database}, or correct {variable}.",
    ),
    Obstacle.FULL: (
        "every connection is taken",
        "Raise max_connections, or the limit of the role or the database, or lower MAX_POOL_SIZE of the processes.",
    ),
    Obstacle.NOT_NOW: (
        "takes no connections at present",
        "Wait until PostgreSQL has started, and look at its log.",
    ),
    Obstacle.TLS: (
        "no TLS connection could be made",
        "Give what the server wants at the end of {variable}: ?sslmode=verify-full&sslrootcert=FILE, or "
        "?sslmode=disable if it has no TLS.",
    ),
    Obstacle.PARAMETER: (
        "a parameter after the ? is refused",
        "Take it out of {variable}: what the driver does not know goes to the server as a setting.",
    ),
    Obstacle.ADDRESS: (
        "the address cannot be used",
        "Write {variable} as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and after a ? only what the driver knows "
        "(sslmode, sslrootcert, host, port).",
    ),
    Obstacle.OTHER: ("refused", "Look at the log of the server, and at {variable}."),
}


async def reach(case: Case, until_the_end: AsyncExitStack) -> Finding:
    """Connect as a server would, and see how long an answer takes."""
    dsn = case.config.dsn
    if dsn is None:
        embedded_one = await _join_embedded(case.config.data_dir, until_the_end)
        if isinstance(embedded_one, Finding):
            return embedded_one
        dsn = embedded_one
    try:
        link = await until_the_end.enter_async_context(diagnosis.reached(dsn))
    except Unreachable as unreachable:
        found, do = obstacle(unreachable, dsn, case.address_variable)
        return Finding(Check.DATABASE, Result.FAILING, found, do)
    case.reached = dsn, link
    taken = median(await diagnosis.round_trips(link, times=SAMPLES))
    found = f"reached; a round trip takes {milliseconds(taken)} (median of {SAMPLES})"
    if taken >= FAR:
        do = "Run agent-messaging near its database: each call makes several."
        return Finding(Check.DATABASE, Result.WARNING, found, do)
    return Finding(Check.DATABASE, Result.OK, found)


async def _join_embedded(data_dir: Path | None, until_the_end: AsyncExitStack) -> str | Finding:
    """Join the embedded server until the end; gives its address, or what keeps it from being joined."""
    try:
        status = await asyncio.to_thread(embedded.status, data_dir)
        if status.state is ServerState.NEVER_STARTED:
            found = "there is no embedded database yet; whatever needs it first makes it"
            return Finding(Check.DATABASE, Result.WARNING, found, "`agent-messaging migrate` makes it now.")
        share = await embedded.ensure(data_dir)
    except (embedded.EmbeddedDatabaseError, OSError) as error:
        do = "Or bring a database of your own: DATABASE_URL=postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        return Finding(Check.DATABASE, Result.FAILING, one_line(str(error)), do)
    until_the_end.callback(share.release)
    return share.dsn


def obstacle(unreachable: Unreachable, dsn: str, variable: str) -> tuple[str, str]:
    """What was found, and what to do, when `dsn`, given with `variable`, could not be reached."""
    place = place_of(dsn)
    facts = {
        "variable": variable,
        "host": one_line(place.host),
        "port": one_line(place.port),
        "role": quoted(place.user),
        "database": quoted(place.database),
    }
    found, do = (words.format(**facts) for words in _WORDS[unreachable.obstacle])
    at = place.host if place.host.startswith("/") else f"{place.host}:{place.port}"
    said = f" ({one_line(unreachable.said, 200)})" if unreachable.said else ""
    return f"{one_line(at)}: {found}{said}", do
