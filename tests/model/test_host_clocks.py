"""Every place where the product reads a clock of its host, with the reason why nothing is decided by it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("db/agent_messaging_db", "protocol/agent_messaging", "mcp_server/agent_messaging_mcp")
READS = {"time": ("time", "time_ns", "localtime", "gmtime"), "datetime": ("now", "utcnow", "today"), "date": ("today",)}
JUDGED = {
    "db/agent_messaging_db/ids.py": "UUIDv7: ids need only differ; nothing is ordered by them",
    "db/agent_messaging_db/tracing.py": "when a span ended, for whoever collects spans of this host",
    "protocol/agent_messaging/clock.py": "set right by the database's, for words",
    "mcp_server/agent_messaging_mcp/doctor/examination.py": "compared with the database's, to tell that it is wrong",
    "mcp_server/agent_messaging_mcp/http/credentials.py": "when a JWT ends, as its issuer's clock said it",
    "mcp_server/agent_messaging_mcp/text.py": "how long ago something was, or how soon it is, in words",
}
_OTHER_CLOCKS = re.compile(
    r"\bnow\s*\(|current_time|localtime|\b(statement|transaction)_timestamp\b|pg_catalog\.clock_timestamp",
    re.IGNORECASE,
)


def host_clocks(source: str) -> Iterator[str]:
    """The clocks of the host that a module reads, or hands on to be read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in READS.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{name.name}" for name in node.names if name.name in READS["time"])


@pytest.mark.requirement("model:clock-skew")
def test_the_hosts_clock_is_read_only_where_nothing_is_decided_by_it() -> None:
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if clocks := set(host_clocks(path.read_text(encoding="utf-8"))):
                found[path.relative_to(ROOT).as_posix()] = clocks
    assert found.keys() == JUDGED.keys(), found


@pytest.mark.requirement("model:clock-skew")
def test_statements_ask_for_the_time_of_the_moment_and_never_for_that_of_their_transaction() -> None:
    paths = sorted((ROOT / "db/agent_messaging_db").rglob("*.sql"))
    assert len(paths) > 8
    wrong = {path.name: _OTHER_CLOCKS.findall(path.read_text(encoding="utf-8")) for path in paths}
    assert not {name: found for name, found in wrong.items() if found}


@pytest.mark.requirement("model:clock-skew")
@pytest.mark.parametrize(
    "source",
    ["import time\ntime.time()", "from time import time", "from datetime import datetime\nx = datetime.now"],
)
def test_a_reader_of_the_hosts_clock_is_found(source: str) -> None:
    assert list(host_clocks(source))
