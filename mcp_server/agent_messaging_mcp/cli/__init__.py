"""The command line: one module a group of commands. Nothing that a command does not need is imported for it:
hosts wait for the handshake.
"""

from __future__ import annotations

from agent_messaging_mcp.cli.agents import agent
from agent_messaging_mcp.cli.database import db, migrate
from agent_messaging_mcp.cli.doctor import doctor
from agent_messaging_mcp.cli.hook import hook
from agent_messaging_mcp.cli.main import main
from agent_messaging_mcp.cli.organizations import organization
from agent_messaging_mcp.cli.retention import prune
from agent_messaging_mcp.cli.serve import serve
from agent_messaging_mcp.cli.silences import silence, unsilence
from agent_messaging_mcp.cli.tokens import token
from agent_messaging_mcp.cli.watch import watch

main.add_command(migrate)
main.add_command(db)
main.add_command(serve)
main.add_command(organization)
main.add_command(agent)
main.add_command(token)
main.add_command(silence)
main.add_command(unsilence)
main.add_command(doctor)
main.add_command(watch)
main.add_command(hook)
main.add_command(prune)

__all__ = ["main"]
