"""The server that the bundle starts; its settings come from the environment that the manifest describes."""

from agent_messaging_mcp.cli import main

main(prog_name="agent-messaging")
