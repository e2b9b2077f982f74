"""The tool that reads the inbox, and how inbox items look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from mcp_types import ToolAnnotations
from pydantic import Field

from agent_messaging.errors import MessageNotFoundError
from agent_messaging_mcp.arguments import WaitSeconds
from agent_messaging_mcp.calls import Call
from agent_messaging_mcp.offers import long_wait, wait_with
from agent_messaging_mcp.results import MOST_ITEMS, Body, Entry, Json, Refusal, Result, Resume, body, fitting
from agent_messaging_mcp.text import ago, call, counted, span
from agent_messaging_mcp.tools.declared import ToolSpec
from agent_messaging_mcp.waits import Stopping

if TYPE_CHECKING:
    from agent_messaging.models import InboxItem

    Item = InboxItem[Any]


async def check_inbox(
    call_: Call,
    after: Annotated[str, Field(description="Cursor of an earlier result; marks what came with it as read.")] = "",
    from_agent: Annotated[str, Field(description="Only what this agent sent.")] = "",
    wait_seconds: WaitSeconds = 0,
    limit: Annotated[int, Field(description="At most 20.")] = MOST_ITEMS,
) -> Result | Refusal:
    if after:
        try:
            await call_.view.acknowledge(after)
        except MessageNotFoundError:
            return Refusal(
                "Nothing marked as read: there is no such cursor of yours. "
                f"Now: {call('check_inbox')} without it; what is unread comes again, with a cursor."
            )
    sender = from_agent or None
    most = max(1, min(limit or MOST_ITEMS, MOST_ITEMS))
    page = await call_.view.inbox(from_agent=sender, limit=most)
    waited = wait_seconds > 0 and not any(_is_new(item) for item in page.items)
    why = ""
    if waited:
        try:
            page = await call_.hold(
                wait_seconds,
                lambda window: call_.view.wait_inbox(timeout=window, from_agent=sender, limit=most),
            )
        except Stopping:
            why = "The server is about to restart. "
    waiting = waited and not any(_is_new(item) for item in page.items)
    found = sorted(page.items, key=lambda item: item.kind != "turn")
    resume = Resume("check_inbox", {"from_agent": from_agent, "limit": limit}) if waiting and not why else None
    if not found:
        return _nothing(from_agent, why, waited=waited, resume=resume)

    entries = fitting(entry_of(item) for item in found)
    items = found[: len(entries)]
    more = page.more + sum(not item.read for item in found[len(entries) :])
    unread = [item for item in items if item.message_id and not item.read]
    cursor = await call_.view.cursor(unread) if unread else ""
    await call_.show(items)
    do, next_ = _what_to_do(items, cursor)
    still = "Nothing new yet; still open: " if waiting else ""
    beyond = f", {more} more unread after these" if more else ""
    return Result(
        status="waiting" if waiting else "items",
        happened=f"{why}{still}{counted(len(items), 'item')}{beyond}.",
        do=do,
        next=next_,
        facts=_facts(cursor, more),
        items=entries,
        inbox=True,
        resume=resume,
    )


def _facts(cursor: str, more: int) -> dict[str, Json]:
    facts: dict[str, Json] = {"cursor": cursor} if cursor else {}
    return facts | {"more": more} if more else facts


def _is_new(item: Item) -> bool:
    """Whether it ends a wait: what was acknowledged, or a turn that was shown, is listed and ends none."""
    return not item.shown if item.kind == "turn" else not item.read


def _nothing(from_agent: str, why: str, *, waited: bool, resume: Resume | None) -> Result:
    whose = f" from {from_agent}" if from_agent else ""
    again = call("check_inbox", from_agent=from_agent or None, wait_seconds=long_wait() or 45)
    return Result(
        status="waiting" if waited else "empty",
        happened=f"{why}Nothing{whose} has come{' yet' if waited else ''}.",
        do=f"{wait_with(again)}." if waited else f"carry on with your work; {again} waits for something.",
        next=again,
        inbox=True,
        resume=resume,
    )


def _what_to_do(items: Sequence[Item], cursor: str) -> tuple[str, str]:
    """The imperative, and the call in it that is most urgent."""
    steps: list[tuple[str, str]] = []
    for kind, words in (
        ("turn", "take your turn with "),
        ("question", "answer with "),
        ("invitation", "join with "),
    ):
        if first := next((item for item in items if item.kind == kind), None):
            asked = kind == "question"
            literal = (
                call("reply", question=first.handle, message=...)
                if asked
                else call("attend_meeting", meeting=first.handle)
            )
            steps.append((words, literal))
    if cursor:
        steps.append(("mark these as read with ", call("check_inbox", after=cursor)))
    if not steps:
        return "carry on with your work.", ""
    return f"{'; then '.join(words + literal for words, literal in steps)}.", steps[0][1]


def entry_of(item: Item) -> Entry:
    """One inbox item, attested by the server, with what a peer wrote as bodies."""
    facts: dict[str, Json] = {"kind": str(item.kind)}
    if item.sender:
        facts["from"] = item.sender
    if item.created_at:
        facts["sent"] = ago(item.created_at)
    if item.seconds_left is not None:
        facts["seconds_left"] = round(item.seconds_left)
    if item.hop:
        facts["hop"] = item.hop
    for flag in ("late", "dead_letter"):
        if getattr(item, flag):
            facts[flag] = True
    if item.owed and item.read:
        facts["read"] = True
    if item.handle:
        facts["question" if item.kind in ("question", "answer", "decline") else "meeting"] = item.handle
    return Entry(label=_label(item), facts=facts, bodies=_bodies(item))


def _label(item: Item) -> str:
    left = "" if item.seconds_left is None else f", {span(item.seconds_left)} left"
    sent = "" if item.created_at is None else f", {ago(item.created_at)}"
    sent += f", hop {item.hop}" if item.hop else ""
    match str(item.kind):
        case "question":
            owed = ", still unanswered" if item.read else ""
            return f"question {item.handle} from {item.sender}{sent}{left}{owed}"
        case "answer":
            return f"{'late ' if item.late else ''}answer to {item.handle} from {item.sender}{sent}"
        case "decline":
            return f"{item.sender} declines to answer {item.handle}{sent}; the reason"
        case "invitation":
            return f"invitation to meeting {item.handle} from {item.sender}{sent}"
        case "turn":
            return f"your turn in meeting {item.handle}{left}"
        case _:
            failed = ", your handler failed on it" if item.dead_letter else ""
            return f"message from {item.sender or 'the system'}{sent}{failed}"


def _bodies(item: Item) -> tuple[Body, ...]:
    if item.kind in ("turn", "invitation"):
        return (body(item.meeting_title, name="title", longest=500),) if item.meeting_title else ()
    if item.content is None and item.kind == "decline":
        return ()

    def rest(start: int) -> str:
        seq = item.seq or 0
        return call("get_conversation", with_agent=item.sender, after=f"{seq}:{start}", limit=1)

    return (body(item.content, rest=rest if item.sender else None),)


TOOLS = (
    ToolSpec(
        check_inbox,
        "Read what other agents sent you: messages, questions you owe an answer, answers, invitations, "
        "your turn in a meeting. "
        "Use it when idle or told to. Items come again until you pass the result's cursor as `after`.",
        ToolAnnotations(
            title="Check inbox",
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    ),
)
