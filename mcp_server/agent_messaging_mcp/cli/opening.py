"""What the commands of an operator share: opening the library for one of them, and showing what it gave."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agent_messaging_mcp.cli.configured import configured

if TYPE_CHECKING:
    from agent_messaging import AgentMessaging, Config

Result = TypeVar("Result")

PATIENCE = 5.0
"""Seconds that a command retries an unreachable database: somebody waits in front of it."""

WHERE_TO_LOOK = {
    "OrganizationNotFoundError": "agent-messaging organization list",
    "AgentNotFoundError": "agent-messaging agent list",
    "TokenNotFoundError": "agent-messaging token list --all",
}
LONGEST_CELL = 60

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of sentences.")


def with_library(work: Callable[[AgentMessaging[Any]], Awaitable[Result]]) -> Result:
    """Open the configured database, do the work and close it. Whatever goes wrong is one line, and no traceback."""
    import asyncio

    from agent_messaging import AgentMessaging
    from agent_messaging.errors import AgentMessagingError
    from agent_messaging_mcp.text import one_line

    for stream in (sys.stdout, sys.stderr):  # what cannot show a name gets it escaped
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    async def run() -> Result:
        async with AgentMessaging[Any](_config()) as sdk:
            return await work(sdk)

    try:
        return asyncio.run(run())
    except (click.ClickException, BrokenPipeError):  # nobody reads any more: click ends quietly
        raise
    except AgentMessagingError as refused:
        look = WHERE_TO_LOOK.get(type(refused).__name__)
        raise click.ClickException(
            one_line(str(refused)) + (f" (`{look}` shows what there is)" if look else "")
        ) from None
    except Exception as unexpected:  # such as a role that may not read the tables
        raise click.ClickException(one_line(f"{type(unexpected).__name__}: {unexpected}")) from None


def _config() -> Config:
    from agent_messaging import Config

    config = configured(Config)
    return config.model_copy(update={"database_patience": min(config.database_patience, PATIENCE)})


def show_json(document: object) -> None:
    """Print one JSON document, in ASCII: a name cannot command the terminal."""
    import json

    click.echo(json.dumps(document, indent=2))


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below each other; what a name hides, reorders or breaks is made visible."""
    from agent_messaging_mcp.text import one_line

    lines = [list(head), *([one_line(cell, LONGEST_CELL) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def minute(moment: datetime | None) -> str:
    """A moment as people compare them: `2026-02-20 18:24 UTC`; `never` for none."""
    from datetime import UTC

    return "never" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
