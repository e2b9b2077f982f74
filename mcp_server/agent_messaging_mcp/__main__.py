"""`python -m agent_messaging_mcp` is the command `agent-messaging`."""

from __future__ import annotations

from agent_messaging_mcp.cli import main

if __name__ == "__main__":
    main(prog_name="agent-messaging")
