"""The command that serves many agents over HTTP."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING, Any

import click

from agent_messaging_mcp.cli.configured import configured

if TYPE_CHECKING:
    from agent_messaging_mcp.settings import Settings

logger = logging.getLogger(__name__)


@click.command()
@click.option("--host", metavar="ADDRESS", help="The address to listen on (AGENT_MESSAGING_HOST; default: 127.0.0.1).")
@click.option("--port", type=int, help="The port (AGENT_MESSAGING_PORT; default: 8765); 0 takes a free one.")
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME[:PORT]",
    help="A name that clients call this server by, besides localhost; may be repeated (AGENT_MESSAGING_ALLOWED_HOSTS).",
)
@click.option(
    "--allowed-origin",
    "allowed_origins",
    multiple=True,
    metavar="ORIGIN",
    help="A web page that may call, besides those of the allowed hosts; may be repeated "
    "(AGENT_MESSAGING_ALLOWED_ORIGINS).",
)
def serve(**given: Any) -> None:
    """Serve many agents over HTTP: Streamable HTTP at /mcp, SSE at /sse; each acts as the agent of its token.

    SIGTERM ends it without losing anything: every wait is answered, and whoever waited goes on elsewhere.
    """
    from agent_messaging_mcp.settings import Settings

    settings = configured(lambda: Settings(**{name: value for name, value in given.items() if value not in (None, ())}))
    if not is_loopback(settings.host) and not settings.allowed_hosts:
        raise click.ClickException(
            f"listening on {settings.host} is for other machines: name what they call this server by, "
            "with --allowed-host (for example --allowed-host agents.example.org)"
        )
    _check_allow_list(settings)
    _serve(settings)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_allow_list(settings: Settings) -> None:
    from agent_messaging_mcp.http.edge import allowed_host, allowed_origin

    for option, entries, read in (
        ("--allowed-host (AGENT_MESSAGING_ALLOWED_HOSTS)", settings.allowed_hosts, allowed_host),
        ("--allowed-origin (AGENT_MESSAGING_ALLOWED_ORIGINS)", settings.allowed_origins, allowed_origin),
    ):
        for entry in entries:
            try:
                read(entry)
            except ValueError as wrong:
                raise click.ClickException(f"{option}: {wrong}") from None


def _serve(settings: Settings) -> None:
    from agent_messaging import Config
    from agent_messaging_mcp import logs
    from agent_messaging_mcp.http import app, serving
    from agent_messaging_mcp.service import Service, opened

    serving.end_at_signals()
    logs.configure(settings.log_level or "info", settings.log_format)
    try:
        listening = serving.listen(settings.host, settings.port)
    except OSError as taken:
        raise click.ClickException(f"cannot listen on {settings.host} port {settings.port}: {taken.strerror}") from None
    host, port = listening.getsockname()[:2]
    place = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    server = app.build(settings, Service(opened(configured(Config), exchange_budget=settings.exchange_budget)))
    if settings.log_format == "json":
        logger.warning("listening", extra={"url": f"{place}/mcp"})
    else:
        click.echo(f"Listening: {place}/mcp (Streamable HTTP), {place}/sse (SSE)", err=True)
    serving.run(server, listening)
