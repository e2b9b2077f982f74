"""The doctor in an environment of its own, and what it looks at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest

from agent_messaging import Config
from agent_messaging_db import embedded
from agent_messaging_mcp.doctor import reaching, wakeups
from agent_messaging_mcp.doctor.configuration import PREFIX
from agent_messaging_mcp.doctor.examination import examine
from agent_messaging_mcp.doctor.findings import Check, Finding, Result
from agent_messaging_mcp.settings import Settings
from tests.conftest import execute
from tests.mcp_server.doctor.examining import SECRET, Examine


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Examine the installation of this environment, and of no other variable of ours."""
    for name in (*Config.model_fields, "oauth_issuer", "oauth_audience", "oauth_jwks_url"):
        monkeypatch.delenv(name.upper(), raising=False)
    for name in (*Settings.model_fields, "data_dir"):
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)

    monkeypatch.setattr(wakeups, "IDLE", 0.2)
    # However slow the machine of these tests is, its database is sound.
    monkeypatch.setattr(wakeups, "SLOW", 5)
    monkeypatch.setattr(reaching, "FAR", 5)

    async def work(*, clock: Callable[[], float] = time.time, **environment: str) -> dict[Check, Finding]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        async with asyncio.timeout(90):
            findings = await examine(clock=clock)
        assert [finding.check for finding in findings] == list(Check)
        for finding in findings:
            assert finding.found
            assert bool(finding.do) == (finding.result in (Result.WARNING, Result.FAILING)), finding
            assert SECRET not in f"{finding.found} {finding.do}"
        return {finding.check: finding for finding in findings}

    return work


@pytest.fixture
async def role(server: str, database_prefix: str) -> AsyncGenerator[str]:
    """A role that may do nothing yet."""
    name = f"{database_prefix}_role"
    await execute(server, f"CREATE ROLE {name}")
    yield name
    await execute(server, f"DROP ROLE {name}")


@pytest.fixture
def private_server(tmp_path: Path) -> Iterator[Path]:
    """A directory for a server whose files a test may change."""
    yield tmp_path / "data"
    embedded.stop(tmp_path / "data")
