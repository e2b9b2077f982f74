"""The command line: one module a group of commands. Nothing that a command does not need is imported for it:
hosts wait for the handshake.
"""

from __future__ import annotations

from agent_messaging_mcp.cli.database import db, migrate
from agent_messaging_mcp.cli.main import main

main.add_command(migrate)
main.add_command(db)

__all__ = ["main"]
