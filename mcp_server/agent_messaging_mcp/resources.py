"""The six resources: Markdown pages of what tools also show. Reading one marks nothing, neither read nor
shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.mcpserver import ResourceSecurity
from mcp_types import INVALID_PARAMS

from agent_messaging.errors import AgentMessagingError, NotFoundError
from agent_messaging_mcp.calls import Desk
from agent_messaging_mcp.errors import outage
from agent_messaging_mcp.rendering import as_markdown
from agent_messaging_mcp.results import MOST_ITEMS, Entry, fitting
from agent_messaging_mcp.text import call, counted
from agent_messaging_mcp.tools import directory, inbox
from agent_messaging_mcp.tools.conversation_results import message_entry
from agent_messaging_mcp.tools.meeting_results import history_entry, topic, who_is_awaited

if TYPE_CHECKING:
    from agent_messaging_mcp.calls import View

MARKDOWN = "text/markdown"

# An external id may hold dots and slashes, and is never used as a path.
_NO_PATHS = ResourceSecurity(exempt_params=frozenset({"agent", "meeting"}))


def unknown(uri: str) -> MCPError:
    """The same error for what does not exist and for what is somebody else's."""
    return MCPError(INVALID_PARAMS, f"Unknown resource: {uri}", {"uri": uri})


async def _read(desk: Desk, uri: str, page: Callable[[View], Awaitable[str]]) -> str:
    view = await desk.view()
    try:
        return await page(view)
    except NotFoundError:
        raise unknown(uri) from None
    except AgentMessagingError as failed:
        raise outage(failed) from None


def add_to(server: MCPServer[Any], desk: Desk) -> None:
    """Serve the resources from `desk`."""

    def serve(uri: str, title: str, read: Callable[..., Awaitable[str]]) -> None:
        name = read.__name__
        server.resource(uri, name=name, title=title, description=read.__doc__, mime_type=MARKDOWN, security=_NO_PATHS)(
            read
        )

    async def inbox() -> str:
        """What waits for you. A peek: reading marks nothing."""
        return await _read(desk, "messaging://inbox", _inbox_page)

    async def older_inbox(page: int = 1) -> str:
        """The further pages of your inbox."""
        return await _read(desk, f"messaging://inbox?page={page}", lambda view: _inbox_page(view, page))

    async def agents() -> str:
        """The agents that you can write to, and who is online."""
        return await _read(desk, "messaging://agents", _agents_page)

    async def older_agents(page: int = 1) -> str:
        """The further pages of the agents."""
        return await _read(desk, f"messaging://agents?page={page}", lambda view: _agents_page(view, page))

    async def meetings() -> str:
        """Your meetings, newest first."""
        return await _read(desk, "messaging://meetings", _meetings_page)

    async def older_meetings(page: int = 1) -> str:
        """The further pages of your meetings."""
        return await _read(desk, f"messaging://meetings?page={page}", lambda view: _meetings_page(view, page))

    async def conversation(agent: str, before: int = 0) -> str:
        """What you and another agent wrote to each other."""
        return await _read(desk, _at("conversations", agent), lambda view: _conversation_page(view, agent, before))

    async def meeting(meeting: str) -> str:
        """How a meeting stands."""
        return await _read(desk, _at("meetings", meeting), lambda view: _meeting_page(view, meeting))

    async def meeting_history(meeting: str, before: int = 0) -> str:
        """What was said and happened in a meeting."""
        uri = f"{_at('meetings', meeting)}/history"
        return await _read(desk, uri, lambda view: _history_page(view, meeting, before))

    serve("messaging://inbox", "Inbox", inbox)
    serve("messaging://agents", "Agents", agents)
    serve("messaging://meetings", "Meetings", meetings)
    serve("messaging://conversations/{agent}{?before}", "Conversation", conversation)
    serve("messaging://meetings/{meeting}", "Meeting", meeting)
    serve("messaging://meetings/{meeting}/history{?before}", "Meeting history", meeting_history)
    serve("messaging://inbox{?page}", "Inbox, further pages", older_inbox)
    serve("messaging://agents{?page}", "Agents, further pages", older_agents)
    serve("messaging://meetings{?page}", "Meetings, further pages", older_meetings)


