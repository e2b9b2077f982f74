"""The command itself: without a sub-command, an MCP server on standard input and output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agent_messaging_mcp.settings import Settings

_CLIENTS = ("claude-code", "claude-desktop", "cursor", "vscode", "codex")


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"agent-messaging {version('agent-messaging')}")
    context.exit()


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--agent",
    metavar="ID",
    help="Who the server acts as (AGENT_MESSAGING_AGENT; default: the directory's name).",
)
@click.option("--organization", metavar="ID", help="Its organization (AGENT_MESSAGING_ORGANIZATION; default: default).")
@click.option("--print-config", type=click.Choice(_CLIENTS), help="Print a ready entry for a client, and exit.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def main(context: click.Context, agent: str | None, organization: str | None, print_config: str | None) -> None:
    """Messages, questions, conversations and meetings between agents, over MCP.

    Without a command: an MCP server on standard input and output.
    """
    if context.invoked_subcommand is not None:
        return
    if print_config:
        from agent_messaging_mcp.client_entries import entry

        click.echo(entry(print_config, agent=agent, organization=organization), nl=False)
        return
    _serve_stdio(_settings(agent, organization))


def _settings(agent: str | None, organization: str | None) -> Settings:
    from pydantic import ValidationError

    from agent_messaging.errors import InvalidIdentifierError
    from agent_messaging.identifiers import checked_external_id
    from agent_messaging_mcp.settings import Settings

    given = {name: value for name, value in (("agent", agent), ("organization", organization)) if value}
    try:
        settings = Settings(**given)  # pyright: ignore[reportArgumentType] # strings from the command line, validated here
        checked_external_id(settings.agent)
        checked_external_id(settings.organization)
    except (ValidationError, InvalidIdentifierError) as wrong:
        raise click.ClickException(str(wrong)) from None
    return settings


def _serve_stdio(settings: Settings) -> None:
    import asyncio
    import logging

    # Before the SDK does it its own way; standard output is the protocol's alone.
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    from agent_messaging_mcp.identity import always
    from agent_messaging_mcp.server import build_server
    from agent_messaging_mcp.service import Service, opened_for
    from agent_messaging_mcp.stdio import serve

    async def run() -> None:
        service = Service(opened_for(settings.agent, settings.organization))
        server, waits = build_server(settings, service, always(settings.agent))
        await serve(server, service, waits)

    asyncio.run(run())
