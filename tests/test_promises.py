"""The page of figures: a part that was run exchanges its own and no others; and what counts as a red run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import promises, repeat
from tools.promises import Row

OLD = Row("R4", "late speeches", "200", "0", "seed 7", "stale", "2026-01-01")
OTHER = Row("R12", "planted bugs", "9", "1", "", "mutants", "2026-01-02")
PAGE = f"words\n{promises.BEGIN}{promises.HEAD}{OLD}\n{OTHER}\n{promises.END}\nmore words\n"


def test_a_part_that_ran_exchanges_its_figures_and_leaves_those_of_others() -> None:
    figure = {
        "promise": "R4",
        "what": "late speeches",
        "tried": 12_345,
        "broken": 0,
        "p99": "0.5 s",
        "seed": 4_000_000_000,
    }
    first = {"promise": "R2", "what": "retries", "tried": 10, "broken": 2}
    page = promises.written(PAGE, "stale", [Row.of(each, "stale", "2026-02-03") for each in (figure, first)])
    rows = page.split(promises.HEAD)[1].split(promises.END)[0]
    assert rows.splitlines() == [
        "| R2 | retries | 10 | 2 |  | stale | 2026-02-03 |",
        "| R4 | late speeches | 12,345 | 0 | p99 0.5 s; seed 4000000000 | stale | 2026-02-03 |",
        str(OTHER),
    ]
    assert page.replace(rows, f"{OLD}\n{OTHER}\n") == PAGE


def test_what_was_tried_of_several_kinds_is_one_line_and_what_was_tried_seldom_another() -> None:
    def of(promise: str, what: str, tried: int, **facts: int | str) -> dict[str, object]:
        return {"promise": promise, "what": what, "tried": tried, "broken": tried // 100, **facts}

    figures = [
        of("R2", "Ask: at once", 500, refused=3, seed="7"),
        of("R2", "Answer: at once", 400, seed="8"),
        of("R3", "one race", 1),
        of("R3", "another", 2, cancelled=2),
        of("R3", "at random", 1000, seed="9"),
        of("R4", "one race", 1, seed="10"),
    ]
    assert promises.condensed(figures) == [
        {"promise": "R2", "what": "at once (2 kinds)", "tried": 900, "broken": 9, "refused": 3},
        of("R3", "at random", 1000, seed="9"),
        {"promise": "R3", "what": "2 other cases", "tried": 3, "broken": 0, "cancelled": 2},
        of("R4", "one race", 1, seed="10"),
    ]


def test_a_part_that_recorded_nothing_leaves_no_figure_of_another_day() -> None:
    assert str(OLD) not in promises.written(PAGE, "stale", [])


def test_the_page_can_be_written() -> None:
    page = promises.PAGE.read_text("utf-8")
    assert promises.written(page, "no such part", []) == page
    assert {
        row.split("|")[6].strip() for row in page.splitlines() if row.startswith("| R") and row.count("|") == 8
    } <= {*promises.parts()}


@pytest.mark.parametrize(
    ("body", "failed", "code"),
    [
        ("def test_one(): pass\ndef test_two(): pass\n", (), 0),
        ("def test_one(): assert False\ndef test_two(): pass\n", ("test_some::test_one",), 1),
        (
            "import pytest\n@pytest.fixture\ndef f():\n yield\n 1/0\ndef test_one(f): pass\n",
            ("test_some::test_one",),
            1,
        ),
        ("1/0\n", ("::test_some",), 2),
    ],
    ids=["green", "a failure", "an error after a test", "an error before any"],
)
def test_every_way_of_being_red_is_seen(tmp_path: Path, body: str, failed: tuple[str, ...], code: int) -> None:
    (tmp_path / "test_some.py").write_text(body)
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", "--rootdir=.", "-c", "/dev/null"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    _, found = repeat.of_report(report)
    assert (ran.returncode, found) == (code, failed)


@pytest.mark.parametrize(("code", "tests"), [(1, 9), (0, 0), (-9, 0)], ids=["red", "nothing", "killed"])
def test_a_run_that_proves_nothing_is_red(code: int, tests: int) -> None:
    assert not repeat.Run(seed=1, code=code, tests=tests, failed=(), seconds=1.0).is_green
