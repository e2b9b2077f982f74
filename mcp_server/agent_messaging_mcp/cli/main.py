"""The command itself: without a sub-command, an MCP server on standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agent_messaging_mcp import client_entries
from agent_messaging_mcp.cli.configured import configured

if TYPE_CHECKING:
    from agent_messaging_mcp.settings import Settings


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
@click.option(
    "--print-config", type=click.Choice(client_entries.CLIENTS), help="Print a ready entry for a client, and exit."
)
@click.option("--url", metavar="URL", help="With --print-config: the entry is for the server at this address.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def main(
    context: click.Context, agent: str | None, organization: str | None, print_config: str | None, url: str | None
) -> None:
    """Messages, questions, conversations and meetings between agents, over MCP.

    Without a command: an MCP server on standard input and output.
    """
    if context.invoked_subcommand is not None:
        return
    if url is not None:
        _print_remote_entry(print_config, url, agent, organization)
        return
    if print_config:
        click.echo(client_entries.entry(print_config, agent=agent, organization=organization), nl=False)
        return
    _serve_stdio(_settings(agent, organization))


def _print_remote_entry(client: str | None, url: str, agent: str | None, organization: str | None) -> None:
    if client is None:
        raise click.UsageError("--url goes with --print-config.")
    try:
        address = client_entries.checked_url(url)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--url") from None
    if client == "claude-desktop":
        click.echo(client_entries.desktop_entry(agent=agent, organization=organization), nl=False)
        click.echo(client_entries.DESKTOP_HINT, err=True)
        return
    if agent or organization:
        raise click.UsageError("With --url the token says who the agent is: leave out --agent and --organization.")
    click.echo(client_entries.remote_entry(client, address), nl=False)
    click.echo(client_entries.token_hint(client, address), err=True)


def _settings(agent: str | None, organization: str | None) -> Settings:
    from agent_messaging.errors import InvalidIdentifierError
    from agent_messaging.identifiers import checked_external_id
    from agent_messaging_mcp.settings import Settings

    given = {name: value for name, value in (("agent", agent), ("organization", organization)) if value}
    try:
        settings = configured(lambda: Settings(**given))  # pyright: ignore[reportArgumentType] # validated there
        checked_external_id(settings.agent)
        checked_external_id(settings.organization)
    except InvalidIdentifierError as wrong:
        raise click.ClickException(str(wrong)) from None
    return settings


def _serve_stdio(settings: Settings) -> None:
    import asyncio

    from agent_messaging_mcp import logs

    # Before the SDK does it its own way; standard output is the protocol's alone.
    logs.configure(settings.log_level or "warning", settings.log_format)
    from agent_messaging_mcp.identity import always
    from agent_messaging_mcp.server import build_server
    from agent_messaging_mcp.service import Service, opened_for
    from agent_messaging_mcp.stdio import serve

    async def run() -> None:
        service = Service(opened_for(settings.agent, settings.organization, exchange_budget=settings.exchange_budget))
        server, desk = build_server(settings, service, always(settings.agent))
        await serve(server, service, desk.waits)

    with logs.context(transport="stdio"):
        asyncio.run(run())
