"""The kinds of fault, as the history of a run calls them."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Every kind of fault. The last one the clients do to themselves."""

    KILL_SERVER = "server killed"
    KILL_CLIENT = "client killed"
    STOP_HOLDER = "holder of the floor stopped past its turn"
    PAUSE_SERVER = "server paused"
    TERMINATE_SERVER = "server restarted by SIGTERM"
    KILL_LISTENER = "LISTEN connection killed"
    KILL_POOL = "pool connection killed"
    RESTART_POSTGRES = "PostgreSQL restarted (immediate)"
    FREEZE = "connection frozen"
    RESET = "connection reset"
    DELAY = "connection slow"
    CUT_BEFORE = "connection cut before COMMIT"
    CUT_AFTER = "connection cut after COMMIT"
    CANCEL = "call cancelled by its client"
