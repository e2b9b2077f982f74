"""JWTs of an issuer that exists already: whose they are, if they are meant for this server."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
import jwt

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures of a key that only the issuer holds. Never `none`, and never HS256: its key would be the public one."""
LONGEST = 16_384
_LEEWAY_SECONDS = 5
_KEYS_LAST = 300.0
_LEAST_BETWEEN_FETCHES = 10.0
_FETCH_SECONDS = 5.0

_NO_KEYS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    jwt.PyJWTError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)
"""Whatever an issuer can say, or fail to say, instead of its keys."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid JWT says: the agent, and until when (seconds since 1970)."""

    subject: str
    expires_at: float


class Issuer:
    """Checks the JWTs of `issuer` that are for `audience`. Its keys are fetched when they are needed, and
    again when a key is not among them, but no more often than every ten seconds, whatever is sent.
    """

    def __init__(self, issuer: str, audience: str, jwks_url: str | None = None) -> None:
        self._issuer = issuer
        self._audience = audience
        self._jwks_url = jwks_url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = -_KEYS_LAST
        self._tried_at = -_KEYS_LAST
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> Claims | None:
        """What a JWT says, or None for any that is not good, whatever is wrong with it."""
        if len(token) > LONGEST:
            return None
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in ALGORITHMS or not isinstance(kid, str) or "crit" in header:
                return None
            key = await self._key(kid)
            if key is None or key.key_type == "oct":
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            # Until the leeway is used up too: what is good now must not be over at once.
            expires_at = float(claims["exp"]) + _LEEWAY_SECONDS
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        subject = claims["sub"]
        return Claims(subject, expires_at) if isinstance(subject, str) and subject else None

    async def _key(self, kid: str) -> jwt.PyJWK | None:
        known = self._keys.get(kid)
        if known and (self._fetching.locked() or monotonic() - self._fetched_at < _KEYS_LAST):
            return known
        async with self._fetching:  # whoever comes while they are fetched waits for them
            if monotonic() - self._tried_at >= _LEAST_BETWEEN_FETCHES:
                await self._fetch()
                self._tried_at = monotonic()  # after it: who waited for an issuer that hangs does not try it again
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        try:
            async with httpx2.AsyncClient(timeout=_FETCH_SECONDS, follow_redirects=False) as client:
                url = self._jwks_url or await self._discovered(client)
                found = await _json(client, url)
            keys = jwt.PyJWKSet.from_dict(found).keys
            self._keys = {key.key_id: key for key in keys if key.key_id}
            self._fetched_at = monotonic()
        except _NO_KEYS as failed:
            # The old keys are kept: an issuer that is away for a while must not lock everybody out.
            logger.warning("the keys of the issuer could not be fetched (%s)", type(failed).__name__)

    async def _discovered(self, client: httpx2.AsyncClient) -> str:
        issuer = urlsplit(self._issuer)
        path = issuer.path.rstrip("/")
        places = (
            f"{issuer.scheme}://{issuer.netloc}/.well-known/oauth-authorization-server{path}",
            f"{issuer.scheme}://{issuer.netloc}{path}/.well-known/openid-configuration",
        )
        for place in places:
            try:
                metadata = await _json(client, place)
            except (httpx2.HTTPError, ValueError):
                continue
            if metadata.get("issuer") == self._issuer and isinstance(metadata.get("jwks_uri"), str):
                return metadata["jwks_uri"]
        raise ValueError("the issuer's metadata names no keys")


async def _json(client: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    answer = await client.get(url, headers={"accept": "application/json"})
    answer.raise_for_status()
    found = answer.json()
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return cast("dict[str, Any]", found)
