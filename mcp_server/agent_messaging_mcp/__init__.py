"""The protocol over MCP: tools, resources and prompts for LLM agents; no rule and no SQL."""
