"""Wake-ups over NATS, for installations that have outgrown NOTIFY; the package `nats-py` is imported here alone.

One subject for each installation, made of its random id alone: nothing that anybody chose is part of a subject. What it
carries is what NOTIFY would: topics, which are ids. Who else may publish on the server is for its accounts to say; what
is not a topic is ignored, and a topic that was made up wakes somebody for a look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Coroutine, Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import SlowConsumerError

from agent_messaging_db import sync_points
from agent_messaging_db.carrier import SILENCE, CannotSend, Carrier
from agent_messaging_db.sync_points import SyncPoint

CONNECT = 5.0  # seconds for connecting, once round all servers
_NEVER = 86_400  # seconds until which the client itself gives up a call: its connection is gone long before
MAX_HEARD = 65_536  # bytes: more than any payload of ours

_PAYLOAD = re.compile(r"[0-9a-f]{32}:(?:[a-z][0-9a-f]{32}(?:,[a-z][0-9a-f]{32})*)?")

logger = logging.getLogger("agent_messaging.wakeups")


def subject_of(installation: UUID) -> str:
    """Where the processes of one installation hear each other."""
    return f"agent_messaging.{installation.hex}.wakeups"


@dataclass(frozen=True, slots=True)
class Address:
    """What WAKEUPS_URL says. `servers` are without the credentials, so that no error or log can quote them."""

    servers: Sequence[str]
    options: dict[str, str] = field(repr=False)


def address_of(urls: str) -> Address:
    """Read the address of a server, or of several of one cluster, separated by commas.

    What comes before the @ are a user and a password, or a token alone; those of the first server that has any are
    used for all of them.
    """
    servers: list[str] = []
    options: dict[str, str] = {}
    for url in map(str.strip, urls.split(",")):
        parts = urlsplit(url)
        servers.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        if options or parts.username is None:
            continue
        if parts.password is None:
            options = {"token": unquote(parts.username)}
        else:
            options = {"user": unquote(parts.username), "password": unquote(parts.password)}
    return Address(servers, options)


class NatsWakeups(Carrier):
    """A subject of a NATS server or cluster.

    Without the server, processes find by their sweeps what it would have told them. All of them miss it together, so
    that none is less fit to serve than another.
    """

    is_needed = False
    deaf = (
        "wake-ups do not come back from the NATS server (may this account publish and subscribe to "
        "agent_messaging.>?): waits are slower by up to a second."
    )

    def __init__(self, urls: str, *, installation: UUID, process: UUID) -> None:
        super().__init__(process=process)
        self._address = address_of(urls)
        self._subject = subject_of(installation)
        self._client: Client | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def _send(self, payloads: Iterable[str]) -> None:
        client = self._client
        if client is None or not client.is_connected:
            raise CannotSend("there is no connection to the NATS server")

        async def published() -> None:
            for payload in payloads:
                await client.publish(self._subject, payload.encode())
            # What was written to a connection that is breaking may be gone; the answer to this says that it is not.
            await client.flush(_NEVER)

        try:
            await self._to_its_end(published())
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the client's own, those of the socket, and time-outs: all mean the same
            raise CannotSend("the NATS server did not take them") from error

    async def _listen(self) -> None:
        client, lost = Client(), asyncio.Event()

        async def closed() -> None:
            lost.set()

        async def failed(error: Exception) -> None:
            if isinstance(error, SlowConsumerError):  # some were dropped on the way in
                self._reset()

        try:
            await self._connect(client, closed_cb=closed, disconnected_cb=closed, error_cb=failed)
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.LISTENER_CONNECTED)
            await client.subscribe(self._subject, cb=self._receive)  # pyright: ignore[reportUnknownMemberType]
            await self._to_its_end(client.flush(_NEVER))  # from here on the server knows that we listen
            if sync_points.hook is not None:
                await sync_points.hook(SyncPoint.LISTENER_LISTENS)
            self._client = client
            self._listening.set()
            self.counts.connections += 1
            self._on_their_way.clear()
            self._reset()
            await self._test()
            if self.hears and self.counts.connections > 1:
                self._tell(logging.INFO, "wake-ups arrive again")
            await self._until_lost(lost, lambda: self._to_its_end(client.flush(_NEVER)))
            raise ConnectionError("the NATS server closed the connection")
        finally:
            self._client = None
            for call in self._calls:
                call.cancel()
            # A frozen connection does not answer to a goodbye either.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(SILENCE / 2):
                    await client.close()

    async def _to_its_end(self, call: Coroutine[Any, Any, None]) -> None:
        """Await it for as long as a connection may be silent. Whatever becomes of us, it goes on: an answer that comes
        after its call was given up ends all reading of the client, silently.
        """
        calling = asyncio.create_task(call, name="agent-messaging call of NATS", context=Context())
        self._calls.add(calling)
        calling.add_done_callback(self._calls.discard)
        calling.add_done_callback(lambda done: done.cancelled() or done.exception())
        done, _ = await asyncio.wait({calling}, timeout=SILENCE)
        if not done:
            raise TimeoutError
        if calling.cancelled():
            raise ConnectionError("the connection is gone")
        calling.result()

    async def _connect(self, client: Client, **callbacks: Any) -> None:
        async with asyncio.timeout(CONNECT):
            # The loop of `Carrier` connects again, so that everybody looks again.
            await client.connect(
                list(self._address.servers),
                name="agent-messaging",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=int(SILENCE),
                **self._address.options,
                **callbacks,
            )

    async def _receive(self, message: Msg) -> None:
        if len(message.data) > MAX_HEARD:
            return
        payload = message.data.decode("ascii", errors="replace")
        if _PAYLOAD.fullmatch(payload) is not None:
            self._take(payload)
