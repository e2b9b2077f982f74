"""The command line beside the server: the schema, and the embedded database for its owner."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_messaging_db import embedded


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent_messaging_mcp", *arguments],
        env={"PATH": os.environ.get("PATH", ""), **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.requirement("mcp:cli:migrate")
def test_migrate_brings_an_empty_database_up_to_date(empty_dsn: str) -> None:
    for _ in range(2):
        done = run("migrate", DATABASE_URL=empty_dsn, AUTO_MIGRATE="false")
        assert (done.returncode, done.stdout) == (0, "The database is up to date.\n"), done.stderr
    unreachable = run("migrate", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", DATABASE_PATIENCE="0")
    assert unreachable.returncode == 1
    assert unreachable.stderr.startswith("Error: ")
    assert "Traceback" not in unreachable.stderr


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A directory for an embedded database, which is stopped after the test."""
    directory = tmp_path / "data"
    yield directory
    embedded.stop(directory)


@pytest.mark.requirement("mcp:cli:db")
def test_the_owner_of_an_embedded_database_looks_after_it(data_dir: Path, tmp_path: Path) -> None:
    environment = {"AGENT_MESSAGING_DATA_DIR": str(data_dir)}
    assert run("db", "path", **environment).stdout == f"{data_dir}\n"
    assert run("migrate", **environment).returncode == 0
    asked = run("db", "psql", "--no-psqlrc", "-Atc", "SELECT count(*) FROM agents", **environment)
    assert (asked.returncode, asked.stdout) == (0, "0\n"), asked.stderr
    assert run("db", "dsn", **environment).stdout.startswith("postgresql://")

    backup = tmp_path / "backup.dump"
    assert run("db", "backup", str(backup), **environment).returncode == 0
    assert backup.read_bytes().startswith(b"PGDMP")
    assert run("db", "stop", **environment).returncode == 0
    assert embedded.status(data_dir).pid is None


@pytest.mark.requirement("mcp:cli:lean")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--print-config", "cursor"], ["db", "--help"]])
def test_what_needs_no_server_imports_none(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom agent_messaging_mcp.cli import main\n"
        "try:\n    main(sys.argv[1:], prog_name='agent-messaging')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'mcp', 'mcp_types', 'asyncpg', 'pydantic', 'agent_messaging', 'uvicorn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
