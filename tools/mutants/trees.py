"""Copies of the working tree, each with an interpreter that finds the project in that copy and nowhere else."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "agent_messaging_db": "db",
    "agent_messaging": "protocol",
    "agent_messaging_mcp": "mcp_server",
}
"""The project's packages, and the folder of each."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the tree, and the interpreter that belongs to it."""

    directory: Path

    @property
    def tree(self) -> Path:
        return self.directory / "tree"

    @property
    def python(self) -> Path:
        return self.directory / "environment" / "bin" / "python"


def copy_of_working_tree(directory: Path) -> Copy:
    """Copy what git would commit if everything were added, changes that are not committed included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    copy = Copy(directory)
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, copy.tree / name
        if source.is_file():  # what was deleted is listed, too
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    _make_environment(copy)
    return copy


def another(copy: Copy, directory: Path) -> Copy:
    """Copy a copy, with the bytecode that has been made there."""
    twin = Copy(directory)
    shutil.copytree(copy.tree, twin.tree, symlinks=True)
    _make_environment(twin)
    return twin


def _make_environment(copy: Copy) -> None:
    # Not PYTHONPATH: tests start servers with an environment of their own, which would be those of the original. The
    # installed packages are named as a plain directory, whose own .pth files, that of the project among them, are not
    # read.
    environment = copy.directory / "environment"
    venv.create(environment, symlinks=True)
    paths = sysconfig.get_paths()
    found = [str(copy.tree / folder) for folder in SOURCES.values()]
    found += dict.fromkeys([paths["purelib"], paths["platlib"]])
    packages = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    Path(packages, "of_this_copy.pth").write_text("".join(f"{path}\n" for path in found), "utf-8")
