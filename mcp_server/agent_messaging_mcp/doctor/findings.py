"""What an examination is about, what it works on, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from agent_messaging import Config
from agent_messaging_db.diagnosis import Link
from agent_messaging_mcp.settings import Settings
from agent_messaging_mcp.text import one_line

SERVING = frozenset({"host", "port", "allowed_hosts", "allowed_origins", "public_url", "oauth_issuer"})
"""Settings that only somebody gives who means to run `agent-messaging serve`."""


class Check(StrEnum):
    """The checks, in the order in which they are made: a later one may need an earlier one."""

    CONFIGURATION = "configuration"
    DATABASE = "database"
    SERVER = "server"
    ROLE = "role"
    CONNECTIONS = "connections"
    SCHEMA = "schema"
    WAKEUPS = "wake-ups"
    POOLER = "pooler"
    CLOCK = "clock"
    TOKENS = "tokens"
    ISSUER = "issuer"
    EDGE = "edge"


class Result(StrEnum):
    """What a check came to. A warning works, but not as it could; `failing` will not work."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what is to be done about it, with the literal command or variable."""

    check: Check
    result: Result
    found: str
    do: str = ""


class Missing(Exception):
    """A check cannot be made, as something that it needs is not there; the message says what."""


class Case:
    """An installation under examination; filled in as the checks go on.

    What a check asks for and no earlier one could provide raises Missing. `clock` reads this host's clock, in
    seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.read_config: Config | None = None
        self.read_settings: Settings | None = None
        self.reached: tuple[str, Link] | None = None
        self.schema_is_current = False

    @property
    def config(self) -> Config:
        if self.read_config is None:
            raise Missing("the configuration cannot be used")
        return self.read_config

    @property
    def settings(self) -> Settings:
        if self.read_settings is None:
            raise Missing("the configuration cannot be used")
        return self.read_settings

    @property
    def dsn(self) -> str:
        """The address with which the database was reached."""
        return self._database[0]

    @property
    def link(self) -> Link:
        """A connection to the database, along the way that the pool takes."""
        return self._database[1]

    @property
    def migrated(self) -> Link:
        """The same, if the schema is that of this code."""
        link = self.link
        if not self.schema_is_current:
            raise Missing("the schema is not current")
        return link

    @property
    def _database(self) -> tuple[str, Link]:
        if self.reached is None:
            raise Missing("the configuration cannot be used" if self.read_config is None else "no database was reached")
        return self.reached

    @property
    def serves(self) -> bool:
        """Whether a setting of `agent-messaging serve` was given."""
        return self.read_settings is not None and bool(self.read_settings.model_fields_set & SERVING)

    @property
    def address_variable(self) -> str:
        """What the database's address was given with."""
        return "DATABASE_URL" if self.config.database_url is not None else "POSTGRES_*"


def milliseconds(seconds: float) -> str:
    """A short time as people read it: `0.3 ms`, `120 ms`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.0095 else f"{seconds * 1000:.0f} ms"


def quoted(name: str) -> str:
    """The name of a role, a schema or a database as SQL wants it."""
    shown = one_line(name)
    plain = shown.isidentifier() and shown.isascii() and shown.islower()
    return shown if plain else '"{}"'.format(shown.replace('"', '""'))
