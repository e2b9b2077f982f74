"""The trial of a planted bug: the copy, the bug, up to three runs, and the verdict."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.mutants import verdicts
from tools.mutants.mutant import CannotBePlanted, Mutant
from tools.mutants.running import Runner
from tools.mutants.trees import Copy, another
from tools.mutants.verdicts import Verdict

RUNS = 3
TESTS_IN_A_RUN = 15
"""On the code as it is, where none should fail: so few that each run is over in the time that one may take."""
FAILED = 1
"""What a command exits with that found a promise broken; anything else is a command that did not work."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one bug. `missed`: what should have caught it and did not; `why` it is broken."""

    mutant: Mutant
    verdict: Verdict
    runs: int
    seconds: float
    missed: tuple[str, ...] = ()
    why: tuple[str, ...] = ()


def sound(runner: Runner, copy: Copy, mutants: Sequence[Mutant], *, at_once: int) -> list[str]:
    """Run everything that is to catch a bug on the code as it is; gives what does not pass, a sentence each."""
    tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    commands = tuple(dict.fromkeys(command for mutant in mutants for command in mutant.commands))
    found: list[str] = []
    with ThreadPoolExecutor(at_once) as threads:
        try:
            for wrong in threads.map(lambda part: _sound(runner, copy, *part), enumerate(_parts(tests))):
                found += wrong
        except BaseException:
            runner.end()
            raise
    for command in commands:
        code, _ = runner.command(copy, command)
        if code != 0:
            found.append(f"{command} exits with {code}")
    return found


def _sound(runner: Runner, copy: Copy, number: int, tests: tuple[str, ...]) -> list[str]:
    reports = runner.tests(copy, tests, attempt=number)
    foreign = [f"{name} is not imported from the copy" for name in reports.foreign(copy.tree)]
    return foreign + verdicts.failures(reports, tests)


def _parts(tests: tuple[str, ...]) -> list[tuple[str, ...]]:
    in_order = tuple(sorted(tests))
    return [in_order[first : first + TESTS_IN_A_RUN] for first in range(0, len(in_order), TESTS_IN_A_RUN)]


def tried(runner: Runner, original: Copy, mutant: Mutant, directory: Path, *, keep: bool) -> Outcome:
    """Plant the bug in a copy of its own, and run what must catch it until it has, three times at most."""
    began = time.monotonic()
    copy = another(original, directory)
    missed, why, run = set(mutant.caught_by), list[str](), 0
    try:
        mutant.plant(copy.tree)
        while missed and not why and run < RUNS:
            run += 1
            why = _run(runner, copy, mutant, missed, attempt=run)
    except CannotBePlanted as error:
        why = [str(error)]
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    verdict = Verdict.BROKEN if why else Verdict.SURVIVED if missed else Verdict.CAUGHT
    in_order = tuple(catcher for catcher in mutant.caught_by if catcher in missed)
    return Outcome(mutant, verdict, run, time.monotonic() - began, in_order, tuple(why))


def _run(runner: Runner, copy: Copy, mutant: Mutant, missed: set[str], *, attempt: int) -> list[str]:
    """Run what has not caught it yet and take out of `missed` what does; says why it proves nothing, if so."""
    if tests := tuple(test for test in mutant.tests if test in missed):
        reports = runner.tests(copy, tests, attempt=attempt)
        why = [f"{name} was not imported from the copy" for name in reports.foreign(copy.tree)]
        if why := [*why, *verdicts.shortcomings(reports, tests)]:
            return why
        missed -= verdicts.caught(reports, tests)
    for command in mutant.commands:
        if command in missed:
            code, said = runner.command(copy, command)
            if (nonsense := verdicts.nonsense_in(said)) or code not in (0, FAILED):
                return [f"{command} exits with {code}: {nonsense}"]
            if code == FAILED:
                missed.discard(command)
    return []
