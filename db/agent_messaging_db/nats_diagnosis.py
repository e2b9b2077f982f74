"""Trying the NATS servers of WAKEUPS_URL: publish as a process publishes, and see when it is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from nats.aio.client import Client

from agent_messaging_db.nats_wakeups import address_of, subject_of

PATIENCE = 5.0


class NotReached(Exception):
    """No server let us in; says what kind of error it was, never its words, which may quote the address."""


async def delays(urls: str, *, rounds: Sequence[float], times: int, within: float) -> list[float | None]:
    """How long each wake-up took in seconds, None for one that did not arrive `within` so many; before each round of
    `times` of them, a silence.

    Raises NotReached.
    """
    client, heard = Client(), asyncio.Event()
    clock = asyncio.get_running_loop().time

    async def take(_: Any) -> None:
        heard.set()

    async def quiet(_: Exception) -> None:
        return

    address = address_of(urls)
    found: list[float | None] = []
    # An installation that there is not: no process hears this.
    subject = subject_of(uuid4())
    try:
        async with asyncio.timeout(PATIENCE):
            await client.connect(
                list(address.servers),
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                error_cb=quiet,
                **address.options,  # pyright: ignore[reportArgumentType]
            )
            await client.subscribe(subject, cb=take)  # pyright: ignore[reportUnknownMemberType]
            await client.flush()
        for silence in rounds:
            await asyncio.sleep(silence)
            for _ in range(times):
                heard.clear()
                began = clock()
                await client.publish(subject, b"")
                try:
                    async with asyncio.timeout(within):
                        await heard.wait()
                except TimeoutError:
                    found.append(None)
                    break  # the others of the round would only take as long
                found.append(clock() - began)
    except Exception as error:
        raise NotReached(type(error).__name__) from None
    finally:
        with suppress(Exception):
            async with asyncio.timeout(1):
                await client.close()
    return found
