"""The commands that a host runs at points of its sessions, in the format of Claude Code's hooks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent_messaging_mcp.cli.configured import configured
from agent_messaging_mcp.cli.opening import with_library

if TYPE_CHECKING:
    from agent_messaging import AgentMessaging
    from agent_messaging.models import InboxItem

    Item = InboxItem[Any]

_MOST_NAMED = 5
_LONGEST_INPUT = 1_000_000
_LONGEST_PAGE = 100
_MOST_REMEMBERED = 10 * _LONGEST_PAGE


@click.group()
def hook() -> None:
    """Answer a hook of a host: its event is read from standard input, the answer printed as the host expects it."""


_format = click.option(
    "--format",
    "form",
    type=click.Choice(["claude", "cursor"]),
    default="claude",
    show_default=True,
    help="Whose words the answer is in; Codex and VS Code speak Claude Code's.",
)
_agent = click.option("--agent", metavar="ID", help="Who the session acts as (default: the session's directory).")


@hook.command("stop")
@_agent
@_format
def stop(agent: str | None, form: str) -> None:
    """Before a session goes idle: have it go on if something waits for it that it has not been told of.

    Each item is told once, so a session that does not see to it is not held. Nothing is marked read.
    """
    session = _session()
    name = _name(agent, session)
    waiting = _waiting(name)
    told = _Told(name)
    fresh = [item for item in waiting if _key(item) not in told]
    told.are(map(_key, waiting))
    if fresh:
        words = f"{_summary(fresh)} See to it now with the tool check_inbox, then stop."
        _answer({"followup_message": words} if form == "cursor" else {"decision": "block", "reason": words})


@hook.command("session-start")
@_agent
@_format
def session_start(agent: str | None, form: str) -> None:
    """When a session begins: tell it what waits for it. Nothing is marked read."""
    waiting = _waiting(_name(agent, _session()))
    if waiting:
        words = f"{_summary(waiting)} The tool check_inbox shows it."
        context = {"hookEventName": "SessionStart", "additionalContext": words}
        _answer({"additional_context": words} if form == "cursor" else {"hookSpecificOutput": context})


def _session() -> dict[str, Any]:
    """What the host says of its session; nothing, if it says nothing that can be read."""
    if sys.stdin.isatty():
        return {}
    try:
        said: Any = json.loads(sys.stdin.buffer.read(_LONGEST_INPUT).decode("utf-8-sig"))  # Cursor begins with a BOM
        return dict(said)
    except (ValueError, TypeError):
        return {}


def _name(agent: str | None, session: dict[str, Any]) -> str:
    """Who the session acts as, as its server tells it: by name, or by the directory that it works in."""
    from agent_messaging_mcp.identity import name_of
    from agent_messaging_mcp.settings import Settings

    directory = session.get("cwd")
    if agent is None and "AGENT_MESSAGING_AGENT" not in os.environ and isinstance(directory, str) and directory:
        agent = name_of(Path(directory))
    return configured(lambda: Settings(agent=agent) if agent else Settings()).agent


def _waiting(agent: str) -> list[Item]:
    async def work(sdk: AgentMessaging[Any]) -> list[Item]:
        from agent_messaging.errors import AgentNotFoundError

        try:
            page = await sdk.inbox.page(agent, limit=_LONGEST_PAGE)
        except AgentNotFoundError:  # its server has never run
            return []
        return [item for item in page.items if not item.read or item.owed]

    return with_library(work)


def _summary(items: list[Item]) -> str:
    """What waits, in this program's own words: what peers wrote is read through the tools, where it is marked."""
    from agent_messaging_mcp.text import counted, one_line
    from agent_messaging_mcp.tools.inbox import entry_of

    named = "; ".join(one_line(entry_of(item).label, 120) for item in items[:_MOST_NAMED])
    more = f"; and {len(items) - _MOST_NAMED} more" if len(items) > _MOST_NAMED else ""
    return f"In your agent-messaging inbox: {counted(len(items), 'item')} ({named}{more})."


def _key(item: Item) -> str:
    return str(item.message_id) if item.message_id else f"{item.meeting_id} {item.created_at}"


def _answer(answer: dict[str, Any]) -> None:
    click.echo(json.dumps(answer))


class _Told:
    """Of what an agent's sessions have been told, in a file of the user's: the inbox is not changed by that."""

    def __init__(self, agent: str) -> None:
        from hashlib import sha256

        import platformdirs

        directory = platformdirs.user_state_path("agent-messaging", appauthor=False) / "hooks"
        self._file = directory / f"{sha256(agent.encode()).hexdigest()[:32]}.json"
        try:
            known: Any = json.loads(self._file.read_text("utf-8"))
            self._known = list(map(str, known))
        except (OSError, ValueError, TypeError):
            self._known = list[str]()

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def are(self, keys: Iterable[str]) -> None:
        """Remember these, and of the earlier ones the latest: an agent of the same name may be in another database.
        Raises ClickException if it cannot be kept, for then nothing may be told either.
        """
        known = [*dict.fromkeys((*self._known, *keys))][-_MOST_REMEMBERED:]
        temporary = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_text(json.dumps(known), "utf-8")
            temporary.replace(self._file)
        except OSError as error:
            raise click.ClickException(f"cannot note what was told in {self._file}: {error.strerror}") from None
