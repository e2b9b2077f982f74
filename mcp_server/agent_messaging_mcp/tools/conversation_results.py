"""What the tools for conversations answer: sent, answered, still waiting, declined, over; and how a message looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent_messaging.errors import QuestionDeclinedError
from agent_messaging.models import InboxItem, InboxItemKind
from agent_messaging_mcp.calls import Call
from agent_messaging_mcp.offers import long_wait, wait_with
from agent_messaging_mcp.results import MOST_ITEMS, Entry, Json, Result, Resume, body
from agent_messaging_mcp.text import LONGEST_BODY, ago, as_text, call, span
from agent_messaging_mcp.tools.directory import presence

if TYPE_CHECKING:
    from agent_messaging.models import Agent, Answer, Message


def sent(known: Sequence[Agent], recipients: Sequence[str] = ()) -> Result:
    """A message is on its way; `known` are those whose presence is told."""
    where = "; ".join(f"{agent.external_id}: {presence(agent)}" for agent in known)
    beyond = len(recipients) - len(known)
    return Result(
        status="sent",
        happened=f"Sent. {where}{f'; and {beyond} more' if beyond > 0 else ''}.",
        do=f"carry on with your work; what comes back is in {call('check_inbox')}.",
        next=call("check_inbox"),
        facts={"to": [agent.external_id for agent in known] if not recipients else list(recipients)},
    )


async def answered_by(call_: Call, answer: Answer[Any]) -> Result:
    """The answer, with the cursor that marks it read."""
    cursor = await call_.view.cursor([answer.message_id])
    # However much else is unread: it has been shown, and ends no later wait.
    shown = InboxItem[Any].model_construct(kind=InboxItemKind.ANSWER, message_id=answer.message_id, shown=False)
    await call_.show([shown])
    read = call("check_inbox", after=cursor)
    facts: dict[str, Json] = {"from": answer.sender}
    if answer.late:
        facts["late"] = True

    seq: int | None = None
    if len(as_text(answer.content)) > LONGEST_BODY:
        newest = await call_.view.conversation(answer.sender, limit=MOST_ITEMS)
        seq = next((message.seq for message in newest.messages if message.id == answer.message_id), None)

    def rest(start: int) -> str:
        return call("get_conversation", with_agent=answer.sender, after=f"{seq}:{start}" if seq else None, limit=1)

    return Result(
        status="answered",
        happened=f"{answer.sender} answered {answer.handle}{', late' if answer.late else ''}.",
        do=f"use the answer; pass its cursor along whenever you next check: {read}.",
        next=read,
        facts={"question": answer.handle, "cursor": cursor},
        answer=Entry(label=f"{answer.sender}'s answer", facts=facts, bodies=(body(answer.content, rest=rest),)),
        subjects=frozenset({answer.handle}),
    )


def waits_for(recipient: str, handle: str | None, state: str, open_for: float | None) -> Result:
    """The window has ended before the answer."""
    again = call("check_inbox", wait_seconds=long_wait() or 45)
    stays = "" if open_for is None else f" The question stays open, {span(open_for)} from when it was asked."
    return Result(
        status="waiting",
        happened=f"No answer{_to(handle)} from {recipient} yet ({state}).{stays}",
        do=f"{wait_with(again)}; do not ask again.",
        next=again,
        facts={"question": handle} if handle else {},
        subjects=frozenset({handle} if handle else ()),
        resume=Resume("wait_for_answer", {"question": handle, "recipient": recipient}) if handle else None,
    )


def _to(handle: str | None) -> str:
    return f" to {handle}" if handle else ""


def interrupted(recipient: str, handle: str | None) -> Result:
    """The wait has ended because something else needs the caller."""
    look = call("check_inbox")
    return Result(
        status="waiting",
        happened=f"No answer{_to(handle)} from {recipient} yet: something else needs you first.",
        do=f"see to it with {look}; the answer comes there too.",
        next=look,
        facts={"question": handle} if handle else {},
    )


def closed(status: str, happened: str, handle: str | None) -> Result:
    """There will be no answer."""
    return Result(
        status=status,
        happened=f"{happened}.",
        do="go on without an answer, or ask somebody else.",
        facts={"question": handle} if handle else {},
        subjects=frozenset({handle} if handle else ()),
    )


def declined_by(recipient: str, declined: QuestionDeclinedError) -> Result:
    """The one who was asked will not answer; its reason is its own words."""
    reason = None if declined.reason is None else body(declined.reason, name="reason")
    handle = declined.handle
    return Result(
        status="declined",
        happened=f"{recipient} declined to answer{f' {handle}' if handle else ''}.",
        do="go on without an answer, or ask somebody else.",
        facts={"question": handle} if handle else {},
        about=Entry(label=f"{recipient}'s reason", bodies=(reason,)) if reason else None,
        subjects=frozenset({handle} if handle else ()),
    )


def message_entry(with_agent: str, message: Message[Any], start: int = 0) -> Entry:
    """One message of a conversation, its text from character `start` on."""
    facts: dict[str, Json] = {"seq": message.seq, "from": message.sender, "sent": ago(message.created_at)}
    late = ", late" if message.late else ""
    if message.hop:
        facts["hop"] = message.hop
        late += f", hop {message.hop}"
    if message.late:
        facts["late"] = True

    def rest(end: int) -> str:
        return call("get_conversation", with_agent=with_agent, after=f"{message.seq}:{end}", limit=1)

    label = f"{message.seq} from {message.sender}, {ago(message.created_at)}{late}"
    bodies = () if message.content is None else (body(message.content, rest=rest, start=start),)
    return Entry(label=f"{label}{f', from character {start}' if start else ''}", facts=facts, bodies=bodies)
