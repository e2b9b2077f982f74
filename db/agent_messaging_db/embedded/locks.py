"""File locks that the kernel gives back on ``kill -9``, and bounded waiting."""

import os
import sys
import threading
import time
from enum import Enum, auto
from pathlib import Path

from agent_messaging_db.embedded.errors import EmbeddedDatabaseError

if sys.platform != "win32":
    import fcntl


class Mode(Enum):
    """How a lock is held."""

    SHARED = auto()
    EXCLUSIVE = auto()


class FileLock:
    """A held ``flock``. It lasts until every copy of its descriptor is closed.

    The descriptor is close-on-exec, so a program that is merely run by the holder does not keep
    the lock; a program that is meant to keep it gets the descriptor through ``pass_fds``.
    """

    __slots__ = ("_descriptor", "_guard")

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._guard = threading.Lock()

    @property
    def descriptor(self) -> int:
        """The file descriptor, for ``pass_fds``."""
        if self._descriptor is None:
            raise ValueError("the lock has been given up")
        return self._descriptor

    def close(self) -> None:
        """Give up this process's copy; doing it twice is harmless."""
        with self._guard:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def try_lock(path: Path, mode: Mode) -> FileLock | None:
    """Take the lock on `path`, creating the file; None if somebody holds it in a conflicting mode.

    Raises `EmbeddedDatabaseError` if the file cannot be opened, or its file system has no locks.
    """
    operation = fcntl.LOCK_SH if mode is Mode.SHARED else fcntl.LOCK_EX
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise EmbeddedDatabaseError(
            f"cannot open {path}: {error.strerror}. Name another directory in AGENT_MESSAGING_DATA_DIR, or a "
            "server in DATABASE_URL."
        ) from error
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise EmbeddedDatabaseError(
            f"cannot lock {path}: {error.strerror}. The embedded database needs a local file system "
            "with flock; name a directory on one in AGENT_MESSAGING_DATA_DIR, or a server in "
            "DATABASE_URL."
        ) from error
    return FileLock(descriptor)


class Abandoned(Exception):
    """Nobody is interested in the outcome any more."""


class Patience:
    """A budget of time spent in short pauses that grow from 5 to 100 ms."""

    __slots__ = ("_abandoned", "_ends_at", "_pause")

    def __init__(self, seconds: float, abandoned: threading.Event | None = None) -> None:
        self._ends_at = time.monotonic() + seconds
        self._abandoned = abandoned or threading.Event()
        self._pause = 0.005

    @property
    def seconds_left(self) -> float:
        """What is left of the budget, never negative."""
        return max(0.0, self._ends_at - time.monotonic())

    def pause(self) -> bool:
        """Wait a moment; False once the budget is spent. Raises `Abandoned`."""
        if self._abandoned.wait(min(self._pause, self.seconds_left)):
            raise Abandoned
        self._pause = min(self._pause * 1.3, 0.1)
        return self.seconds_left > 0

    def lock(self, path: Path, mode: Mode) -> FileLock | None:
        """Take the lock on `path` as soon as it is free; None once the budget is spent."""
        while (lock := try_lock(path, mode)) is None:
            if not self.pause():
                return None
        return lock
