"""Who there is: twelve pairs and two companies that meet, each agent with what it does and the process it lives in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Does(StrEnum):
    """What an agent does, over and over."""

    TELLS = "tells"  # sends messages to one agent
    NOTIFIES = "notifies"  # sends notices to several
    ASKS = "asks"  # asks one agent, and waits
    READS = "reads"  # reads its inbox, acknowledges, and answers what it is asked
    HANDLES = "handles"  # has a handler
    HOSTS = "hosts"  # calls a meeting as soon as it is in none
    MEETS = "meets"  # goes to every meeting that it is invited to


@dataclass(frozen=True, slots=True)
class Role:
    """One thing that one agent does in one process."""

    process: str
    via: str
    agent: str
    does: Does
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """How meetings are held. Durations are seconds; `thinks` is how long a speaker thinks at most, `passes` how many of
    its turns it passes.
    """

    turn_seconds: float = 2.0
    start_within: float = 8.0
    max_turns: int = 16
    thinks: float = 0.25
    passes: float = 0.06


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it."""

    seed: int
    roles: tuple[Role, ...]
    terms: Terms = Terms()

    @property
    def agents(self) -> list[str]:
        return sorted({role.agent for role in self.roles})

    @property
    def processes(self) -> list[str]:
        return sorted({role.process for role in self.roles})

    @property
    def hosts(self) -> list[str]:
        return [role.agent for role in self.roles if role.does is Does.HOSTS]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every two agents of which one writes to the other."""
        writing = (Does.TELLS, Does.NOTIFIES, Does.ASKS)
        found = {tuple(sorted((role.agent, to))) for role in self.roles if role.does in writing for to in role.to}
        return sorted((a, b) for a, b in found)

    def of(self, process: str) -> list[Role]:
        """The roles that are played in a process."""
        return [role for role in self.roles if role.process == process]

    def process_of(self, agent: str) -> str:
        """The process that an agent lives in; a handler may be in another one besides."""
        return next(role.process for role in self.roles if role.agent == agent)


WAYS = (("mcp", "mcp"), ("sdk", "sdk"), ("mcp", "sdk"), ("sdk", "mcp"))
"""How the first and the second of a pair are attached."""


def twelve_pairs_and_two_meetings(seed: int) -> Plan:
    """The plan of `make chaos`."""
    roles: list[Role] = []
    for number, (one, other) in enumerate(WAYS, 1):
        first, second = f"{one}-1", f"{other}-2"
        a, b, c = (f"notice{number}.{name}" for name in "abc")
        roles.append(Role(first, one, a, Does.NOTIFIES, (b, c)))
        roles += [Role(second, other, reader, Does.READS) for reader in (b, c)]

        a, b = f"question{number}.a", f"question{number}.b"
        roles += [Role(first, one, a, Does.ASKS, (b,)), Role(first, one, a, Does.READS)]
        if other == "sdk":  # in two processes: what one has claimed and not finished, the other one handles
            roles += [Role(process, other, b, Does.HANDLES) for process in ("sdk-2", "sdk-3")]
        else:
            roles.append(Role(second, other, b, Does.READS))

        a, b = f"talk{number}.a", f"talk{number}.b"
        roles += [Role(first, one, a, Does.TELLS, (b,)), Role(first, one, a, Does.READS)]
        roles += [Role(second, other, b, Does.TELLS, (a,)), Role(second, other, b, Does.READS)]
    for number, ways in enumerate((("mcp", "sdk", "mcp", "sdk"), ("sdk", "mcp", "sdk", "mcp")), 1):
        members = [f"meeting{number}.{name}" for name in "abcd"]
        places = (f"{ways[0]}-hall", f"{ways[1]}-hall", f"{ways[2]}-2", f"{ways[3]}-3" if ways[3] == "sdk" else "mcp-1")
        roles += [
            Role(place, way, member, Does.MEETS if place_number else Does.HOSTS, tuple(members))
            for place_number, (member, way, place) in enumerate(zip(members, ways, places, strict=True))
        ]
    return Plan(seed, tuple(roles))


def two_person_meetings(seed: int, *, ways: Sequence[str], each: int) -> Plan:
    """The plan of `python -m chaos stale`: for each way a process with so many members who may be stopped, each of them
    in a meeting of its own with somebody who never is.
    """
    roles: list[Role] = []
    for place, way in enumerate(ways, 1):
        for number in range(1, each + 1):
            members = (f"steady{place}.{number}", f"stopped{place}.{number}")
            roles.append(Role("steady", "sdk", members[0], Does.HOSTS, members))
            roles.append(Role(f"{way}-{place}", way, members[1], Does.MEETS, members))
    return Plan(seed, tuple(roles), Terms(turn_seconds=0.5, start_within=15, max_turns=60, thinks=0.15, passes=0))


def write(plan: Plan, path: Path) -> None:
    """Write it down for the processes."""
    path.write_text(json.dumps(asdict(plan)))


def read(path: Path) -> Plan:
    """Read it back."""
    data = json.loads(path.read_text())
    roles = tuple(Role(**role | {"does": Does(role["does"]), "to": tuple(role["to"])}) for role in data["roles"])
    return Plan(data["seed"], roles, Terms(**data["terms"]))
