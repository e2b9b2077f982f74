"""Writes `docs/conformance.md` from what came of a run."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from pathlib import Path

from tools.conformance.judgement import Outcomes, Reasons
from tools.conformance.suite import PACKAGE, Outcome, Run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"

_HEAD = """\
# Conformance

What the official suite of the protocol, `{package}`, says of this server. Written by
`make conformance`, which fails when this is no longer so; do not edit.

It is run against the app that `agent-messaging serve` serves – the same edge, authentication, middleware and
transports – with the tools, resources and prompts that the suite looks for put beside our own
([tools/conformance](../tools/conformance)). The suite knows nothing of bearer tokens, so one is added to its requests
before they reach the app; nothing else is changed on their way. It speaks Streamable HTTP alone.

{date}; {software}.

## Scenarios

The checks that passed, by the suite's version and the revision of the protocol. In bold: of how many, where not all
did; a warning counts as not passed. A dash: not in that run.
"""


def page(outcomes: Outcomes, expected: Reasons, node: str) -> str:
    """The whole page."""
    versions = [
        f"agent-messaging {importlib.metadata.version('agent-messaging')}",
        f"mcp {importlib.metadata.version('mcp')}",
        f"Python {platform.python_version()}",
        f"Node {node.removeprefix('v')}",
    ]
    today = datetime.datetime.now(datetime.UTC).date()
    head = _HEAD.format(package=PACKAGE, date=today, software=", ".join(versions))
    core = {run: of_run for run, of_run in outcomes.items() if run.revision is not None}
    extensions = {run: of_run for run, of_run in outcomes.items() if run.revision is None}
    return "\n".join(
        [
            head,
            *_table(core),
            "\n## Extensions\n\nOptional parts of the protocol, which the suite tries in scenarios of their own.\n",
            *_table(extensions),
            "\n## What does not pass, and why\n",
            "| scenarios | reason |\n|---|---|",
            *_reasons(expected),
            "",
        ]
    )


def _table(outcomes: Outcomes) -> list[str]:
    rows: dict[str, dict[Run, Outcome]] = {}
    for run, of_run in outcomes.items():
        for outcome in of_run:
            rows.setdefault(outcome.scenario, {})[run] = outcome
    passing = [f"{sum(outcome.passes for outcome in of_run)} of {len(of_run)}" for of_run in outcomes.values()]
    return [
        f"| scenario | {' | '.join(run.title for run in outcomes)} |",
        f"|---|{'---|' * len(outcomes)}",
        *(
            f"| `{scenario}` | {' | '.join(_cell(of_scenario.get(run)) for run in outcomes)} |"
            for scenario, of_scenario in rows.items()
        ),
        f"| scenarios that pass | {' | '.join(passing)} |",
    ]


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return "–"
    if outcome.was_skipped:
        return "skipped"
    if outcome.passes:
        return str(outcome.successes)
    return f"**{outcome.successes} of {outcome.successes + len(outcome.shortcomings)}**"


def _reasons(expected: Reasons) -> list[str]:
    grouped: dict[str, list[str]] = {}
    for name, why in expected.items():
        scenario, _, check = name.partition(":")
        grouped.setdefault(why, []).append(f"`{scenario}`, only its check `{check}`" if check else f"`{scenario}`")
    return [f"| {'; '.join(names)} | {why} |" for why, names in grouped.items()]
