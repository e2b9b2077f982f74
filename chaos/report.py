"""What a run came to, for people: seed, faults that were fired, what was checked, the verdict, and how to replay it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from chaos.kinds import Kind
from chaos.processes import DRAIN_SECONDS, Drain
from chaos.verdict import Verdict
from tools.figures import record

REACH_IN_A_MINUTE = 2_000
LEAST_IN_A_MINUTE = 500
"""Operations: what is promised on a machine with nothing else to do, and what a loaded one has to come to for a run to
count at all.
"""


@dataclass
class Report:
    """One run of `make chaos`."""

    seed: int
    seconds: float
    fired: Counter[Kind]
    drains: list[Drain]
    verdict: Verdict
    replay: str
    kept: str
    kinds: tuple[Kind, ...] = field(default_factory=lambda: tuple(Kind))

    @property
    def operations(self) -> int:
        return self.verdict.checked.total()

    @property
    def reach(self) -> int:
        return round(REACH_IN_A_MINUTE * min(self.seconds, 60) / 60)

    @property
    def failures(self) -> list[str]:
        """Why the run fails; a run that proves nothing fails as well."""
        found = [f"never fired: {kind}" for kind in self.kinds if not self.fired[kind]]
        least = round(LEAST_IN_A_MINUTE * min(self.seconds, 60) / 60)
        if self.operations < least:
            found.append(f"too few operations to prove anything: {self.operations}, at least {least}")
        if Kind.STOP_HOLDER in self.kinds and not self.verdict.stale:
            found.append("no speech came after its turn")
        if not self.verdict.meetings or not self.verdict.messages:
            found.append("nothing was said")
        found += [
            f"a server took {drain.own:.1f} s to end after SIGTERM, {drain.starved:.1f} s without a processor besides"
            for drain in self.drains
            if drain.own >= DRAIN_SECONDS
        ]
        return found + [str(violation) for violation in self.verdict.violations]

    def text(self) -> str:
        """All of it, in lines."""
        verdict = self.verdict
        lines = [f"seed {self.seed}, {self.seconds:g} s under fire", "", "faults fired"]
        lines += [f"  {self.fired[kind]:6}  {kind}" for kind in self.kinds]
        lines += ["", "operations checked"]
        lines += [f"  {number:6}  {call}" for call, number in verdict.checked.most_common()]
        reached = "reached" if self.operations >= self.reach else "not reached"
        lines += [f"  {self.operations:6}  in all; the reach is {self.reach}: {reached}"]
        lines += [
            "",
            f"  {verdict.messages:6}  messages read back by both sides, {verdict.meetings} meetings by every member",
            f"  {verdict.unknown:6}  operations whose outcome nobody ever learnt: each at most once",
            f"  {verdict.stale:6}  speeches that came after their turn: refused, every one",
            f"  {verdict.again:6}  answers in the inbox once more, as something was killed when they were given",
        ]
        if self.drains:
            longest = max(self.drains, key=lambda drain: drain.own)
            lines.append(
                f"  {longest.own:6.2f}  s at most from SIGTERM to the end of a server, {len(self.drains)} times"
                f" ({longest.starved:.2f} s without a processor besides)"
            )
        failures = self.failures
        lines += ["", "nothing was lost, doubled, mistaken or left waiting" if not failures else "BROKEN"]
        lines += [f"  {failure}" for failure in failures[:40]]
        if len(failures) > 40:
            lines.append(f"  and {len(failures) - 40} more")
        if failures:
            lines.append(f"histories: {self.kept}")
        return "\n".join([*lines, f"again: {self.replay}"])

    def record(self) -> None:
        """Its figures, for docs/promises.md."""
        under_fire = f"operations under all {len(self.kinds)} kinds of fault"
        record(
            "R1",
            under_fire,
            tried=self.operations,
            broken=len(self.failures),
            duration=f"{self.seconds:g} s",
            seed=self.seed,
        )
        record(
            "R11",
            "servers that were asked to end under fire",
            tried=len(self.drains),
            broken=sum(drain.own >= DRAIN_SECONDS for drain in self.drains),
            longest=f"{max((drain.own for drain in self.drains), default=0.0):.2f} s",
        )
