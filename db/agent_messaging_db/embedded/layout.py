"""Where everything of one embedded database lies, and the address its clients use."""

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import platformdirs

from agent_messaging_db.embedded import binaries, reaper
from agent_messaging_db.embedded.errors import EmbeddedDatabaseError

# sun_path holds 104 bytes on macOS, 108 on Linux, the NUL and the socket's own name included.
_LONGEST_SOCKET_DIRECTORY = 100 - len(reaper.SOCKET_NAME) - 1
# A comma separates hosts in a connection string, and shells have opinions about the rest.
_PLAIN = re.compile(r"[A-Za-z0-9_./+@=: -]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of the embedded database below `root`, the directory its owner named."""

    root: Path

    @property
    def version_directory(self) -> Path:
        """What belongs to one major version, so that a later one never meets foreign files."""
        return self.root / str(binaries.MAJOR_VERSION)

    @property
    def data(self) -> Path:
        """The cluster. It appears by a rename, complete, or not at all."""
        return self.version_directory / reaper.DATA

    @property
    def unfinished_data(self) -> Path:
        """The cluster while initdb works on it."""
        return self.version_directory / "data.new"

    @property
    def server_lock(self) -> Path:
        """Held by every process of the server, initdb included: free means none is left."""
        return self.version_directory / reaper.SERVER_LOCK

    @property
    def clients_lock(self) -> Path:
        """Held shared by every client; whoever gets it exclusively knows that there is none."""
        return self.root / reaper.CLIENTS

    @property
    def start_lock(self) -> Path:
        """Held while a server is being started or stopped by hand."""
        return self.root / "start.lock"

    @property
    def reaper_lock(self) -> Path:
        """Held by the reaper for its life."""
        return self.root / "reaper.lock"

    @property
    def log(self) -> Path:
        """The server's log; the reaper keeps it small."""
        return self.root / reaper.LOG

    @property
    def alias(self) -> Path | None:
        """A short symbolic link to the cluster, if its own path cannot be a socket address."""
        data = os.fsencode(self.data)
        if len(data) <= _LONGEST_SOCKET_DIRECTORY and _PLAIN.fullmatch(str(self.data)):
            return None
        digest = hashlib.sha256(data).hexdigest()[:16]
        return Path("/tmp") / f"agent-messaging-{os.geteuid()}-{digest}"  # noqa: S108

    @property
    def socket_directory(self) -> Path:
        """Where clients find the socket: the cluster itself, 0700, under one name or the other."""
        return self.alias or self.data

    @property
    def dsn(self) -> str:
        """The connection string of the database, in full: no environment variable changes it."""
        host = quote(str(self.socket_directory), safe="/")
        return f"postgresql://{reaper.ROLE}@/{reaper.DATABASE}?host={host}&port={reaper.PORT}"


def layout_of(data_dir: Path | None) -> Layout:
    """Return the layout below `data_dir`, or below the user's own data directory.

    Raises `EmbeddedDatabaseError` on a platform that has no embedded database.
    """
    binaries.locate()
    root = data_dir or default_data_dir()
    return Layout(Path(os.path.realpath(root.expanduser())))


def default_data_dir() -> Path:
    """Return the directory used when nobody names one."""
    return platformdirs.user_data_path("agent-messaging", appauthor=False)


def prepare(layout: Layout) -> None:
    """Create the directories and the alias; parents that exist are never changed.

    Raises `EmbeddedDatabaseError` if the directory is somebody else's or cannot be made.
    """
    root = layout.root
    try:
        if not root.is_dir():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = root.stat().st_uid
        if owner != os.geteuid():
            raise EmbeddedDatabaseError(
                f"{root} belongs to user id {owner}, this process is user id {os.geteuid()}, and the "
                "embedded database is private to one user. Name a directory of your own in "
                "AGENT_MESSAGING_DATA_DIR (one that does not exist yet will be made), or a server "
                "in DATABASE_URL."
            )
        layout.version_directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EmbeddedDatabaseError(
            f"cannot make the directory of the embedded database, {root}: {error}. Name a writable "
            "one in AGENT_MESSAGING_DATA_DIR, or a server in DATABASE_URL."
        ) from error
    if (alias := layout.alias) is not None:
        _link(alias, layout.data)


def _link(alias: Path, target: Path) -> None:
    """Make `alias` point at `target`; a link that somebody else made is refused, never followed."""
    while True:
        with contextlib.suppress(FileExistsError):
            alias.symlink_to(target)
            return
        with contextlib.suppress(FileNotFoundError):  # whoever stopped the last server has just removed it
            if alias.lstat().st_uid == os.geteuid() and alias.is_symlink() and alias.readlink() == target:
                return
            raise EmbeddedDatabaseError(
                f"{alias} is not ours, and the embedded database in {target} needs that name for its "
                "socket. Have it removed, or name a shorter path in AGENT_MESSAGING_DATA_DIR."
            )
