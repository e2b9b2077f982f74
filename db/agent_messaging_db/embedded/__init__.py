"""The embedded database: a private PostgreSQL that its clients share, and that ends with the last one.

`ensure` joins or starts it; `status`, `stop`, `psql_argv` and `backup` are for its owner.
"""

import threading
from pathlib import Path
from uuid import uuid4

from anyio import to_thread

from agent_messaging_db.embedded import binaries, server
from agent_messaging_db.embedded.errors import EmbeddedDatabaseError
from agent_messaging_db.embedded.layout import Layout, default_data_dir, layout_of
from agent_messaging_db.embedded.locks import FileLock, Patience
from agent_messaging_db.embedded.server import ServerState, ServerStatus

__all__ = [
    "EmbeddedDatabaseError",
    "EmbeddedServer",
    "ServerState",
    "ServerStatus",
    "backup",
    "default_data_dir",
    "ensure",
    "psql_argv",
    "status",
    "stop",
]


class EmbeddedServer:
    """A share in the running server, which stays at least until the share is released.

    The share ends with the process too, however that ends. A forked child holds it as well.
    """

    __slots__ = ("_layout", "_share")

    def __init__(self, layout: Layout, share: FileLock) -> None:
        self._layout = layout
        self._share = share

    @property
    def dsn(self) -> str:
        """The connection string, for asyncpg and for every program built on libpq."""
        return self._layout.dsn

    @property
    def data_dir(self) -> Path:
        """The directory the database lives in."""
        return self._layout.root

    def release(self) -> None:
        """Give the share up; the server stops soon after the last one. Doing it twice is harmless."""
        self._share.close()


async def ensure(data_dir: Path | None = None, *, linger: float = 2.0, timeout: float = 60.0) -> EmbeddedServer:
    """Join the server of `data_dir`, starting it if need be, and wait until it answers.

    To be called again whenever the server is found gone: it is brought back, with its data. Release the
    former share then. `linger` is how many seconds the server outlives its last client, `timeout` how
    many it may take to answer, recovery from a crash included.

    Raises `EmbeddedDatabaseError`.
    """
    abandoned = threading.Event()
    guard = threading.Lock()
    joined: list[EmbeddedServer] = []

    def join() -> EmbeddedServer:
        layout = layout_of(data_dir)
        share = server.join(layout, Patience(timeout, abandoned), linger=linger)
        with guard:
            joined.append(EmbeddedServer(layout, share))
            if abandoned.is_set():
                share.close()
        return joined[0]

    try:
        return await to_thread.run_sync(join, abandon_on_cancel=True)
    except BaseException:
        # A share that nobody receives would keep the server for as long as this process lives.
        with guard:
            abandoned.set()
            for unclaimed in joined:
                unclaimed.release()
        raise


def status(data_dir: Path | None = None) -> ServerStatus:
    """Return what there is of the server of `data_dir`, and start nothing. Blocks for 2 s at most."""
    return server.status(layout_of(data_dir))


def stop(data_dir: Path | None = None) -> None:
    """Stop the server of `data_dir` although clients may use it, and wait until it is gone.

    A client that goes on working starts it again. Blocks. Raises `EmbeddedDatabaseError`.
    """
    server.stop(layout_of(data_dir))


def psql_argv(data_dir: Path | None = None) -> list[str]:
    """Return the command line of a psql on the server of `data_dir`, which somebody must keep running.

    Raises `EmbeddedDatabaseError`.
    """
    return [str(binaries.locate() / "psql"), layout_of(data_dir).dsn]


async def backup(data_dir: Path | None, file: Path, *, timeout: float = 3600.0) -> None:
    """Write the database to `file`, for pg_restore: as of one moment, complete or not at all.

    The server is started if need be; clients go on meanwhile. Raises `EmbeddedDatabaseError`.
    """
    target = await to_thread.run_sync(file.resolve)
    if target.exists() and not target.is_file():
        # The file is put in its place by renaming, which would take the place of a device as well.
        raise EmbeddedDatabaseError(f"a backup is a file, and {target} is something else")
    running = await ensure(data_dir)
    unfinished = target.with_name(f"{target.name}.{uuid4().hex}.part")

    def dump() -> None:
        binaries.must_run(
            f"back up {running.data_dir} to {target}",
            [
                binaries.locate() / "pg_dump",
                "--format=custom",
                f"--file={unfinished}",
                running.dsn,
            ],
            cwd=Path("/"),
            account=None,
            timeout=timeout,
        )
        unfinished.replace(target)

    try:
        await to_thread.run_sync(dump)
    finally:
        unfinished.unlink(missing_ok=True)
        running.release()
