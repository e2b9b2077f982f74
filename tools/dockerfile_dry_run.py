"""Carries out the steps of the Dockerfile without an engine, and starts what comes out of them.

A copy of the files that .dockerignore lets through is the build's context; a directory stands in for the root of the
image, and every path below it that the Dockerfile names is moved there; a new virtual environment is the base image.
What changes accounts of the machine is left out, and said. Needs pip's access to packages, as an image build does.
Usage: python tools/dockerfile_dry_run.py
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from agent_messaging_db import embedded
from tools import dockerfile

ROOT = Path(__file__).resolve().parent.parent
MOVED = re.compile(r"(?<![\w./-])(?=/(?:build|wheels|opt/agent-messaging)\b)")
LEFT_OUT = re.compile(r"\b(?:groupadd|useradd)\b")
STARTS_WITHIN = STOPS_WITHIN = 10.0


class DryRun:
    """One build, below a directory of its own."""

    def __init__(self, work: Path) -> None:
        self.image = work / "image"
        self.base = work / "base"
        self.context = work / "context"
        self.built: dict[str, Path] = {}
        self.environment: dict[str, str] = {}
        self.here = self.image

    def build(self, stages: list[dockerfile.Stage]) -> None:
        for path in dockerfile.context(ROOT):
            (self.context / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, self.context / path)
        venv.create(self.base, with_pip=True)
        for stage in stages:
            # The same path for each: programs that were installed know where they are.
            self.image.mkdir()
            self.here = self.image
            self.environment = {"PATH": f"{self.base / 'bin'}:/usr/bin:/bin"}
            for step in stage.steps:
                self.carry_out(step)
            if stage is not stages[-1]:
                self.built[stage.name or ""] = self.image.rename(self.image.with_name(f"stage-{stage.name}"))

    def carry_out(self, step: dockerfile.Instruction) -> None:
        began = time.monotonic()
        words = "done"
        match step.keyword:
            case "ENV":
                for name, value in step.pairs.items():
                    self.environment[name] = self.moved(value.replace("$PATH", self.environment["PATH"]))
            case "WORKDIR":
                self.here = Path(self.moved(step.value))
                self.here.mkdir(parents=True, exist_ok=True)
            case "COPY":
                self.copy(step)
            case "RUN" if LEFT_OUT.search(step.value):
                words = "LEFT OUT: it changes the accounts of this machine"
            case "RUN":
                self.run(step)
            case "USER":
                words = "LEFT OUT: the server is started as this user"
            case _:
                words = "read"
        print(f"line {step.line:2}  {step.keyword:11} {words}, {time.monotonic() - began:.1f} s", flush=True)

    def run(self, step: dockerfile.Instruction) -> None:
        done = subprocess.run(
            ["/bin/sh", "-ec", self.moved(step.value)],
            cwd=self.here,
            env=self.environment | _ways_to_packages(),
            check=False,
        )
        if done.returncode:
            sys.exit(f"line {step.line}: {step.value}\nended with {done.returncode}")

    def copy(self, step: dockerfile.Instruction) -> None:
        *sources, to = step.words
        stage = step.options.get("from")
        target = Path(self.moved(to)) if to.startswith("/") else self.here / to
        for source in sources:
            path = self.built[stage] / source.lstrip("/") if stage else self.context / source
            if path.is_dir():
                shutil.copytree(path, target, symlinks=True)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)

    def moved(self, text: str) -> str:
        return MOVED.sub(str(self.image), text)


def _ways_to_packages() -> dict[str, str]:
    """How this machine reaches packages: an image build is told that from outside, too."""
    named = ("PIP_CERT", "PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT", "SSL_CERT_FILE", "HOME")
    return {name: os.environ[name] for name in named if name in os.environ}


def start(run: DryRun, image: dockerfile.Stage, database: str) -> None:
    """The container's life: refused without a database, the schema, a server that becomes healthy, its end."""
    entrypoint, command = image.last("ENTRYPOINT").words, image.last("CMD").words
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = run.environment | {"AGENT_MESSAGING_ALLOWED_HOSTS": "localhost", "AGENT_MESSAGING_PORT": port}

    def execute(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd="/", env=own | settings, capture_output=True, text=True, timeout=60, check=False
        )

    refused = execute(*entrypoint, "migrate")
    _expect(refused.returncode == 1 and "DATABASE_URL" in refused.stderr, "without a database it names DATABASE_URL")
    migrated = execute(*entrypoint, "migrate", DATABASE_URL=database)
    _expect(migrated.returncode == 0, f"migrate: {migrated.stdout.strip() or migrated.stderr}")

    health = image.last("HEALTHCHECK").arguments.removeprefix("CMD ")
    check = dockerfile.Instruction(0, "CMD", health).words
    _expect(execute(*check).returncode != 0, "while no server runs, the health check fails")
    # The last --host counts: a dry run opens no port to other machines.
    server = subprocess.Popen(
        [*entrypoint, *command, "--host", "127.0.0.1"],
        cwd="/",
        env=own | {"DATABASE_URL": database, "AUTO_MIGRATE": "false"},
    )
    try:
        until = time.monotonic() + STARTS_WITHIN
        while execute(*check).returncode and server.poll() is None and time.monotonic() < until:
            pass  # the check itself takes its time
        _expect(execute(*check).returncode == 0, f"healthy: {' '.join([*entrypoint, *command])}, but on loopback")
        server.send_signal(signal.Signals[image.last("STOPSIGNAL").value])
        _expect(server.wait(STOPS_WITHIN) == 0, "SIGTERM ends it in less than 10 s, with exit code 0")
    finally:
        server.kill()
        server.wait()


def _expect(holds: bool, words: str) -> None:
    print("ok      " if holds else "FAILED  ", words, flush=True)
    if not holds:
        sys.exit(1)


def main() -> None:
    stages = dockerfile.read((ROOT / "Dockerfile").read_text("utf-8"))
    with tempfile.TemporaryDirectory(prefix="agent-messaging-image-") as directory:
        run = DryRun(Path(directory))
        run.build(stages)
        size = sum(path.lstat().st_size for path in run.image.rglob("*") if path.is_file() and not path.is_symlink())
        print(f"         {size / 1e6:.0f} MB beside the base image")
        data = Path(directory, "data")
        share = asyncio.run(embedded.ensure(data, linger=0))
        try:
            start(run, stages[-1], share.dsn)
        finally:
            share.release()
            embedded.stop(data)


if __name__ == "__main__":
    main()
