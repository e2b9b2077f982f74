"""The short name of a directory whose path cannot be a socket address comes and goes with the server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from agent_messaging_db import embedded
from agent_messaging_db.embedded import layout as layouts
from agent_messaging_db.embedded.errors import EmbeddedDatabaseError
from agent_messaging_db.embedded.layout import Layout
from agent_messaging_db.embedded.locks import Mode, try_lock
from tests.leftovers import left_after


@pytest.mark.requirement("examples:embedded:alias")
async def test_who_arrives_while_the_last_server_is_leaving_finds_its_own_way_to_the_next(tmp_path: Path):
    layout = Layout(tmp_path / ("a path too long for a socket " * 4))
    alias = layout.alias
    assert alias is not None
    layout.root.mkdir()
    leaving = try_lock(layout.clients_lock, Mode.EXCLUSIVE)
    assert leaving is not None
    async with asyncio.timeout(90):
        arriving = asyncio.create_task(embedded.ensure(layout.root, linger=0, timeout=30))
        while not alias.is_symlink():  # noqa: ASYNC110 - another thread makes it
            await asyncio.sleep(0.01)
        # What the process that stops the server does last, still alone with the directory.
        alias.unlink()
        leaving.close()
        server = await arriving
        connection = await asyncpg.connect(server.dsn, timeout=90)
        await connection.close()
    server.release()
    assert left_after(20, layout.root) == {}
    assert not alias.is_symlink()


@pytest.mark.requirement("examples:embedded:alias")
def test_a_name_that_is_removed_while_it_is_looked_at_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / ("a path too long for a socket " * 4))
    alias = layout.alias
    assert alias is not None
    layouts.prepare(layout)
    look, looked = Path.lstat, list[Path]()

    def removed_at_first(path: Path) -> object:
        if path == alias and not looked:
            alias.unlink()
        looked.append(path)
        return look(path)

    monkeypatch.setattr(Path, "lstat", removed_at_first)
    try:
        layouts.prepare(layout)
        assert alias in looked
        assert alias.readlink() == layout.data
    finally:
        alias.unlink()


@pytest.mark.requirement("examples:embedded:alias")
def test_a_name_that_is_taken_by_something_else_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path / ("a path too long for a socket " * 4))
    alias = layout.alias
    assert alias is not None
    alias.write_text("a file")
    try:
        with pytest.raises(EmbeddedDatabaseError, match="is not ours"):
            layouts.prepare(layout)
    finally:
        alias.unlink()
