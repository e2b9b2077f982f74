"""A run that proves nothing fails like one that broke something."""

from __future__ import annotations

from collections import Counter
from math import inf

import pytest

from chaos.faults import EVERY
from chaos.kinds import Kind
from chaos.processes import Drain
from chaos.report import LEAST_IN_A_MINUTE, Report
from chaos.verdict import Broken, Verdict


def good() -> Report:
    """A run in which everything was tried and nothing broke."""
    verdict = Verdict(checked=Counter(send=LEAST_IN_A_MINUTE), stale=1, meetings=1, messages=1)
    fired = Counter(dict.fromkeys(Kind, 1))
    return Report(1, 60, fired, [Drain(2.0, 0.0)], verdict, "again", "/somewhere")


def test_a_run_in_which_everything_was_tried_and_nothing_broke_passes() -> None:
    report = good()
    assert report.failures == []
    assert "nothing was lost" in report.text()
    assert "not reached" in report.text()


@pytest.mark.parametrize("kind", list(Kind))
def test_a_run_in_which_a_kind_of_fault_never_fired_fails(kind: Kind) -> None:
    report = good()
    report.fired[kind] = 0
    assert report.failures == [f"never fired: {kind}"]


def test_every_kind_of_fault_but_the_clients_own_has_a_rhythm() -> None:
    assert set(EVERY) == set(Kind) - {Kind.CANCEL}


def test_a_run_with_too_few_operations_fails() -> None:
    report = good()
    report.verdict.checked["send"] -= 1
    [failure] = report.failures
    assert "too few" in failure


def test_a_run_in_which_nobody_came_back_too_late_fails() -> None:
    report = good()
    report.verdict.stale = 0
    assert report.failures == ["no speech came after its turn"]


def test_a_run_without_meetings_or_messages_fails() -> None:
    for nothing in ("meetings", "messages"):
        report = good()
        setattr(report.verdict, nothing, 0)
        assert report.failures == ["nothing was said"]


def test_a_server_that_takes_too_long_to_end_fails_the_run_and_a_busy_machine_does_not() -> None:
    report = good()
    report.drains = [Drain(12.0, 5.0)]
    assert report.failures == []
    for slow in (Drain(12.0, 1.0), Drain(inf, 0.0)):
        report.drains = [slow]
        [failure] = report.failures
        assert "SIGTERM" in failure


def test_a_broken_promise_fails_the_run_and_is_told_with_where_its_histories_are() -> None:
    report = good()
    report.verdict.broke(Broken.LOST, "m1")
    text = report.text()
    assert report.failures == ["acknowledged, and lost: m1"]
    assert "BROKEN" in text
    assert "/somewhere" in text
    assert text.endswith("again: again")
