"""Bugs of the HTTP edge: R15."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_EDGE = "mcp_server/agent_messaging_mcp/http/edge.py"
_TESTS = "tests/mcp_server/test_hosts_and_origins.py::"

MUTANTS = (
    Mutant(
        name="origin-ignored",
        promise="R15",
        sentence="A web page of anybody calls the server on its reader's machine.",
        file=_EDGE,
        old='        origin = found.get(b"origin")\n',
        new="        origin = None if host else b''\n",
        caught_by=(
            "tests/mcp_server/test_hosts_and_origins.py::test_no_page_of_another_origin_gets_in_on_any_route[loopback]",
        ),
    ),
    Mutant(
        name="host-by-suffix",
        promise="R15",
        sentence="A host whose name ends in an allowed one is allowed: evil-localhost.",
        file=_EDGE,
        old="        return self.host == other.host and self.port in (None, other.port)\n",
        new="        return other.host.endswith(self.host) and self.port in (None, other.port)\n",
        caught_by=(
            "tests/mcp_server/test_hosts_and_origins.py::test_no_page_of_another_origin_gets_in_on_any_route[more-allowed]",
        ),
    ),
    Mutant(
        name="host-by-beginning",
        promise="R15",
        sentence="A host whose name begins with an allowed one is allowed: localhost.evil.example.",
        file=_EDGE,
        old="        return self.host == other.host and self.port in (None, other.port)\n",
        new="        return other.host.startswith(self.host) and self.port in (None, other.port)\n",
        caught_by=(
            "tests/mcp_server/test_hosts_and_origins.py::test_no_page_of_another_origin_gets_in_on_any_route[more-allowed]",
        ),
    ),
    Mutant(
        name="host-ignored",
        promise="R15",
        sentence="A name that a web page has resolve to this machine reaches the server (DNS rebinding).",
        file=_EDGE,
        old="        if host is None or not self._is_allowed(host):\n",
        new="        if host is None:\n",
        caught_by=(f"{_TESTS}test_no_other_way_to_name_a_host_gets_in",),
    ),
    Mutant(
        name="a-header-given-twice",
        promise="R15",
        sentence="Of two Host headers the edge looks at one, and what is behind it at the other.",
        file=_EDGE,
        old="            if name in _ONCE and name in found:\n",
        new="            if name in _ONCE and found.get(name) == value:\n",
        caught_by=(
            "tests/mcp_server/test_hosts_and_origins.py::test_no_page_of_another_origin_gets_in_on_any_route[loopback]",
        ),
    ),
    Mutant(
        name="a-token-in-the-address",
        promise="R15",
        sentence="A token in an address, where logs and histories keep it, lets in.",
        file="mcp_server/agent_messaging_mcp/http/authentication.py",
        old='        given = [value for name, value in scope["headers"] if name == b"authorization"]\n',
        new="""\
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        for name, _, value in (part.partition("=") for part in scope["query_string"].decode("latin-1").split("&")):
            if name == "access_token":
                given = [f"Bearer {value}".encode("latin-1")]
""",
        caught_by=("tests/mcp_server/test_tokens_at_the_edge.py::test_without_a_good_token_nobody_gets_in",),
    ),
    Mutant(
        name="serving-everybody-by-mistake",
        promise="R15",
        sentence="Listening beyond this machine needs no word about the hosts that are meant.",
        file="mcp_server/agent_messaging_mcp/cli/serve.py",
        old="    if not is_loopback(settings.host) and not settings.allowed_hosts:\n",
        new="    if settings.host is None:\n",
        caught_by=(f"{_TESTS}test_whatever_is_beyond_loopback_needs_an_allowed_host",),
    ),
)
