"""Compares what came of the scenarios with `expected.toml`, both ways: a scenario that is said not to pass must not."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tools.conformance.suite import Outcome, Run

EXPECTED = Path(__file__).parent / "expected.toml"

Reasons = Mapping[str, str]
"""Why a scenario, or `scenario:check` for one check of it, is not as the suite wants it."""
Outcomes = Mapping[Run, Sequence[Outcome]]


def reasons() -> Reasons:
    """What `expected.toml` says."""
    entries = tomllib.loads(EXPECTED.read_text("utf-8"))["not_passed"]
    return {name: " ".join(entry["because"].split()) for entry in entries for name in entry["scenarios"]}


def objections(outcomes: Outcomes, expected: Reasons) -> list[str]:
    """What is not as expected, a sentence each."""
    found = [
        f"{run.title}: {words}"
        for run, of_run in outcomes.items()
        for outcome in of_run
        for words in _objections(outcome, expected)
    ]
    ran = {outcome.scenario for of_run in outcomes.values() for outcome in of_run}
    unknown = sorted({name.partition(":")[0] for name in expected} - ran)
    return found + [f"{name} is in expected.toml and in no run" for name in unknown]


def _objections(outcome: Outcome, expected: Reasons) -> Iterator[str]:
    name = outcome.scenario
    if not outcome.checks:
        yield f"{name} did not run"
        return
    short = {check.id: check for check in outcome.shortcomings}
    if name in expected:
        if outcome.passes:
            yield f"{name} passes now; take it out of expected.toml"
        return
    if outcome.was_skipped:
        yield f"{name} was skipped by the suite"
    for check in short.values():
        if f"{name}:{check.id}" not in expected:
            yield f"{name} does not pass: {check.id}: {check.message}"
    for entry in expected:
        scenario, _, check_id = entry.partition(":")
        if scenario == name and check_id not in short:
            yield f"{entry} passes now; take it out of expected.toml"
