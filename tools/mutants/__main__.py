"""`make mutants`: plants each bug of `planted/` in a copy of the tree and sees that what must catch it does.

First everything that is to catch one must pass without a bug. Prints what caught what; exits with 1 if a bug survives,
or if the code with it does not run. `--seed` repeats a run: it is the seed of hypothesis and of hashes.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from agent_messaging_db import embedded
from tools.figures import record
from tools.mutants.mutant import Mutant
from tools.mutants.planted import ALL
from tools.mutants.report import line, listing, summary
from tools.mutants.running import Runner
from tools.mutants.trees import Copy, copy_of_working_tree
from tools.mutants.trial import Outcome, sound, tried
from tools.mutants.verdicts import Verdict

SECONDS = 300.0
"""Of one run of tests, or of one command."""
PATIENCE = 45.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; gives the exit code."""
    given = _arguments(arguments)
    try:
        mutants = _chosen(given.only or [], given.promise or [])
    except ValueError as unknown:
        print(unknown, file=sys.stderr)
        return 2
    if given.list:
        print(listing(mutants))
        return 0
    seed = random.randrange(2**31) if given.seed is None else given.seed  # noqa: S311 - to be repeated, not secret
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    outcomes = _all_tried(mutants, seed=seed, patience=given.patience, at_once=given.at_once, keep=given.keep)
    if outcomes is None:
        return 1
    print(summary(outcomes, time.monotonic() - began), flush=True)
    broken = sum(outcome.verdict is not Verdict.CAUGHT for outcome in outcomes)
    if mutants == list(ALL):
        record("R12", "bugs planted one at a time, each to be caught", tried=len(outcomes), broken=broken)
    return 1 if broken else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these bugs alone")
    parser.add_argument("--promise", nargs="+", metavar="R5", help="the bugs that break these promises alone")
    parser.add_argument("--list", action="store_true", help="name the bugs and plant none")
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds that a test may take, bug or no bug")
    parser.add_argument("--at-once", type=int, default=2, choices=(1, 2), help="how many at a time")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave copies and what pytest said here")
    return parser.parse_args(arguments)


def _chosen(names: Sequence[str], promises: Sequence[str]) -> list[Mutant]:
    if unknown := {*names} - {mutant.name for mutant in ALL}:
        raise ValueError(f"there is no bug {', '.join(sorted(unknown))}; --list names them")
    if unknown := {*promises} - {mutant.promise for mutant in ALL}:
        raise ValueError(f"no bug breaks {', '.join(sorted(unknown))}")
    return [
        mutant for mutant in ALL if (not names or mutant.name in names) and (not promises or mutant.promise in promises)
    ]


def _all_tried(
    mutants: Sequence[Mutant], *, seed: int, patience: float, at_once: int, keep: Path | None
) -> list[Outcome] | None:
    """Try each; None if the tests do not pass without a bug."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left behind after it, either
    with _workshop(keep) as workshop, _server(workshop / "server") as dsn:
        runner = Runner(dsn, seed, patience, SECONDS)
        original = copy_of_working_tree(workshop / "unplanted")
        try:
            if wrong := sound(runner, original, mutants, at_once=at_once):
                print("Without any bug, this does not pass:", *wrong, sep="\n", file=sys.stderr)
                return None
            print("Everything that is to catch a bug passes without one.", flush=True)
            return _tried(runner, original, mutants, workshop, at_once=at_once, keep=keep is not None)
        except BaseException:
            runner.end()
            raise


def _tried(
    runner: Runner, original: Copy, mutants: Sequence[Mutant], workshop: Path, *, at_once: int, keep: bool
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(at_once) as threads:
        begun = [
            threads.submit(tried, runner, original, mutant, workshop / mutant.name, keep=keep) for mutant in mutants
        ]
        try:
            for done in as_completed(begun):
                outcomes.append(done.result())
                print(line(outcomes[-1]), flush=True)
        except BaseException:
            runner.end()
            threads.shutdown(cancel_futures=True)
            raise
    return outcomes


@contextmanager
def _workshop(keep: Path | None) -> Generator[Path]:
    """A directory for the copies, which is removed afterwards unless it was named."""
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    directory = Path(tempfile.mkdtemp(prefix="agent-messaging-mutants-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _server(directory: Path) -> Generator[str]:
    """A PostgreSQL on which every run makes its databases: starting one for each would take longer than the tests."""
    held = asyncio.run(embedded.ensure(directory, linger=0))
    try:
        asyncio.run(_without_sync(held.dsn))
        yield held.dsn
    finally:
        held.release()
        embedded.stop(directory)
        shutil.rmtree(directory, ignore_errors=True)


async def _without_sync(dsn: str) -> None:
    # Only a crash of the machine needs it.
    connection = await asyncpg.connect(dsn, timeout=20)
    try:
        await connection.execute("ALTER SYSTEM SET fsync = off")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(main())