def _at(collection: str, name: str) -> str:
    return f"messaging://{collection}/{quote(name, safe='')}"


async def _inbox_page(view: View, page: int = 1) -> str:
    first = (max(page, 1) - 1) * MOST_ITEMS
    found = await view.inbox(limit=first + MOST_ITEMS)
    entries = fitting(inbox.entry_of(item) for item in found.items[first:])
    more = found.more + len(found.items) - first - len(entries)
    marks = f"This page marks nothing; {call('check_inbox')} gives a cursor."
    lines = [f"{counted(len(entries), 'item')}; {more} more unread. {marks}"]
    return as_markdown("Inbox", lines, entries, f"messaging://inbox?page={max(page, 1) + 1}" if more > 0 else "")


async def _agents_page(view: View, page: int = 1) -> str:
    first = (max(page, 1) - 1) * MOST_ITEMS
    found = await view.agents(limit=first + MOST_ITEMS + 1)
    entries = tuple(directory.entry_of(agent) for agent in found[first : first + MOST_ITEMS])
    older = f"messaging://agents?page={max(page, 1) + 1}" if len(found) > first + MOST_ITEMS else ""
    return as_markdown("Agents", [f"You are {view.external_id}."], entries, older)


async def _meetings_page(view: View, page: int = 1) -> str:
    first = (max(page, 1) - 1) * MOST_ITEMS
    found = await view.meetings(limit=first + MOST_ITEMS + 1)
    entries: list[Entry] = []
    for status in found[first : first + MOST_ITEMS]:
        reason = f" ({status.reason})" if status.reason else ""
        label = f"{_at('meetings', status.handle)} {status.status}{reason}, host {status.host_external_id}"
        about = topic(status)
        titles = tuple(body for body in about.bodies if body.name == "title") if about else ()
        entries.append(Entry(label=label, bodies=titles))
    older = f"messaging://meetings?page={max(page, 1) + 1}" if len(found) > first + MOST_ITEMS else ""
    return as_markdown("Meetings", [f"{counted(len(entries), 'meeting')} of {view.external_id}."], entries, older)


async def _conversation_page(view: View, agent: str, before: int = 0) -> str:
    after, most = _span_before(before)
    found = await view.conversation(agent, after_seq=after, limit=most)
    messages = found.messages
    shown = tuple(reversed(fitting(reversed([message_entry(agent, message) for message in messages]))))
    first = (messages[len(messages) - len(shown)].seq or 1) if shown else 1
    older = f"{_at('conversations', agent)}?before={first}" if first > 1 else ""
    return as_markdown(f"Conversation of {view.external_id} and {agent}", [], shown, older)


async def _meeting_page(view: View, meeting: str) -> str:
    status = await view.meeting(meeting)
    about = topic(status)
    lines = [
        f"State: {status.status}{f' ({status.reason})' if status.reason else ''}.{who_is_awaited(status)}",
        f"Host: {status.host_external_id}. Quorum: {status.quorum}. At most {status.max_turns} turns.",
        "\n".join(f"- {name}: {state}" for name, state in status.participant_status.items()),
        f"[History]({_at('meetings', status.handle)}/history)",
    ]
    return as_markdown(f"Meeting {status.handle}", lines, [about] if about else [])


async def _history_page(view: View, meeting: str, before: int = 0) -> str:
    status = await view.meeting(meeting)
    after, most = _span_before(before)
    found = await view.meeting_history(meeting, after_seq=after or 0, limit=most, newest=after is None)
    shown = tuple(reversed(fitting(reversed([history_entry(status.handle, message) for message in found]))))
    first = found[len(found) - len(shown)].seq if shown else 1
    older = f"{_at('meetings', status.handle)}/history?before={first}" if first > 1 else ""
    return as_markdown(f"History of meeting {status.handle}", [], shown, older)


def _span_before(before: int) -> tuple[int | None, int]:
    """After which number to read, and how many: entries are numbered without gaps."""
    if before <= 1:
        return None, MOST_ITEMS
    after = max(before - 1 - MOST_ITEMS, 0)
    return after, before - 1 - after
