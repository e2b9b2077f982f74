"""The one line about what else waits in the inbox, in the server's words only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent_messaging_mcp.text import call, counted, listed, span

if TYPE_CHECKING:
    from agent_messaging.models import InboxItem

    Item = InboxItem[Any]

_MOST_NEEDS = 4
_URGENCY = ("turn", "question", "answer", "decline", "invitation")


def told_by(item: Item, subjects: frozenset[str]) -> bool:
    """Whether a result about `subjects` tells of this item itself."""
    return item.handle is not None and item.handle in subjects


def named(items: Sequence[Item], me: str) -> list[Item]:
    """The items that the line names: the most urgent needs and all messages, but not `me` inviting itself."""
    needs = [item for item in items if item.kind in _URGENCY and not (item.kind == "invitation" and item.sender == me)]
    needs.sort(key=lambda item: _URGENCY.index(item.kind))
    return [*needs[:_MOST_NEEDS], *(item for item in items if item.kind == "message")]


def also_line(items: Sequence[Item], *, more: bool = False) -> str:
    """`Also in your inbox: 1 question from carol (q2k9), 12 min left. check_inbox()`, or nothing."""
    parts = [_need(item) for item in items if item.kind != "message"]
    if messages := [item for item in items if item.kind == "message"]:
        senders = list(dict.fromkeys(item.sender or "the system" for item in messages))
        parts.append(f"{counted(len(messages), 'message')} from {listed(senders, 3)}")
    if not parts:
        return ""
    return f"Also in your inbox: {'; '.join(parts)}{' and more' if more else ''}. {call('check_inbox')}"


def _need(item: Item) -> str:
    match str(item.kind):
        case "turn":
            return f"your turn in {item.handle}"
        case "question":
            left = "" if item.seconds_left is None else f", {span(item.seconds_left)} left"
            return f"1 question from {item.sender} ({item.handle}){left}"
        case "answer":
            return f"{'a late' if item.late else 'an'} answer from {item.sender} ({item.handle})"
        case "decline":
            return f"{item.sender} declines to answer {item.handle}"
        case _:
            return f"{item.sender} invites you to {item.handle}"
