"""The table of the benchmarks: ratios, verdicts, and the page that is made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import families, report
from benchmarks.figures import Figure, number, table
from benchmarks.timing import percentile

SPEC = [f"P{number}" for number in range(1, 16)]


def judged(figure: Figure, *rounds: tuple[float, float]) -> Figure:
    for floor, ours in rounds:
        figure.add(floor, ours)
    return figure


@pytest.mark.requirement("benchmarks:ratio")
def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_numbers() -> None:
    # A loud round changes both numbers, and neither its ratio nor the verdict.
    figure = judged(Figure("P1", "sends", "sends/s", 0.6, least=True), (100, 70), (10, 7), (1000, 100))
    assert figure.value == pytest.approx(0.7)
    assert figure.reached is True


@pytest.mark.requirement("benchmarks:verdict")
@pytest.mark.parametrize(
    ("least", "ratio", "reached"), [(True, 0.6, True), (True, 0.59, False), (False, 0.6, True), (False, 0.61, False)]
)
def test_a_bound_is_reached_on_its_own_side(least: bool, ratio: float, reached: bool) -> None:
    figure = judged(Figure("P1", "what", "ms", 0.6, least=least), (100, 100 * ratio))
    assert figure.reached is reached
    assert figure.cells()[-2:] == [f"{'≥' if least else '≤'} 0.6 ×", "reached" if reached else "**not reached**"]


@pytest.mark.requirement("benchmarks:verdict")
def test_what_has_no_bound_is_told_and_not_judged() -> None:
    figure = judged(Figure("", "beside a peer", "ms"), (2, 3))
    assert figure.reached is None
    assert figure.cells() == ["", "beside a peer", "2 ms", "3 ms", "1.50 ×", "", ""]


@pytest.mark.requirement("benchmarks:verdict")
def test_a_figure_without_a_floor_is_bounded_by_its_own_number() -> None:
    figure = Figure("P14", "characters", "characters", 8_000, absolute=True)
    figure.add_absolute(6_700)
    assert figure.cells() == [
        "P14",
        "characters",
        "",
        "6,700 characters",
        "",
        "≤ 8,000 characters",
        "reached",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (4.5, "4.5"), (789.4, "789"), (12_345.6, "12,300"), (1_234_567, "1,230,000")],
)
def test_a_number_has_three_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_percentile_is_one_of_the_durations() -> None:
    durations = [float(value) for value in range(100, 0, -1)]
    assert [percentile(durations, p) for p in (0, 50, 99, 100)] == [1, 51, 100, 100]


@pytest.mark.requirement("benchmarks:table")
def test_every_figure_of_the_table_is_measured_by_a_family() -> None:
    measured = {number for numbers in families.FAMILIES for number in numbers}
    assert measured - {"peers"} == set(SPEC)
    assert families.chosen(None, large=False) == measured
    assert families.chosen(None, large=True) == {"P9", "P10"}
    assert families.chosen("P1, P4", large=False) == {"P1", "P4"}
    with pytest.raises(SystemExit, match="there is no figure P16; there are P1, P2"):
        families.chosen("P16", large=False)


@pytest.mark.requirement("benchmarks:table")
async def test_the_page_says_where_it_was_measured_and_how_much_was_reached() -> None:
    figures = [
        judged(Figure("P1", "one", "ms", 2.0), (1, 1)),
        judged(Figure("P2", "two", "ms", 2.0), (1, 3)),
        judged(Figure("", "three", "ms"), (1, 3)),
    ]
    version = "PostgreSQL 18.4 on a machine"
    page = report.page(figures, version=version, rounds=3, picture=Path("docs/benchmarks.svg"))
    assert re.search(r"\d{4}-\d\d-\d\d, .* \d+ cores,\nPython [\d.]+ \(\w+\), PostgreSQL 18.4\. 1 of 2 bounds", page)
    assert table(figures) in page
    assert "(benchmarks.svg)" in page
    assert ".svg" not in report.page(figures, version=version, rounds=3, picture=None)
