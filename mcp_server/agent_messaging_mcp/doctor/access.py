"""Who could get in over the network: tokens, and the issuer of JWTs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from urllib.parse import urlsplit

import httpx2

from agent_messaging_db import diagnosis
from agent_messaging_mcp.doctor.findings import Case, Check, Finding, Result
from agent_messaging_mcp.log_safety import cleaned
from agent_messaging_mcp.text import counted, listed, one_line

SOON = 7 * 86_400.0
NAMES = 8
"""How many agents are named; of the others, how many they are."""
FETCH_SECONDS = 5.0


async def tokens(case: Case) -> Finding:
    """Agents and their tokens. Without a setting of `serve` none is needed: on stdio whoever has the database
    is trusted.
    """
    link = case.migrated
    has_issuer = case.settings.oauth_issuer is not None
    access = await diagnosis.access(link, soon=SOON, names=NAMES)
    words = f"{counted(access.agents, 'agent')}, {counted(access.valid, 'valid token')}"
    make = "`agent-messaging token create {}`"
    if not access.agents and case.serves:
        return Finding(
            Check.TOKENS,
            Result.WARNING,
            f"{words}: nobody could call `agent-messaging serve`, as over the network agents must exist",
            f"`agent-messaging agent create ID`, then {make.format('ID')}",
        )
    if not access.valid and not has_issuer:
        what = f"{words} ({access.tokens} ended)" if access.tokens else words
        if case.serves:
            do = f"{make.format(_first(access.without_agents))}, for each agent that calls over the network"
            return Finding(Check.TOKENS, Result.FAILING, f"{what}: `agent-messaging serve` would let nobody in", do)
        if access.tokens:
            do = f"If `agent-messaging serve` is used: {make.format('AGENT')}"
            return Finding(Check.TOKENS, Result.WARNING, f"{what}: over the network nobody gets in any more", do)
        return Finding(Check.TOKENS, Result.OK, f"{what}; none is needed on stdio")
    if access.ending:
        agents = _named(access.ending_agents, access.ending)
        do = f"{make.format(_first(access.ending_agents))}; then give the new token to the client"
        return Finding(Check.TOKENS, Result.WARNING, f"{words}; within 7 days the last one ends of {agents}", do)
    if access.without and case.serves and not has_issuer:
        agents = _named(access.without_agents, access.without)
        do = f"{make.format(_first(access.without_agents))}, unless it never calls over the network"
        return Finding(Check.TOKENS, Result.WARNING, f"{words}; no valid token: {agents}", do)
    return Finding(Check.TOKENS, Result.OK, words)


def _first(agents: Sequence[str]) -> str:
    return agents[0] if len(agents) == 1 else "AGENT"


def _named(agents: Sequence[str], number: int) -> str:
    names = [one_line(name, 80) for name in agents]
    return listed(names, NAMES) if number <= len(names) else f"{', '.join(names)} and {number - len(names)} more"


async def issuer(case: Case) -> Finding:
    """Whether the keys of the issuer of JWTs can be had, if there is one."""
    settings = case.settings
    if settings.oauth_issuer is None:
        return Finding(
            Check.ISSUER, Result.OK, "none (OAUTH_ISSUER is not set): only tokens of `agent-messaging token`"
        )
    name = cleaned(settings.oauth_issuer)
    try:
        url = settings.oauth_jwks_url or await _keys_address(settings.oauth_issuer)
        number = await keys_at(url)
    except KeysNotFound as missing:
        return Finding(
            Check.ISSUER,
            Result.FAILING,
            f"{name}: {missing}; no JWT of it can be checked",
            "Make it reachable from this host, or set OAUTH_JWKS_URL to the address of its keys.",
        )
    return Finding(Check.ISSUER, Result.OK, f"{name}: {counted(number, 'key')} at {cleaned(url)}")


class KeysNotFound(Exception):
    """The keys of an issuer could not be had; the message says which address gave what."""


async def keys_at(url: str) -> int:
    """How many keys there are at `url`; raises KeysNotFound."""
    keys = (await _document(url)).get("keys")
    if not isinstance(keys, list) or not keys:
        raise KeysNotFound(f"there are no keys at {cleaned(url)}")
    return len(cast("list[object]", keys))


async def _keys_address(issuer: str) -> str:
    address = urlsplit(issuer)
    root, path = f"{address.scheme}://{address.netloc}", address.path.rstrip("/")
    reasons: list[str] = []
    for place in (
        f"{root}/.well-known/oauth-authorization-server{path}",
        f"{root}{path}/.well-known/openid-configuration",
    ):
        try:
            metadata = await _document(place)
        except KeysNotFound as missing:
            reasons.append(str(missing))
            continue
        if metadata.get("issuer") != issuer:
            reasons.append(f"the metadata at {cleaned(place)} is of another issuer")
        elif isinstance(keys := metadata.get("jwks_uri"), str):
            return keys
        else:
            reasons.append(f"the metadata at {cleaned(place)} names no keys")
    raise KeysNotFound("; ".join(reasons))


async def _document(url: str) -> dict[str, object]:
    shown = cleaned(url)
    try:
        async with httpx2.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False) as client:
            answer = await client.get(url, headers={"accept": "application/json"})
        if answer.status_code != 200:
            raise KeysNotFound(f"{shown} answered with status {answer.status_code}")
        document = answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise KeysNotFound(f"{shown} could not be reached ({type(error).__name__})") from None
    except ValueError:
        raise KeysNotFound(f"{shown} did not answer with JSON") from None
    if not isinstance(document, dict):
        raise KeysNotFound(f"{shown} did not answer with a JSON object")
    return cast("dict[str, object]", document)
