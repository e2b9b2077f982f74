"""Starting, joining and stopping the server; everything here blocks."""

import os
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agent_messaging_db.embedded import binaries, cluster, reaper
from agent_messaging_db.embedded.errors import EmbeddedDatabaseError
from agent_messaging_db.embedded.layout import Layout, prepare
from agent_messaging_db.embedded.locks import FileLock, Mode, Patience, try_lock
from agent_messaging_db.embedded.reaper import Answer

_QUOTED_LOG = 1500  # bytes
_HELP = "Name another directory in AGENT_MESSAGING_DATA_DIR, or a server in DATABASE_URL."


class ServerState(StrEnum):
    """What there is of an embedded database."""

    NEVER_STARTED = "never started"
    STOPPED = "stopped"
    RUNNING = "running"
    STARTING_OR_STOPPING = "starting or stopping"
    NOT_ANSWERING = "not answering"


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """State of an embedded database; `pid` of its server, if there is one that this process can see."""

    state: ServerState
    data_dir: Path
    dsn: str
    log: Path
    pid: int | None


def join(layout: Layout, patience: Patience, *, linger: float) -> FileLock:
    """Return a client's share in the server that runs for `layout`; started if there is none.

    The share keeps the server running. `linger` is how many seconds the server stays when the last
    share is given up. Raises `EmbeddedDatabaseError`.
    """
    prepare(layout)
    share = patience.lock(layout.clients_lock, Mode.SHARED)
    if share is None:
        raise EmbeddedDatabaseError(
            f"the server in {layout.root} is being stopped and does not come to an end. "
            f"Its log: {layout.log}. Try again. {_HELP}"
        )
    try:
        # The last reaper removes the alias: it may have done so while we waited for it to leave.
        prepare(layout)
        _ensure_reaper(layout, linger)
        if _answer(layout, patience) is not Answer.READY:
            _bring_up(layout, patience)
    except OSError as error:
        share.close()
        raise EmbeddedDatabaseError(f"cannot start the server in {layout.root}: {error}. {_HELP}") from error
    except BaseException:
        share.close()
        raise
    return share


def status(layout: Layout) -> ServerStatus:
    """Return what there is, and start nothing."""
    if layout.version_directory.exists():
        prepare(layout)
    answer, _, pid = reaper.ask(str(layout.socket_directory))
    if answer is Answer.ABSENT:
        _tidy(layout)
    match answer:
        case Answer.READY:
            state = ServerState.RUNNING
        case Answer.NOT_YET:
            state = ServerState.STARTING_OR_STOPPING
        case Answer.REFUSED | Answer.SILENT:
            state = ServerState.NOT_ANSWERING
        case Answer.ABSENT if not reaper.is_free(str(layout.server_lock)):
            state = ServerState.STARTING_OR_STOPPING
        case Answer.ABSENT:
            state = ServerState.STOPPED if layout.data.exists() else ServerState.NEVER_STARTED
    return ServerStatus(state, layout.root, layout.dsn, layout.log, pid or None)


def stop(layout: Layout) -> None:
    """Stop the server although clients use it. A client that goes on starts it again.

    Raises `EmbeddedDatabaseError` if it does not stop.
    """
    if not layout.version_directory.exists():
        return
    prepare(layout)
    starting = Patience(60.0).lock(layout.start_lock, Mode.EXCLUSIVE)
    try:
        if starting is None or not reaper.stop_server(str(layout.socket_directory), str(layout.server_lock)):
            found = status(layout)
            raise EmbeddedDatabaseError(
                f"the server in {layout.root} did not stop: it is {found.state}, its "
                f"process is {found.pid or 'unknown'}, its log {layout.log}."
            )
    finally:
        if starting is not None:
            starting.close()
    _tidy(layout)


def _tidy(layout: Layout) -> None:
    """Remove the alias that asking and stopping need, if there is nobody who will do it later."""
    if layout.alias is None or not layout.alias.is_symlink():
        return
    if not layout.clients_lock.exists() or (alone := try_lock(layout.clients_lock, Mode.EXCLUSIVE)) is None:
        return
    try:
        if reaper.is_free(str(layout.reaper_lock)):
            layout.alias.unlink(missing_ok=True)
    finally:
        alone.close()


