"""The commands of the README, as far as they can be tried without setting anything up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAKE = shutil.which("make") or "make"


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MAKE, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def test_make_alone_lists_every_target_a_person_calls():
    listed = re.findall(r"^  make (\S+)", make(PATH=os.defpath).stdout, re.MULTILINE)
    assert listed == [
        "help",
        "demo",
        "test",
        "check",
        "format",
        "bench",
        "bench-large",
        "chaos",
        "mutants",
        "promises",
        "inspector",
        "conformance",
        "image",
        "pin",
        "clean",
    ]


def test_without_a_new_enough_python_make_says_what_to_do(tmp_path: Path):
    for name in ("python3", "python3.11"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    result = make("test", PATH=str(tmp_path))
    assert result.returncode == 2
    assert "needs Python 3.11 or newer" in result.stderr
    assert "apt install python3 python3-venv" in result.stderr


def test_the_first_python_that_is_new_enough_is_taken(tmp_path: Path):
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3.12").write_text('#!/bin/sh\n[ "$1" = -c ] || echo "runs $1"\n')
    for name in ("python3", "python3.12"):
        (tmp_path / name).chmod(0o755)
    assert make("environment", PATH=str(tmp_path)).stdout == "runs tools/bootstrap.py\n"
