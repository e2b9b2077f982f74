"""Bearer tokens: which agent one stands for, and that its end is felt at once, inside open calls too."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING
from uuid import UUID

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from pydantic import Field

from agent_messaging.errors import AgentNotFoundError, DatabaseUnavailableError
from agent_messaging_mcp.http.issuer import Issuer
from agent_messaging_mcp.service import Service

if TYPE_CHECKING:
    from agent_messaging_mcp.service import Messaging

LOOK_SECONDS = 0.4
"""How often the tokens of open requests are looked at: the end of one is felt within a second."""
_TRUSTED_SECONDS = 0.4
"""How long a token that was good is taken for good without asking again."""
_REMEMBERED = 4_096
_LONGEST = 16_384

logger = logging.getLogger(__name__)


class Credential(AccessToken):
    """What a bearer token stands for. `subject` is the agent; `ends_at` is in seconds since 1970, for a JWT;
    `token_id` is that of a token in the database.

    The SDK binds a session to client, issuer and subject: here all three are the agent, so that it may take a new token
    into an old session, and nobody else may. The token itself is not kept.
    """

    token: str = ""
    client_id: str = "agent-messaging"
    scopes: list[str] = Field(default_factory=list[str])
    token_id: UUID | None = None
    ends_at: float | None = None
    is_checked: bool = True
    """False: it was good when it was last looked at, and now nobody can tell."""


@dataclass(eq=False, slots=True)
class _Open:
    """What lasts as long as a credential is good, among the others that are open."""

    credential: Credential
    end: Callable[[], None]
    among: set[_Open]

    def forget(self) -> None:
        self.among.discard(self)

    def __enter__(self) -> None:
        self.among.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()


class Credentials:
    """Checks bearer tokens, and ends what was opened with one that is no longer good."""

    def __init__(self, service: Service, issuer: Issuer | None) -> None:
        self._service = service
        self._issuer = issuer
        self._good: OrderedDict[bytes, tuple[Credential, float]] = OrderedDict()
        self._open: set[_Open] = set()

    async def verify_token(self, token: str) -> Credential | None:
        """What a token stands for, None if it is no good. While the database is away, one that was good is given
        unchecked; for any other it raises what the database raised.
        """
        if len(token) > _LONGEST or not token.isascii():
            return None
        digest = hashlib.sha256(token.encode()).digest()
        known = self._good.get(digest)
        if known is not None and time.monotonic() - known[1] < _TRUSTED_SECONDS and not _is_over(known[0]):
            return known[0]
        began = time.monotonic()
        try:
            credential = await self._verified(token)
        except Exception:
            if known is None or _is_over(known[0]):
                raise
            return known[0].model_copy(update={"is_checked": False})
        if credential is None:
            self._good.pop(digest, None)
            return None
        self._good[digest] = (credential, began)
        self._good.move_to_end(digest)
        if len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return credential

    def while_good(self, credential: Credential, end: Callable[[], None]) -> _Open:
        """For as long as the block runs, `end()` is called once if the credential is no longer good."""
        return _Open(credential, end, self._open)

    def when_over(self, credential: Credential, end: Callable[[], None]) -> Callable[[], None]:
        """Have `end()` called once when the credential is no longer good; gives the way out."""
        opened = _Open(credential, end, self._open)
        self._open.add(opened)
        return opened.forget

    async def look_for_ever(self) -> None:
        """End what has been opened with credentials that are over, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._end(await self._revoked())

    async def _revoked(self) -> set[UUID]:
        ids = {opened.credential.token_id for opened in self._open if opened.credential.token_id is not None}
        if not ids:
            return set()
        try:
            return await (await self._service.messaging()).tokens.ended(ids)
        except DatabaseUnavailableError:
            return set()  # nothing can be done with a token either, as long as the database is away
        except Exception:
            logger.exception("could not look at the tokens of open requests")
            return set()

    def _end(self, over: set[UUID]) -> None:
        # A JWT ends by the clock, whether or not the database can be asked.
        for opened in list(self._open):
            if opened.credential.token_id in over or _is_over(opened.credential):
                self._open.discard(opened)
                opened.end()

    async def _verified(self, token: str) -> Credential | None:
        messaging = await self._service.messaging()
        if token.count(".") == 2:
            return await self._of_issuer(messaging, token)
        found = await messaging.tokens.verify(token)
        if found is None:
            return None
        return Credential(subject=found.agent_external_id, token_id=found.id)

    async def _of_issuer(self, messaging: Messaging, token: str) -> Credential | None:
        claims = await self._issuer.verify(token) if self._issuer is not None else None
        if claims is None:
            return None
        try:
            agent = await messaging.get_agent(claims.subject)
        except AgentNotFoundError:
            return None
        return Credential(subject=agent.external_id, ends_at=claims.expires_at)


def _is_over(credential: Credential) -> bool:
    return credential.ends_at is not None and credential.ends_at <= time.time()


def current() -> Credential | None:
    """The credential of the request that is being served."""
    found = get_access_token()
    return found if isinstance(found, Credential) else None
