"""What meetings refuse: every error that the design names for their calls, and every argument that cannot be."""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from agent_messaging import (
    AgentMessaging,
    AgentNotFoundError,
    AgentNotInMeetingError,
    InvalidArgumentError,
    InvalidMeetingError,
    InvalidMessageError,
    MeetingNotFoundError,
    NotMeetingHostError,
)
from tests.protocol.gathering import Word, attends, contents, opened, started

Call = Callable[[AgentMessaging[Word], str, UUID], Awaitable[Any]]

CALLS: dict[str, Call] = {
    "attend": lambda sdk, agent, meeting: sdk.meeting.attend_meeting(agent, meeting, timeout=0),
    "start": lambda sdk, agent, meeting: sdk.meeting.start_meeting(agent, meeting, Word(text="x")),
    "speak": lambda sdk, agent, meeting: sdk.meeting.speak(agent, meeting, Word(text="x"), timeout=0),
    "leave": lambda sdk, agent, meeting: sdk.meeting.leave_meeting(agent, meeting),
    "hand over": lambda sdk, agent, meeting: sdk.meeting.hand_over_host(agent, meeting, "bob"),
    "end": lambda sdk, agent, meeting: sdk.meeting.end_meeting(agent, meeting),
}
HOST_ONLY = ("start", "hand over", "end")
READS: dict[str, Call] = {
    "status": lambda sdk, _, meeting: sdk.meeting.get_meeting_status(meeting),
    "history": lambda sdk, _, meeting: sdk.meeting.get_meeting_history(meeting),
    "meeting": lambda sdk, _, meeting: sdk.meeting.get_meeting(meeting),
    "participants": lambda sdk, _, meeting: sdk.meeting.get_participants(meeting),
}


