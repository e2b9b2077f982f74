"""The tools for meetings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

from mcp_types import ToolAnnotations
from pydantic import Field

from agent_messaging.errors import MeetingTimeoutError, WaitInterruptedError
from agent_messaging_mcp.arguments import WaitSeconds
from agent_messaging_mcp.calls import Call
from agent_messaging_mcp.offers import long_wait
from agent_messaging_mcp.results import MOST_ITEMS, Json, Refusal, Result
from agent_messaging_mcp.text import call, counted, listed
from agent_messaging_mcp.tools.declared import ToolSpec
from agent_messaging_mcp.tools.directory import presence
from agent_messaging_mcp.tools.meeting_results import (
    history_page,
    meeting_waits,
    signalled,
    state_of,
    topic,
    who_is_awaited,
)
from agent_messaging_mcp.tools.positions import position
from agent_messaging_mcp.waits import Stopping

if TYPE_CHECKING:
    from agent_messaging.models import TurnSignal

_DEFAULT_TURN_SECONDS = 180.0

Meeting = Annotated[str, Field(description="As in the invitation: m7f3.")]
NextSpeaker = Annotated[str, Field(description="Who speaks next; left out: by order.")]


async def create_meeting(
    call_: Call,
    title: str,
    agents: Annotated[list[str], Field(description="Whom to invite.")],
    agenda: str = "",
    turn_seconds: Annotated[float, Field(description="Time for a turn, 180 unless given.")] = _DEFAULT_TURN_SECONDS,
    quorum: Annotated[int, Field(description="How many must attend; left out: all.")] = 0,
    start_within_seconds: Annotated[float, Field(description="Start by itself then.")] = 0,
    max_turns: Annotated[int, Field(description="End after so many turns; left out: 200.")] = 0,
) -> Result | Refusal:
    meeting = await call_.view.create_meeting(
        agents,
        turn_seconds or _DEFAULT_TURN_SECONDS,
        title=title or None,
        agenda=agenda or None,
        quorum=quorum or None,
        start_by=start_within_seconds or None,
        max_turns=max_turns or None,
    )
    invited = [name for name in meeting.participants if name != call_.me]
    where = "; ".join([f"{name}: {presence(await call_.view.agent(name))}" for name in invited[:10]])
    start = call("start_meeting", meeting=meeting.handle, message=...)
    return Result(
        status="created",
        happened=f"Meeting {meeting.handle} created, you are its host. Invited: {where}.",
        do=f"wait for them with {call('attend_meeting', meeting=meeting.handle)}, then open it with {start}.",
        next=call("attend_meeting", meeting=meeting.handle),
        facts={"meeting": meeting.handle, "quorum": meeting.quorum},
        subjects=frozenset({meeting.handle}),
    )


async def attend_meeting(call_: Call, meeting: Meeting, wait_seconds: WaitSeconds = 45) -> Result:
    return await _held(
        call_,
        meeting,
        wait_seconds,
        lambda window: call_.view.attend_meeting(meeting, timeout=window, interruptible=True),
        done="",
    )


async def start_meeting(
    call_: Call,
    meeting: Meeting,
    message: Annotated[Any, Field(description="Your opening speech: turn 1.")],
    next_speaker: NextSpeaker = "",
    force: Annotated[bool, Field(description="Do without those who are missing.")] = False,
    wait_seconds: WaitSeconds = 45,
) -> Result:
    async def start(window: float) -> TurnSignal[Any]:
        signal = await call_.view.start_meeting(
            meeting,
            message,
            next_speaker or None,
            force=force,
            wait=True,
            timeout=window,
            interruptible=True,
        )
        if signal is None:
            raise RuntimeError("start_meeting(wait=True) returned without a signal")
        return signal

    return await _held(call_, meeting, wait_seconds, start, done="Started. ")


async def speak(
    call_: Call,
    meeting: Meeting,
    turn: Annotated[int, Field(description="The number of your turn.")],
    message: Annotated[Any, Field(description="What you say; left out or empty: pass.")] = None,
    next_speaker: NextSpeaker = "",
    wait_seconds: WaitSeconds = 45,
) -> Result:
    passing = message is None or message == ""

    async def say(window: float) -> TurnSignal[Any]:
        return await call_.view.speak(
            meeting,
            None if passing else message,
            next_speaker or None,
            turn=turn,
            timeout=window,
            interruptible=True,
        )

    return await _held(call_, meeting, wait_seconds, say, done="Passed. " if passing else "Spoken. ")


async def _held(
    call_: Call,
    meeting: str,
    wait_seconds: float,
    wait: Callable[[float], Awaitable[TurnSignal[Any]]],
    *,
    done: str,
) -> Result:
    """Wait for a turn. However the wait ends, what was `done` before it is recorded, unless the server is about to
    restart.
    """
    try:
        signal = await call_.hold(wait_seconds, wait)
    except MeetingTimeoutError as ended:
        status = ended.status or await call_.view.meeting(meeting)
        return meeting_waits(status, call_.me, done)
    except WaitInterruptedError:
        look = call("check_inbox")
        again = call("attend_meeting", meeting=meeting, wait_seconds=long_wait())
        return Result(
            status="waiting",
            happened=f"{done}It is not your turn yet, and something else needs you first.",
            do=f"see to it with {look}, then {again}.",
            next=look,
            facts={"meeting": meeting},
        )
    except Stopping:
        again = call("attend_meeting", meeting=meeting, wait_seconds=long_wait())
        doubt = ", and whether your words were recorded is open" if done else ""
        told = ": it gives you the floor again if they were not" if done else ""
        return Result(
            status="waiting",
            # It may have come too early for what was to be recorded first.
            happened=f"The server is about to restart{doubt}; the meeting goes on.",
            do=f"go on with {again}{told}.",
            next=again,
            facts={"meeting": meeting},
        )
    agendas = call_.desk.agendas
    if done:
        agendas.proved(call_.me, signal.handle)
    return signalled(signal, done, with_topic=not agendas.is_known(call_.me, signal.handle))


async def leave_meeting(
    call_: Call,
    meeting: Meeting,
    new_host: Annotated[str, Field(description="If you are the host: who takes over.")] = "",
) -> Result:
    await call_.view.leave_meeting(meeting, new_host=new_host or None)
    host = f" {new_host} is its host now." if new_host else ""
    back = call("attend_meeting", meeting=meeting)
    return Result(
        status="left",
        happened=f"You are no longer in meeting {meeting}.{host}",
        do=f"carry on with your work; {back} would bring you back.",
        facts={"meeting": meeting},
        subjects=frozenset({meeting}),
    )


async def end_meeting(
    call_: Call,
    meeting: Meeting,
    outcome: Annotated[str, Field(description="What came out of it; everybody is told.")] = "",
) -> Result:
    await call_.view.end_meeting(meeting, outcome=outcome or None)
    status = await call_.view.meeting(meeting)
    return Result(
        status="meeting_ended",
        happened=f"Meeting {status.handle} has ended ({status.reason}).",
        do=f"carry on with your work; {call('get_meeting', meeting=status.handle)} has its history.",
        facts={"meeting": status.handle, "ended": str(status.reason)},
        subjects=frozenset({status.handle}),
    )


async def get_meeting(
    call_: Call,
    meeting: Meeting,
    after: Annotated[str, Field(description="Only entries after this number; left out: the newest.")] = "",
    limit: Annotated[int, Field(description="At most 20.")] = MOST_ITEMS,
) -> Result:
    at = position(after)
    most = max(1, min(limit or MOST_ITEMS, MOST_ITEMS))
    status = await call_.view.meeting(meeting)
    newest = at.after_seq is None
    entries = await call_.view.meeting_history(meeting, after_seq=at.after_seq or 0, limit=most, newest=newest)
    page = history_page(status, entries, at, most)
    facts: dict[str, Json] = state_of(status)
    return Result(
        status=str(status.status),
        happened=(
            f"Meeting {status.handle} is {status.status}{f' ({status.reason})' if status.reason else ''}; "
            f"{counted(len(status.participants), 'member')}: {_members(status.participant_status)}."
            f"{who_is_awaited(status)}"
        ),
        do=page.do,
        next=page.next,
        facts=facts,
        about=topic(status, start=at.start if at.within == 0 else 0),
        items=page.entries,
    )


def _members(members: dict[str, Any]) -> str:
    return listed([f"{name} {state}" for name, state in members.items()], 20)


_ACTS = {"read_only_hint": False, "open_world_hint": False}

TOOLS = (
    ToolSpec(
        create_meeting,
        "Invite agents to a meeting in which one speaks at a time. You are the host: "
        "start it when they attend, end it with its outcome.",
        ToolAnnotations(title="Create meeting", destructive_hint=False, idempotent_hint=False, **_ACTS),
    ),
    ToolSpec(
        attend_meeting,
        "Join a meeting, come back to it, or go on waiting: returns when it is your turn, "
        "with what was said, or when it has ended.",
        ToolAnnotations(title="Attend meeting", destructive_hint=False, idempotent_hint=True, **_ACTS),
    ),
    ToolSpec(
        start_meeting,
        "Open your meeting with the first speech, then wait for your next turn.",
        ToolAnnotations(title="Start meeting", destructive_hint=False, idempotent_hint=False, **_ACTS),
    ),
    ToolSpec(
        speak,
        "Take your turn, then wait for your next one. "
        "Add a fact, proposal, objection or answer; pass rather than just agree. "
        "When all pass in a row, the meeting ends.",
        ToolAnnotations(title="Speak", destructive_hint=False, idempotent_hint=False, **_ACTS),
    ),
    ToolSpec(
        leave_meeting,
        "Leave a meeting, or decline its invitation. A host names a new host.",
        ToolAnnotations(title="Leave meeting", destructive_hint=True, idempotent_hint=True, **_ACTS),
    ),
    ToolSpec(
        end_meeting,
        "End your meeting for everybody, or cancel it before its start.",
        ToolAnnotations(title="End meeting", destructive_hint=True, idempotent_hint=True, **_ACTS),
    ),
    ToolSpec(
        get_meeting,
        "See how a meeting stands, who is in it and what was said. Changes nothing.",
        ToolAnnotations(
            title="Read meeting",
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    ),
)
