"""The configuration a server would have: where its database is, and what in it cannot be used."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import ValidationError

from agent_messaging import Config
from agent_messaging.config import POSTGRES_FIELDS
from agent_messaging_db import embedded
from agent_messaging_mcp.doctor.findings import Case, Check, Finding, Result
from agent_messaging_mcp.settings import Settings
from agent_messaging_mcp.text import listed, one_line

PREFIX = "AGENT_MESSAGING_"
_SURELY_MEANT = 0.8
_SECRET = ("DATABASE_URL", "LISTEN_DATABASE_URL")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address leads, without its secrets."""

    host: str
    port: str
    database: str
    user: str

    def __str__(self) -> str:
        at = self.host if self.host.startswith("/") else f"{self.host}:{self.port}"
        return one_line(f"{at}, database {self.database}, role {self.user}")


def place_of(dsn: str) -> Place:
    """Where `dsn` leads, read as the driver reads it."""
    url = urlsplit(dsn)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    servers = url.netloc.rpartition("@")[2]
    user = unquote(url.username or "") or query.get("user") or os.environ.get("PGUSER") or "of this account"
    return Place(
        host=_hosts(servers) or query.get("host") or os.environ.get("PGHOST") or "localhost",
        port=_ports(servers) or query.get("port") or os.environ.get("PGPORT") or "5432",
        database=unquote(url.path.lstrip("/"))
        or query.get("dbname")
        or query.get("database")
        or os.environ.get("PGDATABASE")
        or user,
        user=user,
    )


def _hosts(servers: str) -> str:
    return ",".join(
        unquote(server.rpartition("]")[0].lstrip("[") or server.partition(":")[0]) for server in servers.split(",")
    )


def _ports(servers: str) -> str:
    return ",".join(filter(None, (server.rpartition("]")[2].partition(":")[2] for server in servers.split(","))))


async def read(case: Case) -> Finding:
    """Read what a server would read, and fill in the case."""
    wrong: list[str] = []
    config: Config | None = None
    try:
        config = Config()
    except ValidationError as error:
        wrong += _wrong(error, prefix="")
    try:
        case.read_settings = Settings()
    except ValidationError as error:
        wrong += _wrong(error, prefix=PREFIX)
    torn = [name for name, dsn in _addresses(config) if _is_torn(dsn)]
    wrong += [f"{name}: its password holds a sign that has a meaning in addresses" for name in torn]
    if config is None or wrong:
        if not torn:
            case.read_config = config
        return Finding(Check.CONFIGURATION, Result.FAILING, "; ".join(wrong), _correction(wrong))
    case.read_config = config
    described = _described(config)
    if meant := _misspelled(os.environ):
        return Finding(
            Check.CONFIGURATION,
            Result.WARNING,
            f"{described}; nobody reads {listed(list(meant))}",
            "; ".join(f"Rename {name} to {other}" for name, other in meant.items()) + ".",
        )
    return Finding(Check.CONFIGURATION, Result.OK, described)


def _wrong(error: ValidationError, *, prefix: str) -> list[str]:
    found: list[str] = []
    for at in error.errors(include_input=False, include_url=False, include_context=False):
        field = ".".join(str(part) for part in at["loc"])
        # An alias is a variable already; what belongs to no field says so itself.
        name = field if field.isupper() else f"{prefix}{field.upper()}"
        if name in _SECRET:  # what is wrong with it may quote it
            found.append(f"{name}: not an address of a database (postgresql://USER:PASSWORD@HOST:PORT/DATABASE)")
            continue
        found.append(one_line(f"{name}: {at['msg']}" if field else at["msg"].removeprefix("Value error, "), 300))
    return found


def _correction(wrong: list[str]) -> str:
    if any(words.startswith(_SECRET) for words in wrong):
        return (
            "Write / in the password as %2F, @ as %40, : as %3A, # as %23, ? as %3F, % as %25; or give POSTGRES_HOST, "
            "POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB instead."
        )
    return "Correct or unset these variables; docs/configuration.md lists what each takes."


def _addresses(config: Config | None) -> list[tuple[str, str]]:
    if config is None:
        return []
    given = (("DATABASE_URL", config.database_url), ("LISTEN_DATABASE_URL", config.listen_database_url))
    return [(name, url.get_secret_value()) for name, url in given if url is not None]


def _is_torn(dsn: str) -> bool:
    """Whether a part of the password was taken for something else, which must not be printed then."""
    url = urlsplit(dsn)
    stray = any("=" not in part for part in url.query.split("&")) or "@" not in url.netloc
    if url.netloc.count("@") > 1:  # the driver takes what follows the first for the host
        return True
    return "@" in url.path or "@" in url.fragment or ("@" in url.query and stray)


def _described(config: Config) -> str:
    ignored = sorted(name.upper() for name in config.model_fields_set & POSTGRES_FIELDS)
    if config.database_url is not None:
        words = f"DATABASE_URL: {place_of(config.database_url.get_secret_value())}"
        if ignored:
            words += f" ({listed(ignored)} not used: DATABASE_URL wins)"
    elif config.dsn is not None:
        words = f"POSTGRES_*: {place_of(config.dsn)}"
    else:
        directory = config.data_dir or embedded.default_data_dir()
        words = (
            f"neither DATABASE_URL nor POSTGRES_*, so the embedded database of this user, in {one_line(str(directory))}"
        )
    if config.listen_database_url is not None:
        words += f"; LISTEN_DATABASE_URL: {place_of(config.listen_database_url.get_secret_value())}"
    if config.wakeups_address is not None:
        servers = (urlsplit(url.strip()).netloc.rpartition("@")[2] for url in config.wakeups_address.split(","))
        words += f"; WAKEUPS_URL: {one_line(', '.join(servers))}"
    return words


def _misspelled(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables with our prefix that nobody reads, and that look like one which somebody does."""
    known = {name.upper() for name in Settings.model_fields} | {"DATA_DIR"}
    meant: dict[str, str] = {}
    for variable in sorted(environment):
        name = variable.upper().removeprefix(PREFIX)
        if variable.upper().startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=_SURELY_MEANT)
            if near:
                meant[one_line(variable, 80)] = f"{PREFIX}{near[0]}"
    return meant
