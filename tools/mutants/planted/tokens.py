"""Bugs by which a token that is none, or no longer one, lets somebody in: R15."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_TOKENS = "protocol/agent_messaging/tokens.py"
_CREDENTIALS = "mcp_server/agent_messaging_mcp/http/credentials.py"
_ISSUER = "mcp_server/agent_messaging_mcp/http/issuer.py"
_REVOKED = "tests/mcp_server/test_revocation.py::test_a_revoked_token_ends_whatever_is_open_with_it_at_every_process"
_OUTAGE = "tests/mcp_server/test_edge_outage.py::"
_JWTS = (
    "tests/mcp_server/test_tokens_at_the_edge.py::"
    "test_a_jwt_that_is_not_the_issuers_or_not_for_this_server_gets_nobody_in"
)

MUTANTS = (
    Mutant(
        name="tokens-compared-by-prefix",
        promise="R15",
        sentence="The part of a token that lists show is enough to get in.",
        file=_TOKENS,
        old="        same = hmac.compare_digest(_sha256(token), _NO_HASH if row is None else row.sha256)\n",
        new="        same = hmac.compare_digest(_sha256(token), _NO_HASH) or row is not None\n",
        caught_by=(
            "tests/protocol/test_tokens.py::test_nothing_that_only_resembles_a_token_lets_in",
            "tests/mcp_server/test_tokens_at_the_edge.py::test_without_a_good_token_nobody_gets_in",
        ),
    ),
    Mutant(
        name="expiry-ignored",
        promise="R15",
        sentence="A token that has expired lets in.",
        file=_TOKENS,
        old="and same and row.state == TokenState.VALID else None\n",
        new="and same and row.state != TokenState.REVOKED else None\n",
        caught_by=("tests/protocol/test_tokens.py::test_an_expired_token_lets_nobody_in",),
    ),
    Mutant(
        name="revocation-ignored",
        promise="R15",
        sentence="A token that was revoked lets in.",
        file=_TOKENS,
        old="and same and row.state == TokenState.VALID else None\n",
        new="and same and row.state != TokenState.EXPIRED else None\n",
        caught_by=("tests/protocol/test_tokens.py::test_a_revoked_token_lets_nobody_in_in_any_process",),
    ),
    Mutant(
        name="revocation-unheard-of",
        promise="R15",
        sentence="A process that has once found a token good never asks about it again.",
        file=_CREDENTIALS,
        old="_TRUSTED_SECONDS = 0.4\n",
        new="_TRUSTED_SECONDS = 86_400.0\n",
        caught_by=(f"{_OUTAGE}test_an_outage_does_not_make_a_revoked_token_good_again",),
    ),
    Mutant(
        name="streams-outlive-their-token",
        promise="R15",
        sentence="What was opened with a token that is revoked stays open.",
        file=_CREDENTIALS,
        old="            self._end(await self._revoked())\n",
        new="            self._end(set())\n",
        caught_by=(_REVOKED,),
    ),
    Mutant(
        name="a-jwt-that-never-ends",
        promise="R15",
        sentence="What was opened with a JWT outlives it.",
        file=_CREDENTIALS,
        old="            if opened.credential.token_id in over or _is_over(opened.credential):\n",
        new="            if opened.credential.token_id in over:\n",
        caught_by=("tests/mcp_server/test_credentials.py::test_a_jwt_ends_by_the_clock_while_the_database_is_away",),
    ),
    Mutant(
        name="good-again-in-an-outage",
        promise="R15",
        sentence="A token that is known to be revoked is taken for good while the database is away.",
        file=_CREDENTIALS,
        old="        if credential is None:\n            self._good.pop(digest, None)\n            return None\n",
        new="        if credential is None:\n            return None\n",
        caught_by=(f"{_OUTAGE}test_a_token_that_was_seen_revoked_is_no_longer_one_that_was_good",),
    ),
    Mutant(
        name="a-jwt-for-another-service",
        promise="R15",
        sentence="A JWT that its issuer gave for another service lets in here.",
        file=_ISSUER,
        old='                options={"require": ["exp", "iss", "aud", "sub"]},\n',
        new='                options={"require": ["exp", "iss", "aud", "sub"], "verify_aud": False},\n',
        caught_by=(_JWTS,),
    ),
    Mutant(
        name="a-jwt-of-another-issuer",
        promise="R15",
        sentence="A JWT that names another issuer lets in.",
        file=_ISSUER,
        old='                options={"require": ["exp", "iss", "aud", "sub"]},\n',
        new='                options={"require": ["exp", "iss", "aud", "sub"], "verify_iss": False},\n',
        caught_by=(_JWTS,),
    ),
    Mutant(
        name="a-jwt-that-has-expired",
        promise="R15",
        sentence="A JWT that has expired lets in.",
        file=_ISSUER,
        old='                options={"require": ["exp", "iss", "aud", "sub"]},\n',
        new='                options={"require": ["exp", "iss", "aud", "sub"], "verify_exp": False},\n',
        caught_by=(_JWTS,),
    ),
    Mutant(
        name="a-jwt-signed-by-anybody",
        promise="R15",
        sentence="The signature of a JWT is not looked at.",
        file=_ISSUER,
        old='                options={"require": ["exp", "iss", "aud", "sub"]},\n',
        new='                options={"require": ["exp", "iss", "aud", "sub"], "verify_signature": False},\n',
        caught_by=(_JWTS,),
    ),
)
