"""Named places at which a test can stop a call, so that a race happens when wanted and not one time in a thousand.

Nothing of the product sets `hook`, and no setting does: only code in the same process can, and only tests have such
code. While it is None, passing a point costs one comparison.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum


class SyncPoint(StrEnum):
    """Where a call can be stopped; the value says what has been done and what has not."""

    WAIT_SUBSCRIBED = "a wait has subscribed, and has not looked"
    WAIT_LOOKED = "a wait has looked, and acts on what it saw next"
    WAIT_TAKES = "a wait has found something, and takes it next"
    WAIT_TOOK = "a wait has taken something, and returns it next; here nothing is awaited, so nobody can cancel"
    WAIT_SLEEPS = "a wait has found nothing, and sleeps next"
    BATCH_GOES = "a batch was put together, and goes to the database next"
    BATCH_DONE = "a batch is committed, and its callers have not been told"
    TRY_BEGUN = "a try has its connection, and has done nothing"
    TRY_DONE = "a try is committed, and its caller has not been told"
    TRANSACTION_BEGUN = "a transaction has begun, and nothing was done in it"
    TRANSACTION_COMMITS = "a transaction has done everything, and commits next"
    TRANSACTION_COMMITTED = "a transaction is committed, and its caller has not been told"
    WAKEUPS_GO = "wake-ups were collected, and are published next"
    LISTENER_CONNECTED = "the listener has a connection, and does not listen"
    LISTENER_LISTENS = "the listener listens, and the waits have not been told to look again"
    DELIVERIES_CLAIMED = "deliveries were claimed, and no handler has begun"
    HANDLER_RETURNED = "a handler has returned, and neither its answer nor its end is written"
    HANDLER_ANSWERED = "a handler's answer is written, and its end is not"
    QUESTION_FOUND = "the question of a reply was found, and the answer is not written"
    MEETING_DECIDED = "a transition of a meeting was decided, and is not saved"
    DUE_FOUND = "meetings with a deadline behind them were found, and it is not applied"
    CLOSE_BEGUN = "closing has begun: no call is let in, and nothing has been ended"


hook: Callable[[SyncPoint], Awaitable[None]] | None = None
