"""The command that removes what is old."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from agent_messaging_mcp.cli.durations import seconds_of
from agent_messaging_mcp.cli.opening import as_json, minute, show_json, with_library

if TYPE_CHECKING:
    from agent_messaging import AgentMessaging
    from agent_messaging.models import Pruned

INTERRUPTED = 130
"""The exit code of a program that was interrupted."""


def _age(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    if (seconds := seconds_of(text)) is None or seconds < _DAY:
        raise click.BadParameter("write it like 24h, 90d or 12w: a day or more")
    return seconds


_DAY = 86_400


@click.command("prune")
@click.option(
    "--older-than",
    "age",
    callback=_age,
    required=True,
    metavar="AGE",
    help="What was last of use longer ago than this goes: 24h, 90d, 12w; a day or more.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@as_json
def prune(age: float, dry_run: bool, as_json: bool) -> None:
    """Remove old messages that were read, questions that are settled and meetings that are over, for good.

    Never what is unread, an open question, a meeting that is not over, or what one of these refers to. It works in
    small steps beside running servers, may be interrupted, and goes on when it is called again.
    """
    told: list[Pruned] = []

    async def work(sdk: AgentMessaging[Any]) -> Pruned:
        return await sdk.prune(age, dry_run=dry_run, progress=lambda pruned: told.append(pruned) or _shorten(told))

    try:
        pruned = with_library(work)
    except KeyboardInterrupt:
        if told:
            click.echo(f"Interrupted. {_sentence(told[-1], dry_run)} Calling it again goes on.", err=True)
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        show_json({**pruned.model_dump(mode="json"), "dry_run": dry_run})
    else:
        click.echo(_sentence(pruned, dry_run))


def _shorten(told: list[Pruned]) -> None:
    del told[:-1]


def _sentence(pruned: Pruned, dry_run: bool) -> str:
    what = (
        f"{pruned.messages:,} messages ({pruned.questions:,} questions among them, with their answers) and "
        f"{pruned.meetings:,} meetings with {pruned.events:,} events"
    )
    since = f"older than {minute(pruned.older_than)}"
    if dry_run:
        return f"Would remove {what}, all {since}."
    return f"Removed {what}, and {pruned.sessions:,} sessions left empty, all {since}."
