"""The settings of the server, from arguments and the environment; the protocol's own are in
`agent_messaging.Config`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent_messaging_mcp.identity import name_of


class Settings(BaseSettings):
    """Every field is also an environment variable with the prefix `AGENT_MESSAGING_`. Durations are
    seconds.
    """

    model_config = SettingsConfigDict(env_prefix="AGENT_MESSAGING_", env_ignore_empty=True, extra="ignore", frozen=True)

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
    log_level: str = Field(
        default="WARNING",
        pattern="(?i)^(debug|info|warning|error|critical)$",
        description="what is written to standard error: debug, info, warning, error or critical",
    )
