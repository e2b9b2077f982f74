"""The page of metrics: what Prometheus reads, what its labels may be, and what `docs/metrics.md` says of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from agent_messaging import AgentMessaging
from agent_messaging.models import MeetingStatus
from agent_messaging_mcp.http.edge import Refused
from agent_messaging_mcp.metrics import FAMILIES, OTHER, REASONS, STATUSES, TOOLS, Numbers, Reading
from agent_messaging_mcp.metrics_page import render
from agent_messaging_mcp.tools import ALL, RESUMABLE
from tests.protocol.test_outages import Operator, operator
from tests.protocol.world import opened
from tools import describe_metrics

__all__ = ["operator"]  # a fixture

SECRET = "xyzzy"
SOURCE = Path(describe_metrics.__file__).parents[1] / "mcp_server" / "agent_messaging_mcp"
OURS = "agent_messaging_"


def page(reading: Reading) -> dict[str, Metric]:
    """The families of the page by name, as Prometheus reads them."""
    text, content_type = render(reading)
    assert content_type.startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


async def reading(sdk: AgentMessaging[str], numbers: Numbers | None = None) -> Reading:
    depths = await sdk.measures.depths()
    return Reading(numbers=numbers or Numbers(), snapshot=sdk.measures.snapshot(), depths=depths)


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == f"{OURS}{name}" and sample.labels == labels
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


@pytest.mark.requirement("metrics:page")
async def test_every_family_is_on_the_page_with_its_kind_and_what_has_happened(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        for number in range(3):
            await sdk.async_conversation.send("alice", "bob", str(number))
        numbers = Numbers()
        numbers.called("send", "sent")
        numbers.refused(Refused.HOST)
        with numbers.calling():
            families = page(await reading(sdk, numbers))
    for family in FAMILIES:
        found = families[family.full_name.removesuffix("_total")]
        assert (found.type, found.documentation) == (family.kind, family.help)
        assert found.samples, family.name
    assert value(families, "messages_accepted_total", kind="async") == 3
    assert value(families, "messages_accepted_total", kind="decline") == 0
    assert value(families, "unread_deliveries") == 3
    assert value(families, "calls_total", tool="send", status="sent") == 1
    assert value(families, "calls_in_progress") == 1
    assert value(families, "requests_refused_total", reason="host") == 1
    assert value(families, "requests_refused_total", reason="token") == 0
    assert value(families, "database_up") == 1
    assert value(families, "wakeups_arrive") == 1
    assert value(families, "batch_operations_bucket", write="send", le="+Inf") == 3
    assert value(families, "batch_operations_sum", write="send") == 3
    assert value(families, "database_connections_limit") == 10
    assert numbers.calls_in_progress == 0
    if sys.platform == "linux":
        assert "process_open_fds" in families


@pytest.mark.requirement("metrics:page")
def test_the_names_are_as_prometheus_wants_them() -> None:
    names = [family.full_name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", family.full_name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.kind != "histogram" or family.name.endswith(("_seconds", "_operations"))


@pytest.mark.requirement("metrics:outage")
async def test_the_page_is_there_before_the_database_and_while_it_is_away(dsn: str, operator: Operator) -> None:
    families = page(Reading(numbers=Numbers()))
    assert value(families, "database_up") == 0
    assert families[f"{OURS}unread_deliveries"].samples == [], "unknown is not 0"
    async with opened(dsn, "alice", "bob", database_patience=0) as sdk, operator.outage():
        families = page(await reading(sdk))
        assert value(families, "database_up") == 0
        assert value(families, "database_errors_total", kind="outage") > 0


@pytest.mark.requirement("metrics:closed-labels")
async def test_no_label_takes_a_value_that_is_not_known_here(dsn: str) -> None:
    numbers = Numbers()
    numbers.called(SECRET, SECRET)
    numbers.refused(SECRET)
    async with opened(dsn, "alice", "bob") as sdk:
        await sdk.async_conversation.send("alice", "bob", SECRET)
        text, _ = render(await reading(sdk, numbers))
    assert SECRET not in text.decode()
    assert not {b"alice", b"bob", b"acme"} & set(re.split(rb"\W+", text))
    families = page(Reading(numbers=numbers))
    assert value(families, "calls_total", tool=OTHER, status=OTHER) == 1
    assert value(families, "requests_refused_total", reason=OTHER) == 1


@pytest.mark.requirement("metrics:closed-labels")
def test_every_status_that_a_result_can_have_is_known() -> None:
    literal = re.compile(r"""status=(?:[^"\n]*?if[^"\n]*?)?"(\w+)"(?: if \w+ else "(\w+)")?""")
    called = re.compile(r"""\b(?:_too_late|closed)\(\s*"(\w+)\"""")
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text("utf-8")
        found |= {status for pair in literal.findall(text) for status in pair if status}
        found |= set(called.findall(text))
    found |= {str(status) for status in MeetingStatus}
    assert {"items", "waiting", "empty", "sent", "expired", "not_now", "active"} <= found
    assert found - STATUSES == set()
    assert {"refused", "error", "cancelled"} <= STATUSES


@pytest.mark.requirement("metrics:closed-labels")
def test_every_tool_and_every_reason_of_the_edge_is_known() -> None:
    assert {tool.name for tool in ALL} | set(RESUMABLE) == TOOLS
    assert {str(reason) for reason in Refused} <= REASONS


@pytest.mark.requirement("metrics:described")
def test_the_page_about_metrics_is_written_from_the_code() -> None:
    assert describe_metrics.PAGE.read_text("utf-8") == describe_metrics.page(), "run: python tools/describe_metrics.py"
    assert all(family.worry.endswith(".") and "|" not in family.worry + family.help for family in FAMILIES)


@pytest.mark.requirement("metrics:lean")
def test_a_server_that_shows_no_page_does_not_import_prometheus() -> None:
    code = (
        "import sys; import agent_messaging_mcp.metrics, agent_messaging_mcp.server;"
        "print('prometheus_client' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True)
    assert ran.stdout == "False\n"
