"""What can be done in a history: plain data, so that a history can be printed, replayed and sent to another process.

Every operation has a number, its place in the history. Whatever an operation makes is named after it: operation 7
says `w7`, and the question or meeting that it makes is number 7 wherever it is mentioned again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

AGENTS = ("ann", "ben", "cyd", "dan")
STRANGER = "zoe"
"""Nobody of that name was ever registered."""
PROCESSES = (0, 1)


@dataclass(frozen=True, slots=True)
class OneWay:
    number: int
    process: int
    sender: str
    recipients: tuple[str, ...]
    key: str | None = None
    says: int | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """An asynchronous message. `says`: the words of that operation again, which a retry with its key needs."""

    number: int
    process: int
    sender: str
    recipient: str
    key: str | None = None
    says: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A question. `stay`: the caller waits for the answer; otherwise its window is 0."""

    number: int
    process: int
    sender: str
    recipient: str
    reply_by: float
    stay: bool
    key: str | None = None
    says: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`question` None leaves it to the library which one is meant."""

    number: int
    process: int
    sender: str
    recipient: str
    question: int | None
    decline: bool
    key: str | None = None
    says: int | None = None


@dataclass(frozen=True, slots=True)
class EndConversation:
    number: int
    process: int
    agent: str
    other: str


@dataclass(frozen=True, slots=True)
class Unread:
    """`take`: mark read what is given."""

    number: int
    process: int
    agent: str
    sender: str | None
    take: bool
    limit: int | None


@dataclass(frozen=True, slots=True)
class MarkRead:
    """Acknowledge, through `mark_read` or through a cursor, what these operations sent to the agent."""

    number: int
    process: int
    agent: str
    messages: tuple[int, ...]
    cursor: bool


@dataclass(frozen=True, slots=True)
class WaitForMessage:
    number: int
    process: int
    agent: str
    sender: str
    stay: bool


@dataclass(frozen=True, slots=True)
class WaitForAnything:
    number: int
    process: int
    agent: str
    stay: bool


@dataclass(frozen=True, slots=True)
class Create:
    number: int
    process: int
    host: str
    agents: tuple[str, ...]
    turn_duration: float | None = None
    quorum: int | None = None
    start_by: float | None = None
    deadline: float | None = None
    max_turns: int | None = None
    key: str | None = None
    says: int | None = None


@dataclass(frozen=True, slots=True)
class Attend:
    number: int
    process: int
    agent: str
    meeting: int
    stay: bool
    after_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    number: int
    process: int
    agent: str
    meeting: int
    following: str | None
    force: bool


@dataclass(frozen=True, slots=True)
class Speak:
    """`turn` None leaves it to the library which turn is meant. `stay`: wait for the next one."""

    number: int
    process: int
    agent: str
    meeting: int
    passing: bool
    following: str | None
    turn: int | None
    stay: bool
    says: int | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    number: int
    process: int
    agent: str
    meeting: int
    after_turn: bool


@dataclass(frozen=True, slots=True)
class HandOver:
    number: int
    process: int
    agent: str
    meeting: int
    to: str


@dataclass(frozen=True, slots=True)
class End:
    number: int
    process: int
    agent: str
    meeting: int


@dataclass(frozen=True, slots=True)
class Status:
    """Reading a meeting applies what is due."""

    number: int
    process: int
    meeting: int


@dataclass(frozen=True, slots=True)
class Pass:
    """Time passes. `sweep`: the processes apply what became due; otherwise nobody looks."""

    number: int
    seconds: float
    sweep: bool


@dataclass(frozen=True, slots=True)
class Cancel:
    """The caller of the wait that operation `wait` began goes away."""

    number: int
    wait: int


@dataclass(frozen=True, slots=True)
class Crash:
    """The process loses its connections and everything in its memory; another one takes its place."""

    number: int
    process: int


@dataclass(frozen=True, slots=True)
class Restart:
    """The process closes in good order; another one takes its place."""

    number: int
    process: int


Sending: TypeAlias = OneWay | Send | Ask | Answer
Call: TypeAlias = (
    OneWay
    | Send
    | Ask
    | Answer
    | EndConversation
    | Unread
    | MarkRead
    | WaitForMessage
    | WaitForAnything
    | Create
    | Attend
    | Start
    | Speak
    | Leave
    | HandOver
    | End
    | Status
)


@dataclass(frozen=True, slots=True)
class Cut:
    """The caller goes away in the middle of a call, after so many rounds of its event loop."""

    number: int
    call: Call
    rounds: int


Operation: TypeAlias = "Call | Pass | Cancel | Crash | Restart | Cut"
KINDS = tuple(
    kind.__name__
    for kind in (
        *(OneWay, Send, Ask, Answer, EndConversation, Unread, MarkRead, WaitForMessage, WaitForAnything),
        *(Create, Attend, Start, Speak, Leave, HandOver, End, Status, Pass, Cancel, Crash, Restart, Cut),
    )
)


def words(operation: Any) -> str:
    """What an operation says: its own words, or those of an earlier one."""
    said = getattr(operation, "says", None)
    return f"w{operation.number if said is None else said}"
