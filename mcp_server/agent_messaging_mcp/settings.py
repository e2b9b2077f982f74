"""The settings of the server, from arguments and the environment; the protocol's own are in
`agent_messaging.Config`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agent_messaging_mcp.identity import name_of

Names = Annotated[tuple[str, ...], NoDecode]
"""In the environment: separated by commas."""


class Settings(BaseSettings):
    """Every field is also an environment variable with the prefix `AGENT_MESSAGING_`. Durations are
    seconds, sizes bytes.
    """

    model_config = SettingsConfigDict(
        env_prefix="AGENT_MESSAGING_", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    agent: str = Field(
        default_factory=lambda: name_of(Path.cwd()),
        description="who a stdio server acts as; the working directory's name unless given",
    )
    organization: str = Field(default="default", description="the organization a stdio server registers its agent in")
    max_wait_seconds: float = Field(
        default=50.0,
        gt=0,
        le=86_400,
        description="how long a call is held open; hosts cut calls from 60 s on",
    )
    progress_interval: float = Field(default=10.0, gt=0, description="how often a held call reports progress")
    rate_limit_per_minute: int = Field(
        default=600, ge=1, description="calls of one agent to one process; a minute's at once, then evenly"
    )
    exchange_budget: int = Field(
        default=20,
        ge=0,
        le=10_000,
        validation_alias=AliasChoices("exchange_budget", "EXCHANGE_BUDGET"),
        description="messages between two agents within EXCHANGE_WINDOW and since the last question between them, and "
        "ten times as many of any kind; 0: no limit",
    )
    max_open_waits: int = Field(default=16, ge=1, description="waits that one agent may have open in one process")
    max_open_streams: int = Field(
        default=16, ge=1, description="streams and subscriptions that one agent may have open in one process"
    )
    max_requests_at_once: int = Field(
        default=4, ge=1, description="`serve`: requests of one agent that are served at once; the others queue"
    )
    log_level: str | None = Field(
        default=None,
        pattern="(?i)^(debug|info|warning|error|critical)$",
        description="what is written to standard error: debug, info, warning, error or critical; "
        "info for `serve` and warning on stdio unless given",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="how: text for people, json for one object a line"
    )

    host: str = Field(default="127.0.0.1", description="`serve`: the address to listen on")
    port: int = Field(default=8765, ge=0, le=65_535, description="`serve`: the port; 0 takes a free one")
    allowed_hosts: Names = Field(
        default=(),
        description="`serve`: names in a Host header, besides localhost; any port unless one is given",
    )
    allowed_origins: Names = Field(
        default=(), description="`serve`: web pages that may call, besides those of the allowed hosts"
    )
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1_024, description="`serve`: of a request")
    public_url: str | None = Field(
        default=None, description="`serve`: the address of `/mcp` as clients see it, for OAuth discovery"
    )
    oauth_issuer: str | None = Field(
        default=None,
        validation_alias=AliasChoices("oauth_issuer", "OAUTH_ISSUER"),
        description="`serve`: whose JWTs are taken too; their `sub` is the agent",
    )
    oauth_audience: str | None = Field(
        default=None,
        validation_alias=AliasChoices("oauth_audience", "OAUTH_AUDIENCE"),
        description="the audience that these JWTs must be for",
    )
    oauth_jwks_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("oauth_jwks_url", "OAUTH_JWKS_URL"),
        description="where the issuer's keys are, if its metadata does not say",
    )

    @field_validator("allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("public_url", "oauth_issuer", "oauth_jwks_url")
    @classmethod
    def _is_safe_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        address = urlsplit(url)
        loopback = address.hostname in ("localhost", "127.0.0.1", "::1")
        if not address.hostname or address.scheme not in (("http", "https") if loopback else ("https",)):
            raise ValueError("must be an https address")
        return url

    @model_validator(mode="after")
    def _issuer_and_audience(self) -> Settings:
        if (self.oauth_issuer is None) != (self.oauth_audience is None):
            raise ValueError(
                "OAUTH_ISSUER and OAUTH_AUDIENCE belong together: a JWT for another server must not open this one"
            )
        return self
