"""Write `docs/metrics.md` from the code: `python tools/describe_metrics.py`."""

from __future__ import annotations

from pathlib import Path

from agent_messaging.measures import Counts
from agent_messaging_mcp.errors import NOT_DONE
from agent_messaging_mcp.metrics import FAMILIES, REASONS, STATUSES, Family

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

_HEAD = """\
# Metrics

Written from the code by `tools/describe_metrics.py`; do not edit. `agent-messaging serve` shows them at `/metrics`,
as Prometheus reads them, besides the process's own (`process_*`). Counters count since the process was started.

No label carries the name of an agent, a handle, or anything that somebody wrote. Of the depths of queues, which are in
the database, every process tells the same: take their `max`, not their sum; they are asked for every 5 seconds at most.
"""


def page() -> str:
    """The page, as it should be."""
    rows = [_row(family) for family in FAMILIES]
    return "\n".join([_HEAD, "| metric | | when to worry |", "|---|---|---|", *rows, "", *_labels(), ""])


def _row(family: Family) -> str:
    labels = f"{{{', '.join(family.labels)}}}" if family.labels else ""
    return f"| `{family.full_name}{labels}` | {family.help} ({family.kind}) | {family.worry} |"


def _labels() -> list[str]:
    counts = Counts()
    listed = {
        "tool": [*NOT_DONE, "other"],
        "status": [*sorted(STATUSES), "other"],
        "reason of `requests_refused_total`": [*sorted(REASONS), "other"],
        "kind of `messages_accepted_total`": counts.messages,
        "outcome": counts.settled,
        "how": counts.turns,
        "reason of `waits_ended_total`": counts.waits_ended,
        "kind of `database_errors_total`": ["outage", "deadlock", "other"],
        "state": ["in_use", "idle"],
        "write": ["send", "answer"],
    }
    rows = [f"| {label} | {', '.join(f'`{value}`' for value in values)} |" for label, values in listed.items()]
    return ["## Labels", "", "| label | its values |", "|---|---|", *rows]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
