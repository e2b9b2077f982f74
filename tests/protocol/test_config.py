"""The configuration: the design's fields, defaults and environment names, and which database they come to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from agent_messaging import AgentMessaging, Config, DatabaseUnavailableError, NotInitializedError
from agent_messaging_db import embedded

DESIGN: dict[str, Any] = {
    "postgres_host": "localhost",
    "postgres_port": 5432,
    "postgres_user": "postgres",
    "postgres_password": SecretStr(""),
    "postgres_db": "agent_messaging",
    "max_pool_size": 10,
    "default_conversation_timeout": 300.0,
    "default_meeting_timeout": 600.0,
    "default_turn_duration": 60.0,
    "enable_turn_timeout": True,
    "auto_invoke_handlers": True,
}
PROTOCOL: dict[str, Any] = {
    "max_message_bytes": 256 * 1024,
    "max_unread": 10_000,
    "max_delivery_attempts": 5,
    "handler_concurrency": 8,
    "handler_lease": 10.0,
    "default_offer_timeout": 120.0,
    "default_max_turns": 200,
    "max_meeting_duration": 86_400.0,
}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what configures is set."""
    for name in os.environ:
        if name.lower() in Config.model_fields or name.startswith("AGENT_MESSAGING_DATA"):
            monkeypatch.delenv(name)


@pytest.mark.requirement("config:design")
def test_the_fields_and_defaults_are_the_designs_and_the_limits_the_protocols() -> None:
    config = Config()

    assert {name: getattr(config, name) for name in DESIGN | PROTOCOL} == DESIGN | PROTOCOL


@pytest.mark.requirement("config:environment")
def test_every_field_of_the_design_is_read_from_the_environment_and_an_argument_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in [("HOST", "db"), ("PORT", "5433"), ("USER", "me"), ("PASSWORD", "p@ss/word"), ("DB", "mine")]:
        monkeypatch.setenv(f"POSTGRES_{name}", value)
    monkeypatch.setenv("MAX_POOL_SIZE", "7")
    monkeypatch.setenv("ENABLE_TURN_TIMEOUT", "false")
    monkeypatch.setenv("DEFAULT_MEETING_TIMEOUT", "")
    config = Config(postgres_port=5434)

    assert (config.postgres_host, config.postgres_port, config.postgres_user) == ("db", 5434, "me")
    assert (config.max_pool_size, config.enable_turn_timeout, config.default_meeting_timeout) == (7, False, 600.0)
    assert config.dsn == "postgresql://me:p%40ss%2Fword@/mine?host=db&port=5434"


@pytest.mark.requirement("config:database-url")
def test_database_url_wins_over_postgres_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db")
    assert Config().dsn == "postgresql://postgres:@/agent_messaging?host=db&port=5432"
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/x")
    monkeypatch.setenv("LISTEN_DATABASE_URL", "postgresql://direct/x")

    assert Config().dsn == "postgresql://elsewhere/x"
    assert Config().listen_dsn == "postgresql://direct/x"


@pytest.mark.requirement("config:embedded")
async def test_the_embedded_database_is_used_when_nothing_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Path | None] = []

    async def ensure(data_dir: Path | None) -> None:
        asked.append(data_dir)
        raise embedded.EmbeddedDatabaseError("no server today")

    monkeypatch.setattr(embedded, "ensure", ensure)
    monkeypatch.setenv("AGENT_MESSAGING_DATA_DIR", str(tmp_path))
    assert Config().dsn is None
    with pytest.raises(DatabaseUnavailableError, match="no server today"):
        await AgentMessaging().initialize()

    assert asked == [tmp_path]


@pytest.mark.requirement("config:bad-values")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("postgres_port", "x"),
        ("postgres_port", 70_000),
        ("max_pool_size", 0),
        ("default_conversation_timeout", -1),
        ("default_meeting_timeout", float("nan")),
        ("default_turn_duration", 0),
        ("default_offer_timeout", float("inf")),
        ("default_max_turns", 2**31),
        ("max_meeting_duration", 1e12),
        ("handler_lease", 0),
        ("sweep_interval", float("inf")),
        ("max_unread", 0),
        ("database_url", "localhost:5432/x"),
        ("database_url", "mysql://root:secret@h/x"),
        ("database_url", "postgresql://u:secret@h:port/x"),
        ("database_url", "postgresql://u:[secret]x@h/x"),
        ("listen_database_url", "redis://h"),
        ("max_unred", 5),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field_without_repeating_it(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field) as caught:
        Config(**{field: value})

    assert "secret" not in str(caught.value)


@pytest.mark.requirement("config:bad-values")
def test_an_address_may_name_several_hosts_or_a_socket() -> None:
    for url in ("postgres://u:p@h1:1,h2:2/x", "postgresql://[::1]:5432/x", "postgresql://u@/x?host=/run/pg&port=5"):
        assert Config(database_url=SecretStr(url)).dsn == url


@pytest.mark.requirement("config:secrets")
def test_neither_password_nor_address_shows_in_what_a_configuration_prints() -> None:
    config = Config(postgres_password=SecretStr("canary"), database_url=SecretStr("postgresql://u:canary@h/x"))

    assert "canary" not in f"{config!r} {config} {config.model_dump()}"


@pytest.mark.requirement("config:fixed")
def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().max_unread = 5


@pytest.mark.requirement("config:open")
async def test_a_call_before_opening_or_after_closing_says_what_to_do(dsn: str) -> None:
    sdk: AgentMessaging[Any] = AgentMessaging(Config(database_url=SecretStr(dsn)))
    for _ in range(2):
        with pytest.raises(NotInitializedError, match="async with"):
            await sdk.meeting.create_meeting("alice", ["bob"])
        await sdk.initialize()
        await sdk.initialize()
        await sdk.close()
        await sdk.close()
