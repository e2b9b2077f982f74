"""Lets a request in only with a bearer token that is good, and has it act as that token's agent."""

from __future__ import annotations

import logging
import re

from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, RequireAuthMiddleware
from pydantic import AnyHttpUrl
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_messaging_mcp.http.credentials import Credential, Credentials
from agent_messaging_mcp.scoped import Scoped

# In the header and nowhere else: what stands in an address ends up in logs and histories.
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+) *", re.IGNORECASE)

logger = logging.getLogger(__name__)


def away() -> PlainTextResponse:
    """What is said while nobody can tell whether a token is good."""
    return PlainTextResponse("The database is away. Try again.", 503, headers={"retry-after": "2"})


class Authentication:
    """Asks `credentials` about the bearer token of every request; without a good one the answer is 401,
    with a pointer to the OAuth metadata if there is any, and 503 while nobody can tell.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials, *, metadata_url: AnyHttpUrl | None) -> None:
        self._app = app
        self._refusal = RequireAuthMiddleware(app, [], metadata_url)
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            credential = await self._credential(scope)
        except Exception as failed:
            logger.warning("a token could not be checked (%s)", type(failed).__name__)
            await away()(scope, receive, send)
            return
        # Set anew in any case: nothing but a token makes a user.
        scope["user"] = None if credential is None else AuthenticatedUser(credential)
        if credential is None:
            await self._refusal(scope, receive, send)
            return
        with Scoped(auth_context_var, scope["user"]):
            await self._app(scope, receive, send)

    async def _credential(self, scope: Scope) -> Credential | None:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1 or (found := _BEARER.fullmatch(given[0].decode("latin-1"))) is None:
            return None
        return await self._credentials.verify_token(found[1])
