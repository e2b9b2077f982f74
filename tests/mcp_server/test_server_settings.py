"""Settings that would open a hole are refused before anything is served."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from agent_messaging_mcp.settings import Settings


@pytest.mark.requirement("mcp:limits:settings")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"oauth_issuer": "https://issuer.example.org"}, "belong together"),
        ({"oauth_audience": "agents"}, "belong together"),
        ({"oauth_issuer": "http://issuer.example.org", "oauth_audience": "a"}, "must be an https address"),
        ({"oauth_issuer": "http://localhost.evil.org", "oauth_audience": "a"}, "must be an https address"),
        ({"oauth_issuer": "http://127.0.0.1@evil.org", "oauth_audience": "a"}, "must be an https address"),
        ({"oauth_issuer": "http://127.0.0.2", "oauth_audience": "a"}, "must be an https address"),
        ({"oauth_issuer": "issuer.example.org", "oauth_audience": "a"}, "must be an https address"),
        ({"oauth_issuer": "file:///etc/passwd", "oauth_audience": "a"}, "must be an https address"),
        ({"oauth_issuer": "https://", "oauth_audience": "a"}, "must be an https address"),
        ({"oauth_jwks_url": "http://keys.example.org"}, "must be an https address"),
        ({"public_url": "http://agents.example.org/mcp"}, "must be an https address"),
        ({"rate_limit_per_minute": 0}, "greater than or equal to 1"),
        ({"max_open_waits": 0}, "greater than or equal to 1"),
        ({"max_body_bytes": 1}, "greater than or equal to 1024"),
        ({"port": 65_536}, "less than or equal to 65535"),
    ],
)
def test_a_setting_that_would_open_a_hole_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings(**given)


@pytest.mark.requirement("mcp:limits:settings")
@pytest.mark.parametrize(
    "issuer", ["https://issuer.example.org/realm", "http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:1"]
)
def test_an_issuer_is_reached_over_tls_or_on_this_machine(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_ISSUER", issuer)
    monkeypatch.setenv("OAUTH_AUDIENCE", "agents")
    assert (Settings().oauth_issuer, Settings().oauth_audience) == (issuer, "agents")


@pytest.mark.requirement("mcp:limits:settings")
def test_lists_are_separated_by_commas_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_MESSAGING_ALLOWED_HOSTS", "a.example.org, b.example.org:8443,")
    monkeypatch.setenv("AGENT_MESSAGING_ALLOWED_ORIGINS", "https://c.example.org")
    assert Settings().allowed_hosts == ("a.example.org", "b.example.org:8443")
    assert Settings().allowed_origins == ("https://c.example.org",)
