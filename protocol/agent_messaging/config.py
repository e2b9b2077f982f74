"""The settings of the library, read from arguments and the environment once, at the top."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

POSTGRES_FIELDS = frozenset({"postgres_host", "postgres_port", "postgres_user", "postgres_password", "postgres_db"})

LONGEST = 1e9
"""In seconds, some thirty years: what can safely be added to a time."""
MOST_BUDGET = 10_000
"""So many messages of a pair are looked at when it has a budget."""


class Config(BaseSettings):
    """SDK configuration (the design's `Config`). Durations are seconds, sizes bytes.

    Every field is also an environment variable of the same name in capitals. If neither `DATABASE_URL` nor
    any `POSTGRES_*` is given, the embedded database of this user is used.
    """

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    postgres_host: str = Field(default="localhost", description="the server, if database_url is not given")
    postgres_port: int = Field(default=5432, ge=1, le=65535, description="its port")
    postgres_user: str = Field(default="postgres", description="the role")
    postgres_password: SecretStr = Field(default=SecretStr(""), description="its password")
    postgres_db: str = Field(default="agent_messaging", description="the database")
    database_url: SecretStr | None = Field(default=None, description="postgresql://…; wins over POSTGRES_*")
    listen_database_url: SecretStr | None = Field(
        default=None,
        description="a direct connection, when database_url goes through a transaction-mode pooler",
    )
    wakeups_url: SecretStr | None = Field(
        default=None,
        description="nats://…, for wake-ups over NATS instead of PostgreSQL; several servers of one cluster are "
        "separated by commas",
    )
    data_dir: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("data_dir", "AGENT_MESSAGING_DATA_DIR"),
        description="where the embedded database lives; the user's data directory unless given",
    )
    auto_migrate: bool = Field(default=True, description="bring the schema up to date at start")

    max_pool_size: int = Field(default=10, ge=2, description="connections in the pool")

    default_conversation_timeout: float = Field(
        default=300.0, ge=0, description="how long a wait for an answer or a message lasts"
    )
    default_meeting_timeout: float = Field(default=600.0, ge=0, description="how long a wait for a turn lasts")
    default_turn_duration: float = Field(
        default=60.0, gt=0, le=LONGEST, description="for a turn, from when its speaker has seen it"
    )
    default_offer_timeout: float = Field(default=120.0, gt=0, le=LONGEST, description="for a speaker to see its turn")
    default_max_turns: int = Field(default=200, ge=1, lt=2**31, description="a meeting ends after so many")
    max_meeting_duration: float = Field(
        default=86_400.0, gt=0, le=LONGEST, description="every meeting ends then, whatever happens"
    )

    enable_turn_timeout: bool = Field(default=True, description="false: new meetings put no limit on a turn once seen")
    auto_invoke_handlers: bool = Field(default=True, description="false: deliveries wait for resume_agent_handler")

    max_message_bytes: int = Field(default=262_144, ge=1, description="of a message, as JSON")
    max_unread: int = Field(default=10_000, ge=1, description="messages in an inbox; answers get in all the same")
    exchange_budget: int | None = Field(
        default=None,
        ge=0,
        le=MOST_BUDGET,
        description="messages between two agents within exchange_window and since the last question between them, and "
        "ten times as many of any kind; 0 or none: no limit. A server for MCP has 20 unless given",
    )
    exchange_window: float = Field(default=600.0, gt=0, le=LONGEST, description="what exchange_budget is for")
    max_hops: int = Field(
        default=16, ge=0, lt=2**31, description="messages that may follow from one another, by handlers; 0: no limit"
    )
    max_delivery_attempts: int = Field(default=5, ge=1, description="of a handler, before a message is given up")
    handler_concurrency: int = Field(
        default=8, ge=1, description="messages that one agent's handler works on at a time; waiting ones do not count"
    )
    handler_lease: float = Field(
        default=10.0, gt=0, le=LONGEST, description="a process that is silent for this long has lost its claims"
    )
    retry_backoff: float = Field(
        default=1.0, gt=0, le=LONGEST, description="before the second attempt; doubles with each one"
    )
    sweep_interval: float = Field(
        default=1.0, gt=0, le=LONGEST, description="how often lost wake-ups and due deadlines are looked for"
    )
    database_patience: float = Field(
        default=10.0, ge=0, le=LONGEST, description="how long a call retries an unreachable database"
    )

    @field_validator("database_url", "listen_database_url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            address = urlsplit("" if url is None else url.get_secret_value())
        except ValueError:  # its words quote what may be part of a password
            raise ValueError("the address of a database cannot be read: is a sign in it not escaped?") from None
        if url is not None and address.scheme not in ("postgresql", "postgres"):
            raise ValueError("an address of a database begins with postgresql://")
        for host in address.netloc.rpartition("@")[2].split(","):
            port = host.rpartition("]")[2].partition(":")[2]
            if port and not port.isdecimal():
                raise ValueError("the port in the address of a database is a number")
        return url

    @field_validator("wakeups_url")
    @classmethod
    def _is_a_bus(cls, urls: SecretStr | None) -> SecretStr | None:
        for url in () if urls is None else urls.get_secret_value().split(","):
            try:
                address = urlsplit(url.strip())
                _ = address.port
            except ValueError:  # its words quote what may be part of a password
                raise ValueError("the address of a NATS server cannot be read: is a sign in it not escaped?") from None
            if address.scheme not in ("nats", "tls"):
                raise ValueError("an address of a NATS server begins with nats:// or tls://")
            if not address.hostname or address.path not in ("", "/") or address.query or address.fragment:
                raise ValueError("an address of a NATS server is nats://USER:PASSWORD@HOST:PORT or nats://HOST:PORT")
            if address.netloc.count("@") > 1:
                raise ValueError("an @ in a password is written %40 in an address")
        return urls

    @property
    def wakeups_address(self) -> str | None:
        """Where the NATS servers are, if wake-ups go over them."""
        return None if self.wakeups_url is None else self.wakeups_url.get_secret_value()

    @property
    def dsn(self) -> str | None:
        """The server to connect to, or None for the embedded database."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        if not (self.model_fields_set & POSTGRES_FIELDS):
            return None
        user = quote(self.postgres_user, safe="")
        password = quote(self.postgres_password.get_secret_value(), safe="")
        return (
            f"postgresql://{user}:{password}@/{quote(self.postgres_db, safe='')}"
            f"?host={quote(self.postgres_host, safe='')}&port={self.postgres_port}"
        )

    @property
    def listen_dsn(self) -> str | None:
        """Where to LISTEN, if it is not `dsn`."""
        return None if self.listen_database_url is None else self.listen_database_url.get_secret_value()
