"""What can go wrong with the database itself; a refusal of the protocol is never one of these."""

from __future__ import annotations


class DatabaseUnavailable(Exception):
    """The database cannot be reached or did not answer in time; a write may or may not have taken effect."""


class AddressError(DatabaseUnavailable):
    """The database cannot be reached by the address that is configured, as it is written."""


class Conflict(Exception):
    """Somebody else changed the row first; read it again and decide again."""


class SchemaError(Exception):
    """The tables in the database and this code do not belong together."""


class SchemaOutOfDateError(SchemaError):
    """The database lacks migrations of this code, and this process may not apply them."""


class SchemaTooNewError(SchemaError):
    """The database has a migration that this code does not know: newer code has been here."""


class MigrationChangedError(SchemaError):
    """A migration was applied to the database with another content or place than it has in this code."""


class ForeignSchemaError(SchemaError):
    """The database has a table `schema_migrations` that belongs to another program."""
