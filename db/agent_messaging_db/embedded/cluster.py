"""Making the cluster: initdb, our database in it, who may connect, and how it is set."""

import os
import shutil
import sys
from pathlib import Path

from agent_messaging_db.embedded import binaries, reaper
from agent_messaging_db.embedded.binaries import Account
from agent_messaging_db.embedded.errors import EmbeddedDatabaseError
from agent_messaging_db.embedded.layout import Layout
from agent_messaging_db.embedded.locks import FileLock, Patience

# One call for the file system instead of one for each of a thousand files: seconds on a busy disk.
_SYNC_METHOD = "syncfs" if sys.platform == "linux" else "fsync"
# Written into postgresql.conf when the cluster is made, so that its owner may change them there.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": ".",  # the cluster itself: private already, however long its path
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "recovery_init_sync_method": _SYNC_METHOD,
    # systemd removes the shared memory of a user who logs out, and containers have little of it.
    "dynamic_shared_memory_type": "mmap",
    "log_min_messages": "log",  # failed statements are their clients' to report
    "log_checkpoints": "off",
    "cluster_name": "agent-messaging",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def ensure_cluster(
    layout: Layout, programs: Path, account: Account | None, server_lock: FileLock, patience: Patience
) -> None:
    """Make the cluster if there is none; it appears complete or not at all.

    The programs inherit `server_lock`: if we are killed, nobody touches their work before they end.
    Raises `EmbeddedDatabaseError`, also if the cluster's place holds something else.
    """
    if (layout.data / "PG_VERSION").exists():
        return
    if layout.data.exists():
        raise EmbeddedDatabaseError(
            f"{layout.data} is not a PostgreSQL cluster, and is left as it is. Move it away, or name another "
            "directory in AGENT_MESSAGING_DATA_DIR."
        )
    fresh = layout.unfinished_data
    binaries.client_name()
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if account is not None:
            os.chown(fresh, account.user, account.group)
        _fill(fresh, programs, account, server_lock, patience)
        fresh.rename(layout.data)
        _sync(layout.version_directory)
    except OSError as error:
        raise EmbeddedDatabaseError(f"could not make a database in {layout.root}: {error}.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _fill(fresh: Path, programs: Path, account: Account | None, server_lock: FileLock, patience: Patience) -> None:
    here = binaries.here(account)

    def run(attempt: str, *command: str | Path, standard_input: str = "") -> None:
        binaries.must_run(
            f"{attempt} in {fresh.parent.parent}",
            command,
            cwd=fresh,
            account=account,
            timeout=patience.seconds_left,
            keep_open=(server_lock.descriptor,),
            standard_input=standard_input,
        )

    settings = [f"--set={name}={value}" for name, value in _SETTINGS.items()]
    run(
        "make a database",
        programs / "initdb",
        f"--pgdata={here}",
        f"--username={reaper.ROLE}",
        "--auth-local=peer",
        "--auth-host=reject",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--no-instructions",
        "--no-sync",
        *settings,
    )
    run(
        "make a database",
        *(programs / "postgres", "--single", "-F", "-j", "-c", "exit_on_error=on", "-D", here, "template1"),
        standard_input=f"CREATE DATABASE {reaper.DATABASE}\n",
    )
    _let_in(fresh, account)
    run(
        "write a database to disk",
        *(programs / "initdb", "--sync-only", f"--sync-method={_SYNC_METHOD}", f"--pgdata={here}"),
    )


def _let_in(fresh: Path, account: Account | None) -> None:
    """Let in whoever the kernel says is our own account, from this machine, and nobody else."""
    role, client = reaper.ROLE, binaries.client_name()
    access = f"local all {role} peer map=owner\nlocal replication {role} peer map=owner\n"
    for name, text in (("pg_hba.conf", access), ("pg_ident.conf", f'owner "{client}" {role}\n')):
        path = fresh / name
        path.write_text(text, encoding="utf-8")
        if account is not None:
            os.chown(path, account.user, account.group)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
