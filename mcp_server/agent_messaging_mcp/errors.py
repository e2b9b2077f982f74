"""What a refusal of the protocol becomes: a normal result, a tool error, or a JSON-RPC error. Never a
traceback, SQL or a path.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from mcp import MCPError
from mcp_types import INTERNAL_ERROR

from agent_messaging import errors
from agent_messaging_mcp.results import Json, Refusal, Result
from agent_messaging_mcp.text import call, listed, one_line, span

NOT_DONE = {
    "check_inbox": "Nothing read",
    "send": "Not sent",
    "send_and_wait": "Not asked",
    "wait_for_answer": "No answer",
    "reply": "Not answered",
    "end_conversation": "Nothing ended",
    "get_conversation": "Nothing shown",
    "list_agents": "Nothing shown",
    "create_meeting": "Not created",
    "attend_meeting": "Not attending",
    "start_meeting": "Not started",
    "speak": "Not spoken",
    "leave_meeting": "Not left",
    "end_meeting": "Not ended",
    "get_meeting": "Nothing shown",
}
"""What each tool, and each call of a task, has not done when it is refused: the first words that its caller reads."""

TOO_MANY_REQUESTS = -32029
CLIENT_GONE = -32001
"""Codes of JSON-RPC errors, from the range that is left to servers."""

_MEETING_IDS = re.compile(r" \[meeting [^\]]*\]| \([0-9a-f-]{36}\)")
_NOT_DONE_EITHER = re.compile(r"^(?:not \w+|nothing was \w+|(?:no|the) meeting was (?:not )?\w+): ")

logger = logging.getLogger(__name__)


def outcome(error: errors.AgentMessagingError, tool: str, arguments: Mapping[str, object]) -> Result | Refusal:
    """What a caller is told of a refusal. Raises `MCPError` for an outage, which no caller can do anything
    about.
    """
    meeting = str(arguments.get("meeting", ""))
    happened = f"{NOT_DONE[tool]}: {_said(error)}"
    match error:
        case errors.UnavailableError() | errors.ConfigurationError():
            raise outage(error)
        case errors.MeetingEndedError():
            read = call("get_meeting", meeting=meeting)
            return _too_late("meeting_ended", happened, read, "read how it ended with {}.", about=meeting)
        case errors.NotCurrentSpeakerError():
            attend = call("attend_meeting", meeting=meeting)
            return _too_late("not_your_turn", happened, attend, "wait for your turn with {}.", about=meeting)
        case errors.InvalidMeetingStateError():
            look = call("get_meeting", meeting=meeting)
            return _too_late("not_now", happened, look, "see how the meeting stands with {}.", about=meeting)
        case errors.ExchangeBudgetError():
            return _paused(error, NOT_DONE[tool])
        case errors.HopLimitError():
            return _looped(error, NOT_DONE[tool])
        case errors.SilencedError():
            return _silenced(error, NOT_DONE[tool])
        case errors.InboxFullError():
            return _too_late("not_now", happened, call("check_inbox"), "try again later; meanwhile {}.")
        case errors.ConversationEndedError():
            return _too_late("conversation_ended", happened, call("check_inbox"), "go on without an answer; see {}.")
        case errors.InvalidSessionStateError():
            return _too_late("not_now", happened, call("check_inbox"), "see what is open with {}.")
        case errors.SessionNotFoundError():
            return _too_late("nothing_open", happened, call("list_agents"), "carry on; {} shows whom you can write to.")
        case errors.WaitEndedError():
            return _too_late("waiting", happened, call("check_inbox"), "do other work, then {}.")
        case errors.HostCannotLeaveError():
            leave = call("leave_meeting", meeting=meeting, new_host=...)
            return Refusal(f"{happened} Now: name a new host with {leave}, or {call('end_meeting', meeting=meeting)}.")
        case errors.AgentNotInMeetingError() | errors.NotMeetingHostError():
            return Refusal(f"{happened} Now: see who is who with {call('get_meeting', meeting=meeting)}.")
        case errors.HandlerNotRegisteredError(agents=agents) if agents:
            deaf = f"{NOT_DONE[tool]}: {listed(agents)} never connected, so nobody would read it."
            return Refusal(f"{deaf} Now: see whom you can reach with {call('list_agents')}.")
        case errors.AgentNotFoundError() | errors.HandlerNotRegisteredError():
            return Refusal(f"{happened} Now: see whom you can reach with {call('list_agents')}.")
        case errors.NotFoundError():
            return Refusal(f"{happened} Now: see what is yours with {call('check_inbox')}.")
        case errors.IdempotencyConflictError():
            return Refusal(f"{happened} Now: take another key for another message.")
        case _:
            return Refusal(f"{happened} Now: correct the call and make it again.")


def too_many_calls(tool: str, per_minute: int, seconds: float) -> Result:
    """What a caller is told that called too often."""
    return Result(
        status="not_now",
        happened=f"{NOT_DONE[tool]}: you have made {per_minute} calls within a minute, and more are not taken.",
        do=f"do nothing for {span(seconds)}, then make this call again.",
        facts={"seconds_left": round(seconds)},
    )


def too_many_waits(tool: str, most: int) -> Result:
    """What a caller is told that has too many waits open."""
    return Result(
        status="not_now",
        happened=f"{NOT_DONE[tool]}: {most} waits of yours are open, and one agent may have no more.",
        do="let one of them end, or make this call with wait_seconds=0.",
    )


def _paused(error: errors.ExchangeBudgetError, not_done: str) -> Result:
    other, pause = error.agent, span(error.seconds_left)
    ask = call("send_and_wait", to=other, message=...)
    kinds = "messages of any kind" if error.questions_too else "messages since the last question"
    allowed = "" if error.questions_too else f" Only a real question is taken before that: {ask}."
    return Result(
        status="paused",
        happened=f"{not_done}: you and {other} have exchanged as many {kinds} as you may for now.",
        do=f"write nothing to {other} for {pause}: no thanks, no acknowledgement, no repetition. "
        f"Go on with other work.{allowed}",
        facts={"paused_for": other, "seconds_left": round(error.seconds_left)},
    )


def _looped(error: errors.HopLimitError, not_done: str) -> Result:
    return Result(
        status="paused",
        happened=f"{not_done}: {error.hop} messages, each sent because of the one before, led here, and at most "
        f"{error.limit} may. Agents are keeping each other busy.",
        do="do not pass on what you have just read, and send nothing because of it; answer the questions that you owe "
        f"with {call('reply', question=..., message=...)}, and go on with work of your own. A minute after you last "
        "read something new, you may write again.",
        next=call("check_inbox"),
        facts={"hop": error.hop},
    )


def _silenced(error: errors.SilencedError, not_done: str) -> Result:
    left = error.seconds_left
    long = "until that is lifted" if left is None else f"for another {span(left)}"
    facts: dict[str, Json] = {} if left is None else {"seconds_left": round(left)}
    return Result(
        status="silenced",
        happened=f"{not_done}: an operator has silenced you, or your whole organization, {long}.",
        do=f"do not try again; you can read with {call('check_inbox')}, pass your turn in a meeting, and go on with "
        "work that needs no message. Tell the person you work for.",
        next=call("check_inbox"),
        facts=facts,
    )


def _too_late(status: str, happened: str, next_: str, do: str, *, about: str = "") -> Result:
    told = frozenset({about} if about else ())
    return Result(status=status, happened=happened, do=do.format(next_), next=next_, subjects=told)


def outage(error: Exception) -> MCPError:
    """A JSON-RPC error that says what is out of order, and that repeating the call later is right."""
    if isinstance(error, errors.AgentMessagingError):
        return MCPError(INTERNAL_ERROR, f"{_said(error)} Try again later.")
    logger.error("unexpected", exc_info=error)
    return MCPError(INTERNAL_ERROR, "Something went wrong inside the server; its log says what. Try again later.")


def _said(error: Exception) -> str:
    # The protocol names a meeting by its handle and its id; a model has no use for the long one.
    words = _MEETING_IDS.sub("", one_line(str(error))) or type(error).__name__
    words = _NOT_DONE_EITHER.sub("", words)
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."
