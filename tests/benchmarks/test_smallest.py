"""The benchmarks run from end to end, with few calls: what they find says nothing, that they find it is the test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.requirement("benchmarks:runs")
def test_the_smallest_run_measures_what_is_chosen_and_leaves_nothing(tmp_path: Path) -> None:
    pages = [path.stat().st_mtime_ns for path in sorted((ROOT / "docs").glob("benchmarks.*"))]
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smallest", "--rounds", "1", "--only", "P1,P4,P8,P15"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"^\| (P\d+) \| .+ \| .*\d.* \| \d.* \| \d.* × \| .+ \| .*reached.* \|$", result.stdout, re.M)
    assert rows == ["P1", "P4", "P4", "P8", "P8", "P15", "P15", "P15"]
    assert list(tmp_path.iterdir()) == []
    after = [path.stat().st_mtime_ns for path in sorted((ROOT / "docs").glob("benchmarks.*"))]
    assert after == pages, "a partial run writes no page"
