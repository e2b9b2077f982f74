"""The small process that stops the server when its last client is gone, and the signals it needs.

It runs as a script, without site-packages, to stay small: nothing but the standard library here.
"""

import contextlib
import os
import signal
import socket
import struct
import sys
import time
from enum import StrEnum
from types import FrameType

if sys.platform != "win32":
    import fcntl

ROLE = "agent_messaging"
DATABASE = "agent_messaging"
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
# Below the directory the owner named: CLIENTS and LOG, and the rest in one for each major version.
CLIENTS = "clients"
LOG = "postgres.log"
DATA = "data"
SERVER_LOCK = "server.lock"

ANSWER_TIMEOUT = 2.0  # seconds
_FAST_SHUTDOWN_TIMEOUT = 60.0
_IMMEDIATE_SHUTDOWN_TIMEOUT = 10.0
_LOG_LIMIT = 4 * 1024 * 1024
_LOG_KEPT = 256 * 1024
_LOG_CHECK_INTERVAL = 60.0


class Answer(StrEnum):
    """What a server says to somebody who wants to connect."""

    READY = "ready"
    NOT_YET = "starting up or shutting down"
    REFUSED = "refusing us"
    SILENT = "not answering"
    ABSENT = "not there"


def ask(socket_directory: str, timeout: float = ANSWER_TIMEOUT) -> tuple[Answer, str, int]:
    """Connect as a client does; return the answer, the server's words, and the listener's pid.

    The pid is the kernel's knowledge of who listens on the socket, not a number from a file; it is 0
    where the kernel does not tell (a server in another container).
    """
    pid = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(os.path.join(socket_directory, SOCKET_NAME))
            pid = _listener(connection)
            connection.sendall(_startup_message())
            answer, words = _read_answer(connection)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return Answer.ABSENT, "", 0
        except (BrokenPipeError, ConnectionResetError):
            return Answer.NOT_YET, "connection closed", pid
        except TimeoutError:
            return Answer.SILENT, f"no answer within {timeout:.1f} s", pid
        with contextlib.suppress(OSError):
            connection.sendall(b"X\0\0\0\4")
    return answer, words, pid


def _startup_message() -> bytes:
    settings = ("user", ROLE, "database", DATABASE, "application_name", "agent-messaging probe")
    body = struct.pack("!i", 196608) + b"".join(word.encode() + b"\0" for word in settings) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def _read_answer(connection: socket.socket) -> tuple[Answer, str]:
    while True:
        head = _read(connection, 5)
        body = _read(connection, struct.unpack("!i", head[1:])[0] - 4)
        match head[:1]:
            case b"Z":
                return Answer.READY, ""
            case b"R" if body[:4] != b"\0\0\0\0":
                return Answer.REFUSED, "the server asks for a password"
            case b"E":
                return _refusal({field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0")})
            case _:
                pass


def _refusal(fields: dict[bytes, str]) -> tuple[Answer, str]:
    words = f"{fields.get(b'M', 'no reason given')} ({fields.get(b'C', '?')})"
    match fields.get(b"C"):
        case "57P03":
            return Answer.NOT_YET, words
        # Too many clients is a server at work.
        case "53300":
            return Answer.READY, words
        case _:
            return Answer.REFUSED, words


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data


def _listener(connection: socket.socket) -> int:
    if sys.platform == "linux":
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return struct.unpack("iII", credentials)[0]
    local_peer_pid = 2  # <sys/un.h> of macOS; the level of local sockets is 0
    return struct.unpack("i", connection.getsockopt(0, local_peer_pid, 4))[0]


def signal_server(socket_directory: str, number: signal.Signals) -> bool:
    """Send a signal to the process that listens on the socket and answers there; False if none does.

    A pid can pass to another process at any moment. The handle is taken first, and only then is the
    same process asked to answer, so that what the handle names is known to be the server.
    """
    _, _, pid = ask(socket_directory)
    if pid <= 0:
        return False
    handle = None
    with contextlib.suppress(AttributeError, OSError):  # not on macOS, not on old kernels
        handle = os.pidfd_open(pid)
    try:
        answer, _, same_pid = ask(socket_directory)
        if same_pid != pid or answer in (Answer.SILENT, Answer.ABSENT):
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def stop_server(socket_directory: str, server_lock: str) -> bool:
    """Stop the server and wait until no process of it is left; True if so, also if there was none.

    Fast shutdown (clients are disconnected, everything is written), after a minute the immediate one.
    """
    for number, timeout in (
        (signal.SIGINT, _FAST_SHUTDOWN_TIMEOUT),
        (signal.SIGQUIT, _IMMEDIATE_SHUTDOWN_TIMEOUT),
    ):
        sent = False
        ends_at = time.monotonic() + timeout
        while time.monotonic() < ends_at:
            if is_free(server_lock) and ask(socket_directory)[0] is Answer.ABSENT:
                return True
            sent = sent or signal_server(socket_directory, number)
            time.sleep(0.01)
    return False


def is_free(lock: str) -> bool:
    """True if nobody holds the lock on the file of that name."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _wait_for_the_last_client(clients: int, linger: float) -> None:
    """Return with the clients' lock held, after nobody has come for `linger` seconds."""
    while True:
        fcntl.flock(clients, fcntl.LOCK_EX)
        fcntl.flock(clients, fcntl.LOCK_UN)
        time.sleep(linger)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return


def keep_small(log: str) -> None:
    """Cut the log, keeping its end; the server appends, so it goes on at the new end."""
    with contextlib.suppress(OSError), open(log, "r+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END) > _LOG_LIMIT:
            file.seek(-_LOG_KEPT, os.SEEK_END)
            kept = file.read()
            file.truncate(0)
            file.seek(0)
            file.write(kept)


def main() -> None:
    """Run the reaper: VERSION_DIRECTORY OWN_LOCK_DESCRIPTOR LINGER ALIAS."""
    version_directory, own_lock, linger, alias = sys.argv[1:]
    # From here on all names are relative, and so fit into a socket address.
    os.chdir(version_directory)

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        keep_small(f"../{LOG}")

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, _LOG_CHECK_INTERVAL, _LOG_CHECK_INTERVAL)
    clients = os.open(f"../{CLIENTS}", os.O_RDWR | os.O_CLOEXEC)
    _wait_for_the_last_client(clients, float(linger))
    stop_server(DATA, SERVER_LOCK)
    if alias:
        with contextlib.suppress(OSError):
            os.unlink(alias)
    # Whoever gets in once `clients` is free must find this reaper gone, or it would start none.
    os.close(int(own_lock))
    os.close(clients)


if __name__ == "__main__":
    main()
