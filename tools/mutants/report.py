"""What `make mutants` prints: a line as each bug has been tried, and the table at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tools.mutants.mutant import Mutant
from tools.mutants.trial import Outcome
from tools.mutants.verdicts import Verdict

_SIGNS = {Verdict.CAUGHT: "caught  ", Verdict.SURVIVED: "SURVIVED", Verdict.BROKEN: "BROKEN  "}


def by_promise(mutant: Mutant) -> tuple[int, str]:
    """R2 before R10, and by name within a promise."""
    return int(mutant.promise.removeprefix("R")), mutant.name


def line(outcome: Outcome) -> str:
    """One bug and what became of it."""
    head = f"{_SIGNS[outcome.verdict]} {outcome.mutant.promise:<3} {outcome.mutant.name}"
    return "\n         ".join([head, *(outcome.why or map(_short, outcome.missed))])


def listing(mutants: Sequence[Mutant]) -> str:
    """The bugs, with what each breaks."""
    return "\n".join(f"{m.promise:<3} {m.name}: {m.sentence} ({m.file})" for m in sorted(mutants, key=by_promise))


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The table: name, promise, what caught it, seconds; then what was not caught, in full."""
    in_order = sorted(outcomes, key=lambda outcome: by_promise(outcome.mutant))
    width = max((len(outcome.mutant.name) for outcome in outcomes), default=0)
    lines = ["", f"{'bug':<{width}}  promise  {'s':>5}  caught by"]
    for outcome in in_order:
        how = ", ".join(map(_short, outcome.mutant.caught_by))
        again = f" (run {outcome.runs})" if outcome.runs > 1 else ""
        verdict = how + again if outcome.verdict is Verdict.CAUGHT else outcome.verdict.upper()
        lines.append(f"{outcome.mutant.name:<{width}}  {outcome.mutant.promise:<7}  {outcome.seconds:5.1f}  {verdict}")
    for outcome in in_order:
        lines += _shortcomings(outcome)
    counted = Counter(outcome.verdict for outcome in outcomes)
    promises = len({outcome.mutant.promise for outcome in outcomes})
    lines.append(
        f"\n{len(outcomes)} bugs against {promises} promises: {counted[Verdict.CAUGHT]} caught, "
        f"{counted[Verdict.SURVIVED]} survived, {counted[Verdict.BROKEN]} broken, in {seconds:.0f} s"
    )
    return "\n".join(lines)


def _shortcomings(outcome: Outcome) -> list[str]:
    mutant = outcome.mutant
    match outcome.verdict:
        case Verdict.CAUGHT:
            return []
        case Verdict.SURVIVED:
            head = f"\n{mutant.name} survived: {mutant.sentence}\n  in {mutant.file}, {outcome.runs} runs; passed:"
            return [head, *(f"    {catcher}" for catcher in outcome.missed)]
        case Verdict.BROKEN:
            return [f"\n{mutant.name} does not work as a bug:", *(f"    {why}" for why in outcome.why)]


def _short(catcher: str) -> str:
    return catcher.rpartition("::")[2]
