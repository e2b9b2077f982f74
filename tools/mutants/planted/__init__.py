"""The bugs, by what they are bugs of."""

from __future__ import annotations

from tools.mutants.mutant import Mutant
from tools.mutants.planted import (
    cancelling,
    clocks,
    content,
    conversations,
    etiquette,
    handlers,
    http,
    interleavings,
    keys,
    limits,
    meetings,
    rendering,
    retention,
    secrets,
    stopping,
    tokens,
    turns,
    wakeups,
    walls,
)

ALL: tuple[Mutant, ...] = (
    *conversations.MUTANTS,
    *keys.MUTANTS,
    *cancelling.MUTANTS,
    *turns.MUTANTS,
    *interleavings.MUTANTS,
    *wakeups.MUTANTS,
    *meetings.MUTANTS,
    *clocks.MUTANTS,
    *content.MUTANTS,
    *stopping.MUTANTS,
    *handlers.MUTANTS,
    *walls.MUTANTS,
    *tokens.MUTANTS,
    *http.MUTANTS,
    *rendering.MUTANTS,
    *limits.MUTANTS,
    *etiquette.MUTANTS,
    *secrets.MUTANTS,
    *retention.MUTANTS,
)