def _answer(layout: Layout, patience: Patience) -> Answer:
    timeout = min(reaper.ANSWER_TIMEOUT, max(0.1, patience.seconds_left))
    answer, words, _ = reaper.ask(str(layout.socket_directory), timeout)
    if answer is Answer.REFUSED:
        raise EmbeddedDatabaseError(
            f"the server in {layout.root} does not let us in: {words}. It should know "
            f"{binaries.client_name()} by {layout.data / 'pg_ident.conf'}. {_HELP}"
        )
    return answer


def _ensure_reaper(layout: Layout, linger: float) -> None:
    """Start the process that stops the server, before there is a server, unless it is there."""
    own_lock = try_lock(layout.reaper_lock, Mode.EXCLUSIVE)
    if own_lock is None:
        return
    log = _open_log(layout)
    try:
        # The shell leaves at once, so that the reaper is nobody's child and nobody's zombie.
        binaries.run(
            [
                *("/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-I", "-S", "-B", reaper.__file__),
                *(layout.version_directory, str(own_lock.descriptor), str(linger), layout.alias or ""),
            ],
            cwd=Path("/"),
            account=None,
            timeout=30,
            keep_open=(own_lock.descriptor,),
            log=log,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedDatabaseError(
            f"cannot run {sys.executable}, which is to stop the embedded database "
            f"after its last client: {error}. Name a server in DATABASE_URL."
        ) from error
    finally:
        os.close(log)
        own_lock.close()


def _bring_up(layout: Layout, patience: Patience) -> None:
    starting = patience.lock(layout.start_lock, Mode.EXCLUSIVE)
    if starting is None:
        raise EmbeddedDatabaseError(
            f"another process has been starting the server in {layout.root} for too long. "
            f"Its log: {layout.log}. Try again. {_HELP}"
        )
    try:
        log_start: int | None = None
        while (answer := _answer(layout, patience)) is not Answer.READY:
            if answer is Answer.ABSENT and (lock := try_lock(layout.server_lock, Mode.EXCLUSIVE)):
                try:
                    if log_start is not None:
                        raise EmbeddedDatabaseError(
                            f"the server in {layout.root} ended while it was starting. "
                            f"{_quote_log(layout, log_start)} {_HELP}"
                        )
                    log_start = _start(layout, lock, patience)
                finally:
                    lock.close()
            if not patience.pause():
                raise EmbeddedDatabaseError(
                    f"the server in {layout.root} is {answer}. "
                    "Recovery after a crash can take long: try again. "
                    f"{_quote_log(layout, log_start)} {_HELP}"
                )
    finally:
        starting.close()


def _start(layout: Layout, server_lock: FileLock, patience: Patience) -> int:
    """Start a server that inherits its lock; return where in the log its words begin."""
    account = binaries.server_account(layout.data)
    programs = binaries.programs_for(account)
    cluster.ensure_cluster(layout, programs, account, server_lock, patience)
    # The lock proves that no process of a server is left: the pids in these files are of nobody, of a
    # zombie, or of somebody else, for whose sake PostgreSQL would refuse to start.
    for stale in ("postmaster.pid", f"{reaper.SOCKET_NAME}.lock"):
        (layout.data / stale).unlink(missing_ok=True)
    log = _open_log(layout)
    try:
        log_start = os.lseek(log, 0, os.SEEK_END)
        binaries.must_run(
            f"start the server in {layout.root}, whose log is {layout.log}",
            [programs / "pg_ctl", "start", "--no-wait", "--silent", "-D", binaries.here(account)],
            cwd=layout.data,
            account=account,
            timeout=patience.seconds_left,
            keep_open=(server_lock.descriptor,),
            log=log,
        )
    finally:
        os.close(log)
    return log_start


def _open_log(layout: Layout) -> int:
    return os.open(layout.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _quote_log(layout: Layout, start: int | None) -> str:
    """Return the last words the server wrote after `start`, and where the rest is."""
    if start is None:
        return f"Its log: {layout.log}."
    with layout.log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(min(end, max(start, end - _QUOTED_LOG)))
        words = file.read().decode(errors="replace").strip()
    return f"Its log, {layout.log}, ends: {words}\n"