@pytest.mark.requirement("meeting:unknown-agent")
async def test_every_call_of_an_unknown_agent_says_that_there_is_none(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob")
        before = await contents(dsn)
        for call in CALLS.values():
            with pytest.raises(AgentNotFoundError, match="'nobody'"):
                await call(sdk, "nobody", meeting)
        assert await contents(dsn) == before


@pytest.mark.requirement("meeting:unknown-meeting")
async def test_every_call_on_an_unknown_meeting_says_that_there_is_none(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        before = await contents(dsn)
        unknown: list[Any] = [uuid4(), "m7f3", None, 7, []]
        for call, meeting in itertools.product((CALLS | READS).values(), unknown):
            with pytest.raises(MeetingNotFoundError, match=re.escape(str(meeting))):
                await call(sdk, "alice", meeting)
        assert await contents(dsn) == before


@pytest.mark.requirement("meeting:members-only")
async def test_who_was_never_invited_can_do_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "eve") as sdk:
        meeting = await started(sdk, "alice", "bob")
        before = await contents(dsn)
        for name, call in CALLS.items():
            error = NotMeetingHostError if name in HOST_ONLY else AgentNotInMeetingError
            with pytest.raises(error, match=r"eve was not invited|only the host may, and that is alice"):
                await call(sdk, "eve", meeting)
        assert await contents(dsn) == before


@pytest.mark.requirement("meeting:host-only")
async def test_what_the_host_alone_may_do_is_refused_to_the_members(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        await attends(sdk, meeting, "alice", "bob")
        before = await contents(dsn)
        for name in HOST_ONLY:
            with pytest.raises(NotMeetingHostError, match="only the host may, and that is alice"):
                await CALLS[name](sdk, "bob", meeting)
        assert await contents(dsn) == before


@pytest.mark.requirement("meeting:create:unknown-agent")
async def test_a_meeting_with_an_unknown_agent_is_not_created_and_every_unknown_one_is_named(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        before = await contents(dsn)
        with pytest.raises(AgentNotFoundError, match="'ghost', 'phantom'"):
            await sdk.meeting.create_meeting("alice", ["ghost", "bob", "phantom"])
        with pytest.raises(AgentNotFoundError, match="'ghost'"):
            await sdk.meeting.create_meeting("ghost", ["alice", "bob"])
        assert await contents(dsn) == before


INVALID_MEETINGS: list[tuple[list[str], dict[str, Any], str]] = [
    (["alice", "bob", "bob"], {}, "bob is named twice"),
    (["bob", "alice", "alice"], {}, "alice is named twice"),
    (["alice"], {}, "at least two agents"),
    ([], {}, "at least two agents"),
    (["bob"], {"quorum": 1}, "the quorum is a whole number between 2 and"),
    (["bob"], {"quorum": 3}, r"the number of members \(2\)"),
    (["bob"], {"turn_duration": 0}, "turn_duration is a number of seconds, more than 0"),
    (["bob"], {"turn_duration": float("nan")}, "turn_duration"),
    (["bob"], {"offer_timeout": -1}, "offer_timeout"),
    (["bob"], {"start_by": float("inf")}, "start_by"),
    (["bob"], {"deadline": 86_401}, "at most 86400 seconds"),
    (["bob"], {"start_by": 20, "deadline": 10}, "start_by comes before the deadline"),
    (["bob"], {"max_turns": 0}, "max_turns is a whole number, 1 or more"),
    (["bob"], {"title": "x" * 201}, "the title has 201 characters and at most 200"),
    (["bob"], {"title": "nul\0"}, "the title holds a NUL"),
    (["bob"], {"agenda": "\ud800"}, "the agenda holds"),
]


@pytest.mark.requirement("meeting:create:members")
@pytest.mark.requirement("meeting:create:limits")
async def test_members_or_limits_that_cannot_be_make_a_meeting_invalid_and_none_is_created(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        before = await contents(dsn)
        for agents, limits, says in INVALID_MEETINGS:
            with pytest.raises(InvalidMeetingError, match=says):
                await sdk.meeting.create_meeting("alice", agents, **limits)
        assert await contents(dsn) == before


WRONG_TYPES: list[tuple[str, dict[str, Any]]] = [
    *[("create", {"agents": value}) for value in (None, 7, "bob", [None], [["bob"]], [7], [b"bob"])],
    *[("create", {"host": value}) for value in (None, 7, ["alice"], {})],
    *[
        ("create", {field: value})
        for field in ("turn_duration", "offer_timeout", "start_by", "deadline", "quorum", "max_turns")
        for value in ("5", [], float("nan"), 10**400)
    ],
    *[("create", {field: value}) for field in ("quorum", "max_turns") for value in (2.5, 2**31, True)],
    *[("create", {field: 7}) for field in ("title", "agenda", "metadata", "idempotency_key")],
    *[("attend", {"agent": value}) for value in (None, 7, ["bob"], "", "x" * 200, "a\0b", "\ud800", "böb")],
    *[("attend", {"timeout": value}) for value in ("5", -1, float("nan"), [])],
    *[("attend", {"after_seq": value}) for value in ("5", 1.5, [], -1, 2**63, True)],
    *[("start", {"message": value}) for value in (None, "text", 7, {"texts": "x"}, object())],
    *[("start", {"then": value}) for value in (7, ["bob"])],
    *[("speak", {"message": value}) for value in ("text", 7, {"texts": "x"}, object())],
    *[("speak", {"then": value}) for value in (7, ["bob"])],
    *[("speak", {"turn": value}) for value in ("2", 1.5, [], 2**31, 2**64, -1, True)],
    *[("speak", {"timeout": value}) for value in ("5", -1, float("nan"))],
    *[("speak", {"metadata": value}) for value in (7, {1: 2}, {"x": object()}, {"x": float("nan")})],
    *[("speak", {"idempotency_key": value}) for value in (7, "", "x" * 201, "a\nb", "\ud800")],
    *[("end", {"outcome": value}) for value in (7, "x" * 8_001, "\0")],
    *[("leave", {"timeout": value}) for value in ("5", -1)],
    *[("hand over", {"to": value}) for value in (None, 7, [])],
    *[("history", {"after_seq": value}) for value in (None, "5", 1.5, -1, 2**63)],
    *[("history", {"limit": value}) for value in ("5", 1.5, 0, -1, 2**63)],
    *[("history", {"newest": True, "limit": value}) for value in ("5", 1.5, 0, -1, 2**63)],
]


async def wrongly(sdk: AgentMessaging[Word], meeting: UUID, call: str, a: dict[str, Any]) -> Any:
    """One call with one argument that it cannot accept."""
    word = Word(text="x")
    match call:
        case "create":
            rest = {key: value for key, value in a.items() if key not in ("agents", "host")}
            return await sdk.meeting.create_meeting(a.get("host", "alice"), a.get("agents", ["bob"]), **rest)
        case "attend":
            rest: dict[str, Any] = {"timeout": 0} | {key: value for key, value in a.items() if key != "agent"}
            return await sdk.meeting.attend_meeting(a.get("agent", "bob"), meeting, **rest)
        case "start":
            return await sdk.meeting.start_meeting("alice", meeting, a.get("message", word), a.get("then"))
        case "speak":
            rest = {key: value for key, value in a.items() if key not in ("message", "then")}
            return await sdk.meeting.speak("bob", meeting, a.get("message", word), a.get("then"), **rest)
        case "end":
            return await sdk.meeting.end_meeting("alice", meeting, **a)
        case "leave":
            return await sdk.meeting.leave_meeting("bob", meeting, after_turn=True, **a)
        case "hand over":
            return await sdk.meeting.hand_over_host("alice", meeting, a["to"])
        case _:
            return await sdk.meeting.get_meeting_history(meeting, **a)


@pytest.mark.requirement("meeting:bad-input")
async def test_whatever_is_passed_a_call_that_cannot_be_understood_is_refused_and_changes_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        unstarted = await sdk.meeting.create_meeting("alice", ["bob"])
        meeting = await started(sdk, "alice", "bob")
        before = await contents(dsn)
        wrong: list[str] = []
        for call, arguments in WRONG_TYPES:
            try:
                await wrongly(sdk, unstarted if call == "start" else meeting, call, arguments)
            except (AgentNotFoundError, InvalidMeetingError, InvalidMessageError, InvalidArgumentError):
                continue
            except Exception as error:
                wrong.append(f"{call} {arguments}: {error!r}")
            else:
                wrong.append(f"{call} {arguments}: accepted")
        assert not wrong, "\n".join(wrong)
        assert await contents(dsn) == before
