"""Where `agent-messaging serve` would listen, and for whom."""

from __future__ import annotations

import ipaddress

from agent_messaging_mcp.doctor.findings import Case, Check, Finding, Result
from agent_messaging_mcp.http.edge import address_of, allowed_origin
from agent_messaging_mcp.text import listed, one_line


async def edge(case: Case) -> Finding:
    """The address and the allow-list, with which `serve` would start or refuse to."""
    settings = case.settings
    place = one_line(f"{settings.host} port {settings.port}")
    names = [one_line(name, 80) for name in settings.allowed_hosts]
    if wrong := [name for name in settings.allowed_hosts if address_of(name.removesuffix(":*")) is None]:
        return Finding(
            Check.EDGE,
            Result.FAILING,
            f"no Host header can match {listed([one_line(name, 80) for name in wrong])}",
            "Give names as clients write them, without scheme and path, separated by commas: "
            "AGENT_MESSAGING_ALLOWED_HOSTS=agents.example.org",
        )
    for entry in settings.allowed_origins:
        try:
            allowed_origin(entry)
        except ValueError as wrong:
            return Finding(
                Check.EDGE,
                Result.FAILING,
                one_line(str(wrong)),
                "Give origins as browsers write them, separated by commas: "
                "AGENT_MESSAGING_ALLOWED_ORIGINS=https://app.example.org",
            )
    if not _is_loopback(settings.host) and not names:
        return Finding(
            Check.EDGE,
            Result.FAILING,
            f"`agent-messaging serve` would not start: it would listen on {place}, for other machines, and no name is "
            "allowed",
            "Name what they call this server by: AGENT_MESSAGING_ALLOWED_HOSTS=agents.example.org, or "
            "`agent-messaging serve --allowed-host agents.example.org`",
        )
    allowed = f"; allowed besides localhost: {listed(names)}" if names else ", for this machine alone"
    return Finding(Check.EDGE, Result.OK, f"`agent-messaging serve` would listen on {place}{allowed}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
