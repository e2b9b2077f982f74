"""The rules of the protocol, as pure functions over rows: no I/O, no clock."""
