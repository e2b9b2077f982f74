"""What a load balancer and an operator ask: is the process alive, can it serve, what has it done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agent_messaging_mcp.calls import Desk
from agent_messaging_mcp.http.exchanges import Exchanges
from agent_messaging_mcp.metrics import Reading

_PATIENCE_SECONDS = 3.0

logger = logging.getLogger(__name__)


def routes(desk: Desk, exchanges: Exchanges, *, is_stopping: Callable[[], bool]) -> list[Route]:
    """`/healthz`, `/readyz` and `/metrics`. They need no token, and tell nothing that one would protect."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_: Request) -> Response:
        if is_stopping():
            return JSONResponse({"ready": False, "why": "stopping"}, 503)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                health = await (await desk.service.messaging()).health()
        except Exception:
            # Whatever it is, the log says it; here it is enough that nothing can be served.
            return JSONResponse({"ready": False, "database": "away"}, 503)
        found = {"database": health.database, "schema": health.schema, "wakeups": health.wakeups}
        return JSONResponse({"ready": health.is_ready, **found}, 200 if health.is_ready else 503)

    async def metrics(_: Request) -> Response:
        from agent_messaging_mcp import metrics_page

        page, content_type = metrics_page.render(await _reading(desk, exchanges))
        return Response(page, headers={"content-type": content_type})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


async def _reading(desk: Desk, exchanges: Exchanges) -> Reading:
    depths = snapshot = None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            messaging = await desk.service.messaging()
            depths = await messaging.measures.depths()
        snapshot = messaging.measures.snapshot()
    except Exception as away:
        logger.info("the numbers of the database could not be had (%s)", type(away).__name__)
    return Reading(
        numbers=desk.numbers,
        snapshot=snapshot,
        depths=depths,
        held_waits=desk.waits.open.total,
        requests=exchanges.in_progress,
        streams=exchanges.streams,
    )
