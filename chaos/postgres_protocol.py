"""Just enough of PostgreSQL's wire protocol, version 3, to see messages and where a transaction commits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

ENCRYPTION_REQUESTS = (80877103, 80877104)
CANCEL_REQUEST = 80877102

_REQUESTS = {
    "B": "Bind",
    "C": "Close",
    "D": "Describe",
    "E": "Execute",
    "H": "Flush",
    "P": "Parse",
    "Q": "Query",
    "S": "Sync",
}
_REPLIES = {
    "1": "ParseComplete",
    "2": "BindComplete",
    "3": "CloseComplete",
    "A": "NotificationResponse",
    "C": "CommandComplete",
    "D": "DataRow",
    "N": "NoticeResponse",
    "S": "ParameterStatus",
    "T": "RowDescription",
    "Z": "ReadyForQuery",
    "n": "NoData",
    "s": "PortalSuspended",
    "t": "ParameterDescription",
}
_COMMITS = re.compile(r"\s*(COMMIT|END)\b", re.IGNORECASE)
_BEGINS = re.compile(r"\s*(BEGIN|START\s+TRANSACTION)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Message:
    """One message with its length and all. `letter` is empty for the messages that open a connection."""

    letter: str
    data: bytes

    @property
    def body(self) -> bytes:
        return self.data[5:] if self.letter else self.data[4:]

    @property
    def code(self) -> int:
        """What an opening message asks for: a protocol version, or something special."""
        return int.from_bytes(self.body[:4])


class Messages:
    """Cuts one direction of a connection into messages. What a client says is `opening` until it has logged in."""

    def __init__(self, *, opening: bool = False) -> None:
        self._rest = bytearray()
        self._opening = opening

    def feed(self, data: bytes) -> list[Message]:
        """Give the messages that are complete with these bytes."""
        self._rest += data
        complete: list[Message] = []
        while True:
            letters = 0 if self._opening else 1
            if len(self._rest) < letters + 4:
                return complete
            end = letters + int.from_bytes(self._rest[letters : letters + 4])
            if len(self._rest) < end:
                return complete
            message = Message(chr(self._rest[0]) if letters else "", bytes(self._rest[:end]))
            del self._rest[:end]
            complete.append(message)
            if self._opening:
                self._opening = message.code in ENCRYPTION_REQUESTS


class Session:
    """What a connection is in the middle of, as far as commits are concerned."""

    def __init__(self) -> None:
        self.application = ""
        """The `application_name` that the client gave itself."""
        self._status = ""
        self._prepared: dict[str, str] = {}
        self._statements: list[str] = []
        self._since_sync: list[str] = []

    def sent(self, message: Message) -> None:
        """Take note of what the client says."""
        match message.letter:
            case "":
                self._opened(message)
            case "P":
                name, sql = _texts(message.body, 2)
                self._prepared[name] = sql
            case "B":
                _portal, name = _texts(message.body, 2)
                self._ran(self._prepared.get(name, ""))
            case "Q":
                self._ran(_texts(message.body, 1)[0])
            case _:
                pass

    def replied(self, message: Message) -> None:
        """Take note of what the server says."""
        if message.letter == "Z":
            self._status = chr(message.body[0])
            self._since_sync.clear()
            if self._status == "I":
                self._statements.clear()

    def commits(self, matching: str = "") -> bool:
        """Whether what the client has just completed commits a transaction with a statement that matches.

        Every statement outside a transaction is one of its own, what only reads included.
        """
        if not self._since_sync or not any(re.search(matching, sql) for sql in self._statements):
            return False
        match self._status:
            case "I":
                return not _BEGINS.match(self._since_sync[-1])
            case "T":
                return any(map(_COMMITS.match, self._since_sync))
            case _:
                return False

    def _opened(self, message: Message) -> None:
        if message.code in (*ENCRYPTION_REQUESTS, CANCEL_REQUEST):
            return
        texts = message.body[4:].decode(errors="replace").split("\0")
        self.application = dict(zip(texts[::2], texts[1::2], strict=False)).get("application_name", "")

    def _ran(self, sql: str) -> None:
        self._statements.append(sql)
        self._since_sync.append(sql)


@dataclass(frozen=True, slots=True)
class Boundary:
    """A place to cut a connection: before a message, or inside it."""

    message: int
    inside: bool
    name: str

    def until_here(self, messages: Sequence[Message]) -> bytes:
        """Give the bytes that still get through."""
        whole = b"".join(message.data for message in messages[: self.message])
        broken = messages[self.message].data
        return whole + (broken[: len(broken) // 2] if self.inside else b"")


def boundaries(messages: Sequence[Message], *, replies: bool) -> list[Boundary]:
    """Give every place where messages can be cut so that the last of them does not arrive."""
    names = _REPLIES if replies else _REQUESTS
    found: list[Boundary] = []
    for number, message in enumerate(messages):
        name = names.get(message.letter, repr(message.letter))
        found += [Boundary(number, False, f"before {name}"), Boundary(number, True, f"inside {name}")]
    return found


def _texts(body: bytes, count: int) -> list[str]:
    return [text.decode(errors="replace") for text in body.split(b"\0", count)[:count]]
