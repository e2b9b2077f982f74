"""The server on the network: one ASGI app with Streamable HTTP, SSE and the pages of its operator."""
