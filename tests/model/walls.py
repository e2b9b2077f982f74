"""Two organizations that write secrets of their own all the time, and the account of who may know which.

Every text that an agent writes holds a secret that is written nowhere else. Who may see it follows from what was
allowed when it was written; whatever else shows it is a leak. Agents are named so that their names are found as well.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ORGANIZATIONS = {"aurora": ("aurora-ann", "aurora-abe", "aurora-ada"), "borealis": ("borealis-bob", "borealis-bea")}
AGENTS = tuple(agent for agents in ORGANIZATIONS.values() for agent in agents)
NOBODY = "cumulus-cyd"

_SECRET = re.compile(r"(?:aurora|borealis)-s\d+x")
_NAME = re.compile("|".join(AGENTS))


def organization_of(agent: str) -> str:
    return agent.partition("-")[0]


@dataclass(slots=True)
class Meeting:
    """A meeting as the database has it."""

    handle: str
    id: str
    members: frozenset[str]
    turn: int
    holder: str | None
    host: str


@dataclass(slots=True)
class Question:
    handle: str
    id: str
    asker: str
    answerer: str


@dataclass(slots=True)
class Account:
    """Who may know what. `open`: each organization lets the other reach its agents."""

    open: bool = False
    secrets: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    met: set[frozenset[str]] = field(default_factory=set[frozenset[str]])
    counts: Counter[str] = field(default_factory=Counter[str])

    def may_reach(self, agent: str, other: str) -> bool:
        return other in AGENTS and (self.open or organization_of(agent) == organization_of(other))

    def secret(self, author: str, viewers: Iterable[str]) -> str:
        """A new one, that its author and these may see from now on."""
        secret = f"{organization_of(author)}-s{len(self.secrets)}x"
        self.secrets[secret] = frozenset((author, *viewers))
        return secret

    def meet(self, agents: Iterable[str]) -> None:
        """They are named to each other from now on, in what they said together."""
        agents = list(agents)
        self.met |= {frozenset((one, other)) for one in agents for other in agents}

    def leaks(self, agent: str, said: Mapping[str, Any] | str, shown: Any, *, lists: bool) -> list[str]:
        """What is in the output of a call that the agent must not know. `said` is what it wrote in the call itself.

        `lists`: the output is a list of whom the agent can reach, in which nobody is for old times' sake.
        """
        text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, default=str)
        written = json.dumps(said, ensure_ascii=False)
        found: list[str] = []
        for secret in set(_SECRET.findall(text)) - set(_SECRET.findall(written)):
            if agent not in self.secrets[secret]:
                found.append(secret)
            elif organization_of(secret) != organization_of(agent):
                self.counts["foreign secrets shown rightly"] += 1
            else:
                self.counts["own secrets shown"] += 1
        for name in set(_NAME.findall(text)) - set(_NAME.findall(written)):
            known = self.may_reach(agent, name) or (not lists and frozenset((agent, name)) in self.met)
            if not known:
                found.append(name)
        foreign = next(name for name in ORGANIZATIONS if name != organization_of(agent))
        bare = _NAME.sub("", _SECRET.sub("", text))
        for own in _texts(said):
            bare = bare.replace(own, "")
        if foreign in bare and not self.open:
            found.append(foreign)
        return found


def _texts(value: Any) -> list[str]:
    """Every text in a value, longest first, so that none is cut into pieces by another."""
    match value:
        case str():
            return [value] if value else []
        case Mapping():
            found = [text for item in value.values() for text in _texts(item)]
        case list() | tuple():
            found = [text for item in value for text in _texts(item)]
        case _:
            found = []
    return sorted(found, key=len, reverse=True)
