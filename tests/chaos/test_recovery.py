"""How the figures of recovery are judged: what never ended, what was never struck and what was too little, fails."""

from __future__ import annotations

import math

import pytest

from chaos.recovery import TURNS, Row, too_few
from chaos.recovery_faults import REACH, SPREAD, Fault


def row(*seconds: float, fault: str = Fault.LISTEN_KILLED, fired: int = 1, unmet: int = 0) -> Row:
    return Row(fault, "on", "http", reach=2.0, fired=fired, seconds=list(seconds), unmet=unmet)


@pytest.mark.requirement("chaos:recovery")
def test_one_wait_in_a_hundred_may_be_slow_and_two_may_not() -> None:
    assert row(*[0.1] * 99, 9.0).reached
    assert not row(*[0.1] * 98, 9.0, 9.0).reached
    assert row(*[0.1] * 98, 9.0, 9.0).percentile(50) == 0.1


@pytest.mark.requirement("chaos:recovery")
def test_a_wait_that_never_ended_counts_as_one_that_took_for_ever() -> None:
    assert not row(*[0.1] * 50, math.inf).reached
    assert row(*[0.1] * 50, math.inf).unfinished == 1
    assert row(0.1, math.inf).facts()["p99"] is None


@pytest.mark.requirement("chaos:recovery")
def test_a_single_wait_that_never_ended_fails_however_many_did() -> None:
    assert not row(*[0.1] * 1000, math.inf).reached


@pytest.mark.requirement("chaos:recovery")
def test_nothing_is_reached_by_a_fault_that_met_nothing() -> None:
    assert not row(*[0.1] * 200, fired=0).reached
    assert not row(*[0.1] * 200, unmet=1).reached
    assert not row().reached


@pytest.mark.requirement("chaos:recovery")
def test_too_little_is_told() -> None:
    assert too_few([row(*[0.1] * 60), row(*[0.1] * 39)]) == [f"{Fault.LISTEN_KILLED}, sweep on"]
    assert too_few([row(*[0.1] * 60), row(*[0.1] * 40)]) == []
    assert too_few([row(*[0.1] * 19, fault=TURNS)]) == [f"{TURNS}, sweep on"]


@pytest.mark.requirement("chaos:recovery")
def test_what_is_waited_for_happens_well_before_the_wait_has_to_have_ended() -> None:
    assert set(REACH) == set(SPREAD) == set(Fault)
    assert all(SPREAD[fault] < REACH[fault] / 2 for fault in Fault)


@pytest.mark.requirement("chaos:recovery")
def test_even_what_is_there_for_comparison_must_end() -> None:
    def nothing(*seconds: float) -> Row:
        return Row(Fault.NOTHING, "on", "http", REACH[Fault.NOTHING], fired=1, seconds=list(seconds))

    assert (nothing(9.0).reached, nothing(9.0).verdict) == (True, "")
    assert nothing(9.0, math.inf).verdict == "NOT REACHED"
