"""The command line. Nothing that a sub-command does not need is imported for it: hosts wait for the
handshake.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@main.command()
def migrate() -> None:
    """Bring the database's schema up to date, ahead of a deployment."""
    import asyncio

    from agent_messaging import AgentMessaging, Config
    from agent_messaging.errors import AgentMessagingError

    async def run() -> None:
        async with AgentMessaging[Any](Config(auto_migrate=True)):
            pass

    try:
        asyncio.run(run())
    except AgentMessagingError as failed:
        raise click.ClickException(str(failed)) from None
    click.echo("The database is up to date.")


@main.group()
def db() -> None:
    """Look after the embedded database of this user."""


def _data_dir() -> Path | None:
    from agent_messaging import Config

    return Config().data_dir


@db.command("path")
def db_path() -> None:
    """Print the directory it lives in."""
    from agent_messaging_db import embedded

    click.echo(_data_dir() or embedded.default_data_dir())


@db.command("dsn")
def db_dsn() -> None:
    """Print its address, for programs that know PostgreSQL. It must be running."""
    from agent_messaging_db import embedded

    status = embedded.status(_data_dir())
    click.echo(status.dsn)


@db.command("stop")
def db_stop() -> None:
    """Stop it, although others may be using it: they start it again."""
    from agent_messaging_db import embedded

    try:
        embedded.stop(_data_dir())
    except embedded.EmbeddedDatabaseError as failed:
        raise click.ClickException(str(failed)) from None


@db.command("psql", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def db_psql(arguments: tuple[str, ...]) -> None:
    """Open psql on it, starting it if need be; ARGUMENTS are psql's own."""
    import asyncio
    import subprocess

    from agent_messaging_db import embedded

    try:
        share = asyncio.run(embedded.ensure(_data_dir()))
        try:
            code = subprocess.call([*embedded.psql_argv(_data_dir()), *arguments])
        finally:
            share.release()
    except embedded.EmbeddedDatabaseError as failed:
        raise click.ClickException(str(failed)) from None
    sys.exit(code)


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def db_backup(file: Path) -> None:
    """Write it to FILE, for pg_restore; its users go on meanwhile."""
    import asyncio

    from agent_messaging_db import embedded

    try:
        asyncio.run(embedded.backup(_data_dir(), file))
    except embedded.EmbeddedDatabaseError as failed:
        raise click.ClickException(str(failed)) from None
    click.echo(f"Written to {file}.")
