"""What the errors of the driver mean to whoever runs a statement."""

from __future__ import annotations

import asyncpg

# Nothing was committed and the same call may succeed at once.
TRY_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
# The server or the way to it is gone, is starting or stopping, or has no room.
OUTAGE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver makes of a connection that ended at a bad moment
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # the database takes no connections
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or about to become one
    asyncpg.QueryCanceledError,
    asyncpg.PostgresSystemError,
    ConnectionError,
    OSError,
    TimeoutError,
)
CONFLICT = (asyncpg.UniqueViolationError, asyncpg.CheckViolationError, asyncpg.NotNullViolationError)
