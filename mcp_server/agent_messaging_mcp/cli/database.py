"""The commands for the database: its schema, and the embedded one's care."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from agent_messaging_mcp.cli.configured import configured


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date, ahead of a deployment."""
    import asyncio

    from agent_messaging import AgentMessaging, Config
    from agent_messaging.errors import AgentMessagingError

    config = configured(lambda: Config(auto_migrate=True))

    async def run() -> None:
        async with AgentMessaging[Any](config):
            pass

    try:
        asyncio.run(run())
    except AgentMessagingError as failed:
        raise click.ClickException(str(failed)) from None
    click.echo("The database is up to date.")


@click.group()
def db() -> None:
    """Look after the embedded database of this user."""


def _data_dir() -> Path | None:
    from agent_messaging import Config

    return configured(Config).data_dir


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
