"""The official conformance suite of the protocol, run against this server with what the suite expects to find on it."""
