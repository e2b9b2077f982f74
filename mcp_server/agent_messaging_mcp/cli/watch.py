"""The command that says what needs an agent as it comes, for terminals, scripts and whatever can wake a host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from agent_messaging_mcp.cli.configured import configured
from agent_messaging_mcp.cli.opening import with_library

if TYPE_CHECKING:
    from agent_messaging import AgentMessaging
    from agent_messaging.models import InboxItem

    Item = InboxItem[Any]

NOTHING_THERE = 3
"""The exit code of `--once` when nothing needs the agent."""
_LONGEST_LINE = 200


@click.command()
@click.option("--agent", metavar="ID", help="Whose inbox (AGENT_MESSAGING_AGENT; default: the directory's name).")
@click.option("--organization", metavar="ID", help="Its organization (AGENT_MESSAGING_ORGANIZATION; default: default).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@click.option("--exec", "command", metavar="CMD", help="Have a shell run CMD for each item, given as JSON.")
@click.option("--once", is_flag=True, help=f"Only what is there now; exit code {NOTHING_THERE} if nothing is.")
def watch(agent: str | None, organization: str | None, as_json: bool, command: str | None, once: bool) -> None:
    """Print a line for each item that needs an agent: what is unread, then what comes.

    Each item at least once, whatever becomes of the database meanwhile; what is unread is printed again by the next
    `watch`. Nothing is marked read. The commands of --exec run one after the other.
    """
    from agent_messaging_mcp.settings import Settings

    given = {name: value for name, value in (("agent", agent), ("organization", organization)) if value}
    settings = configured(lambda: Settings(**given))  # pyright: ignore[reportArgumentType] # validated there

    async def work(sdk: AgentMessaging[Any]) -> int:
        await sdk.register_organization(settings.organization, settings.organization, exist_ok=True)
        await sdk.register_agent(settings.agent, settings.organization, settings.agent, exist_ok=True)
        shown = 0
        async for item in sdk.follow(settings.agent, once=once):
            _show(item, as_json=as_json)
            if command is not None:
                await _run(command, item)
            shown += 1
        return shown

    try:
        shown = with_library(work)
    except KeyboardInterrupt:
        sys.exit(130)
    if once and not shown:
        sys.exit(NOTHING_THERE)


def _show(item: Item, *, as_json: bool) -> None:
    """Print an item on one line. Peers' words are cut, and can command no terminal."""
    from agent_messaging_mcp.text import one_line
    from agent_messaging_mcp.tools.inbox import entry_of

    if as_json:
        click.echo(_json(item))
        return
    entry = entry_of(item)
    click.echo(one_line(": ".join([entry.label, *(body.text for body in entry.bodies)]), _LONGEST_LINE))


def _json(item: Item) -> str:
    import json

    return json.dumps(item.model_dump(mode="json", exclude_none=True))


async def _run(command: str, item: Item) -> None:
    import asyncio
    from asyncio import subprocess

    process = await asyncio.create_subprocess_shell(command, stdin=subprocess.PIPE)
    try:
        await process.communicate(_json(item).encode() + b"\n")
    except BaseException:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        raise
    if process.returncode:
        click.echo(f"the command ended with {process.returncode} on {item.kind} {item.handle or ''}".rstrip(), err=True)
