"""The one error of the embedded database."""


class EmbeddedDatabaseError(Exception):
    """The embedded database could not be started, joined, stopped or backed up.

    The message says what was attempted, what was found, and what to do about it.
    """
