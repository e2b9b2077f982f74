"""The commands of an operator who silences agents and organizations."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import Result

from agent_messaging import SilencedError
from tests.mcp_server.test_cli_directory import Run, error, run, said, told
from tests.protocol.world import ORGANIZATION, opened

__all__ = ["run"]


async def of(run: Run, *arguments: str) -> Result:
    """A command beside the event loop of the test: it has one of its own."""
    return await asyncio.to_thread(run, *arguments)


@pytest.mark.requirement("etiquette:silence:command")
async def test_an_operator_silences_an_agent_sees_it_and_lets_it_write_again(run: Run, dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        assert "Nobody is silenced" in said(await of(run, "silence"))
        assert "`agent-messaging unsilence alice` lifts it" in said(await of(run, "silence", "alice"))
        with pytest.raises(SilencedError):
            await sdk.async_conversation.send("alice", "bob", 1)
        assert "alice  " in said(await of(run, "silence"))
        assert "silenced" in said(await of(run, "agent", "list"))
        assert "alice may write again" in said(await of(run, "unsilence", "alice"))
        assert "alice was not silenced" in said(await of(run, "unsilence", "alice"))
        await sdk.async_conversation.send("alice", "bob", 1)


@pytest.mark.requirement("etiquette:silence:command")
async def test_an_operator_silences_an_organization_for_a_while_or_until_a_moment(run: Run, dsn: str) -> None:
    async with opened(dsn, "alice", "bob"):
        made = told(await of(run, "silence", "--organization", ORGANIZATION, "--for", "30m", "--json"))
        left = datetime.fromisoformat(made["until"]) - datetime.now(UTC)
        assert timedelta(minutes=20) < left < timedelta(minutes=40)
        assert made["agent_external_id"] is None
        made = told(await of(run, "silence", "alice", "--until", "2099-01-02T03:04", "--json"))
        assert datetime.fromisoformat(made["until"]) == datetime(2099, 1, 2, 3, 4, tzinfo=UTC)
        assert "all of them" in said(await of(run, "silence"))
        assert "2099-01-02 03:04 UTC" in said(await of(run, "silence"))
        listed = told(await of(run, "silence", "--json"))["silences"]
        assert [one["agent_external_id"] for one in listed] == [None, "alice"]
        assert "but its organization is" in said(await of(run, "unsilence", "alice"))
        assert told(await of(run, "unsilence", "--organization", ORGANIZATION, "--json"))["lifted"]
        assert told(await of(run, "silence", "--json")) == {"silences": []}


@pytest.mark.requirement("etiquette:silence:command")
async def test_a_wrong_command_silences_nobody(run: Run, dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        for arguments in (
            ("alice", "--organization", ORGANIZATION),
            ("alice", "--for", "soon"),
            ("alice", "--until", "soon"),
            ("alice", "--for", "1m", "--until", "2099-01-01"),
            ("--for", "1m"),
        ):
            error(await of(run, "silence", *arguments), 2)
        error(await of(run, "unsilence"), 2)
        assert "agent-messaging agent list" in error(await of(run, "silence", "nobody"))
        assert "agent-messaging organization list" in error(await of(run, "silence", "--organization", "nowhere"))
        error(await of(run, "silence", "alice", "--until", "2001-01-01"))
        assert await sdk.silences.list() == []
