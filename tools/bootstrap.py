"""Sets up `.venv` for the Makefile: pinned versions, every file checked against its hash, then the project.

Does nothing when that was done before; two runs at once in one clone wait for each other. Imports the
standard library alone. Usage: bootstrap.py [check], where `check` adds the linter and the type checker.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"


def main(groups: list[str]) -> None:
    # The kernel frees this lock however the process ends.
    with open(__file__, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (is_done("test", base_digest()) and works()):
            print("Setting up .venv (once; about a minute)", flush=True)
            create()
            mark_done("test", base_digest())
        for group in groups:
            if not is_done(group, pins_digest(group)):
                print(f"Adding to .venv what `make {group}` needs (once)", flush=True)
                install_pinned(pins(group))
                mark_done(group, pins_digest(group))


def create() -> None:
    venv.create(VENV, clear=True, symlinks=True, with_pip=True)
    install_pinned(pins("test"))
    pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def install_pinned(requirements: Path) -> None:
    pip("install", "--require-hashes", "--only-binary=:all:", "--requirement", str(requirements))


def pip(*arguments: str) -> None:
    options = ["-qq", "--disable-pip-version-check", "--no-input"]
    result = subprocess.run([PYTHON, "-I", "-m", "pip", *options, *arguments], check=False)
    if result.returncode:
        sys.exit(f"pip {arguments[0]} failed; its words are above. Nothing is half done: run make again.")


def pins(group: str) -> Path:
    return ROOT / ("constraints.txt" if group == "test" else f"constraints-{group}.txt")


def pins_digest(group: str) -> str:
    return hashlib.sha256(pins(group).read_bytes()).hexdigest()


def base_digest() -> str:
    """What the environment was made of; the path too, as a copied clone would import the other one's code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    made_of = [
        str(ROOT),
        pins_digest("test"),
        project["build-system"],
        project["project"],
        project["tool"]["hatch"],
    ]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def is_done(group: str, digest: str) -> bool:
    stamp = VENV / f".installed-{group}"
    return stamp.exists() and stamp.read_text("utf-8") == digest


def works() -> bool:
    """Whether the interpreter still finds its packages; not so after the system's Python was replaced."""
    find = "import sys; from importlib.util import find_spec; sys.exit(find_spec('pytest') is None)"
    return PYTHON.exists() and subprocess.run([PYTHON, "-I", "-c", find], check=False).returncode == 0


def mark_done(group: str, digest: str) -> None:
    (VENV / f".installed-{group}").write_text(digest, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
