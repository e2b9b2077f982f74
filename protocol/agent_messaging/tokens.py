"""Bearer tokens: what a program holds to act as one agent over the network."""

from __future__ import annotations

import builtins
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from agent_messaging.config import LONGEST
from agent_messaging.content import checked_text
from agent_messaging.directory import Directory
from agent_messaging.engine import Engine
from agent_messaging.errors import InvalidArgumentError, TokenNotFoundError
from agent_messaging.models import NewToken, Token, TokenState
from agent_messaging_db import tokens
from agent_messaging_db.ids import new_id
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import TokenRow

LONGEST_LABEL = 200
SECRET_BYTES = 32
TRIES = 5

_SIGNS = "0123456789abcdefghjkmnpqrstvwxyz"  # no i, l, o, u: a prefix is read out and typed
_LENGTH = 55
_TOKEN = re.compile(r"am_([0-9a-z]{8})_[A-Za-z0-9_-]{43}")
# A prefix, or a token that was pasted instead of one, however mutilated its end.
_PREFIX = re.compile(r"[0-9a-z]{8}|am_[0-9a-z]{8}(?:_.*)?", re.DOTALL)
_NO_HASH = bytes(hashlib.sha256().digest_size)


class Tokens:
    """Bearer tokens of agents: `am_`, a prefix that names the token in lists, and 256 random bits.

    Only the prefix and the SHA-256 of the whole token are stored. Expiry is judged by the database's clock.
    """

    def __init__(self, engine: Engine[Any], directory: Directory) -> None:
        self._engine = engine
        self._directory = directory

    async def create(self, agent_external_id: str, *, expires_in: float | None = None, name: str = "") -> NewToken:
        """Make a token for an agent. The result has the token itself, which cannot be had again.

        `expires_in` seconds from now it is worth nothing; None is never. `name` is a label for people, such as
        "alice's laptop".

        Raises:
            AgentNotFoundError: the agent does not exist. InvalidArgumentError: `expires_in` is not a number of
                seconds above 0, or the name is not text of at most 200 characters.
        """
        await self._engine.ready()
        seconds = _checked_seconds(expires_in)
        label = checked_text(name, name="the name", limit=LONGEST_LABEL, error=InvalidArgumentError) or ""
        agent = await self._directory.identity(agent_external_id)
        for _ in range(TRIES):
            id, prefix = new_id(), _new_prefix()
            token = f"am_{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
            row = await self._insert(id, prefix, token, agent_id=agent.id, name=label, expires_in=seconds)
            if row is not None:
                return NewToken(token=token, info=_token_from(row))
        raise RuntimeError(f"{TRIES} random prefixes in a row were taken")

    async def list(
        self,
        agent_external_id: str | None = None,
        *,
        organization_external_id: str | None = None,
        include_ended: bool = False,
    ) -> builtins.list[Token]:
        """Give the valid tokens of an agent, of an organization, or of all, by agent and age.

        `include_ended`: the revoked and the expired ones too.

        Raises:
            AgentNotFoundError: the agent does not exist.
            OrganizationNotFoundError: the organization does not exist.
        """
        await self._engine.ready()
        agent = None if agent_external_id is None else (await self._directory.identity(agent_external_id)).id
        organization = (
            None
            if organization_external_id is None
            else (await self._directory.get_organization(organization_external_id)).id
        )
        rows = await self._engine.read(
            lambda connection: tokens.list_tokens(
                connection, agent_id=agent, organization_id=organization, include_ended=bool(include_ended)
            )
        )
        return [_token_from(row) for row in rows]

    async def revoke(self, prefix: str) -> Token:
        """End a token for good, and give it. One that was revoked before stays as it is.

        A whole token is taken for its prefix, and never repeated.

        Raises:
            TokenNotFoundError: no token has this prefix.
        """
        await self._engine.ready()
        # What does not look like a prefix may be part of a secret, so it is not quoted.
        found = _PREFIX.fullmatch(prefix.strip()) if isinstance(prefix, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if found is None:
            raise TokenNotFoundError(
                "that is not the prefix of a token: eight small letters and digits, as in the list"
            )
        named = found[0].removeprefix("am_")[:8]
        row = await self._engine.read(lambda connection: tokens.revoke_token(connection, prefix=named))
        if row is None:
            raise TokenNotFoundError(f"there is no token with the prefix {named!r}")
        return _token_from(row)

    async def verify(self, token: str) -> Token | None:
        """Give the token that this text is; None if it is none, or a revoked or expired one."""
        await self._engine.ready()
        if not isinstance(token, str) or len(token) != _LENGTH:  # pyright: ignore[reportUnnecessaryIsInstance]
            return None
        if (found := _TOKEN.fullmatch(token)) is None:
            return None
        row = await self._engine.read(lambda connection: tokens.get_token(connection, prefix=found[1]))
        # Compared whether or not there is one: how long it takes tells nothing.
        same = hmac.compare_digest(_sha256(token), _NO_HASH if row is None else row.sha256)
        return _token_from(row) if row is not None and same and row.state == TokenState.VALID else None

    async def ended(self, ids: Iterable[UUID]) -> set[UUID]:
        """Give those of these tokens that are revoked, expired, or gone from the database.

        Made to be asked all the time: an outage is not waited out but raised at once.
        """
        await self._engine.ready()
        asked = {*ids}
        if not all(isinstance(id, UUID) for id in asked):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError("tokens are asked after by their ids, which are UUIDs")
        if not asked:
            return set()

        async def read(connection: Connection, _again: bool) -> set[UUID]:
            return await tokens.ended_tokens(connection, ids=asked)

        return await self._engine.database.run(read, patience=0)

    async def _insert(
        self, id: UUID, prefix: str, token: str, *, agent_id: UUID, name: str, expires_in: float | None
    ) -> TokenRow | None:
        """Store a new token and give its row; None if its prefix is another's."""

        async def insert(connection: Connection, _again: bool) -> TokenRow | None:
            await tokens.insert_token(
                connection,
                id=id,
                prefix=prefix,
                sha256=_sha256(token),
                agent_id=agent_id,
                name=name,
                expires_in=expires_in,
            )
            # An earlier try with an unknown outcome may have stored it, so the row is asked and not the insert.
            row = await tokens.get_token(connection, prefix=prefix)
            return row if row is not None and row.id == id else None

        return await self._engine.database.run(insert)


def _new_prefix() -> str:
    return "".join(secrets.choice(_SIGNS) for _ in range(8))


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _checked_seconds(expires_in: float | None) -> float | None:
    if expires_in is None:
        return None
    if (
        isinstance(expires_in, bool)
        or not isinstance(expires_in, int | float)  # pyright: ignore[reportUnnecessaryIsInstance]
        or not 0 < expires_in <= LONGEST
    ):
        raise InvalidArgumentError(
            f"expires_in is a number of seconds above 0 and at most {LONGEST:.0f}, or None for a token without end"
        )
    return float(expires_in)


def _token_from(row: TokenRow) -> Token:
    return Token(
        id=row.id,
        prefix=row.prefix,
        agent_external_id=row.agent_external_id,
        organization_external_id=row.organization_external_id,
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        state=row.state,
    )
