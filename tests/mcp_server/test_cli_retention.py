"""The command that removes what is old."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from agent_messaging import AgentMessaging
from agent_messaging_mcp.cli import main
from tests.protocol.test_retention import agents, grow_old, rows

Run = Callable[..., Result]


@pytest.fixture
def run(dsn: str) -> Run:
    def run(*arguments: str) -> Result:
        given = {name: None for name in os.environ if name.startswith(("POSTGRES_", "AGENT_MESSAGING_"))}
        return CliRunner().invoke(main, ["prune", *arguments], env={**given, "DATABASE_URL": dsn})

    return run


async def _two_old_messages_and_one_unread(dsn: str) -> None:
    async with agents(dsn) as sdk:
        await sdk.async_conversation.send("alice", "bob", "one")
        await sdk.async_conversation.send("alice", "bob", "two")
        await sdk.async_conversation.get_unread_messages("bob")
        await sdk.async_conversation.send("alice", "bob", "unread")
    await grow_old(dsn, 100)


@pytest.fixture
def old(dsn: str) -> None:
    asyncio.run(_two_old_messages_and_one_unread(dsn))


@pytest.mark.requirement("retention:command")
@pytest.mark.usefixtures("old")
def test_it_says_what_would_go_and_what_went(run: Run, dsn: str) -> None:
    would = run("--older-than", "90d", "--dry-run")
    assert (would.exit_code, would.stderr) == (0, "")
    assert would.stdout.startswith(
        "Would remove 2 messages (0 questions among them, with their answers) and 0 meetings"
    )
    assert asyncio.run(rows(dsn))["messages"] == 3

    did = run("--older-than", "90d", "--json")
    assert did.exit_code == 0
    told = json.loads(did.stdout)
    assert (told["messages"], told["dry_run"]) == (2, False)
    assert asyncio.run(rows(dsn))["messages"] == 1

    again = run("--older-than", "90d")
    assert again.stdout.startswith("Removed 0 messages")


@pytest.mark.requirement("retention:age")
@pytest.mark.parametrize("age", ["0d", "23h", "90", "never", "-1d", ""])
def test_an_age_that_is_none_or_below_a_day_is_refused(age: str, run: Run) -> None:
    refused = run("--older-than", age)
    assert refused.exit_code == 2
    assert "a day or more" in refused.stderr


@pytest.mark.requirement("retention:age")
def test_an_age_has_to_be_given(run: Run) -> None:
    assert run().exit_code == 2


@pytest.mark.requirement("retention:command")
@pytest.mark.usefixtures("old")
def test_one_that_is_interrupted_says_what_is_gone(run: Run, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prune = AgentMessaging.prune

    async def interrupted(self: AgentMessaging[object], *arguments: float, **options: object) -> object:
        await prune(self, *arguments, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(AgentMessaging, "prune", interrupted)
    stopped = run("--older-than", "90d")
    assert stopped.exit_code == 130
    assert stopped.stdout == ""
    assert stopped.stderr.startswith("Interrupted. Removed 2 messages")
