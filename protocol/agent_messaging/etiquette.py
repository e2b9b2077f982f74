"""Etiquette against loops: what a sender is told that has met one of its limits."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from agent_messaging.engine import HEARD, TOTAL, Engine
from agent_messaging.errors import AgentMessagingError, ExchangeBudgetError, HopLimitError, SilencedError
from agent_messaging.handling import next_hop
from agent_messaging.measures import Refused
from agent_messaging_db import silences
from agent_messaging_db.conversations import Sending, Verdict
from agent_messaging_db.rows import IdentityRow, MessageKind


async def refusal(engine: Engine[Any], sending: Sending, verdict: Verdict) -> AgentMessagingError | None:
    """Make the error of a sending that etiquette refuses; None for any other verdict."""
    match verdict.verdict:
        case "silenced":
            return await silenced(engine, sending.messages[0].sender_id)
        case "too_far":
            return too_far(engine, verdict.hop or 0)
        case "paused":
            return await _paused(engine, sending, verdict)
        case _:
            return None


async def silenced(engine: Engine[Any], agent: UUID) -> SilencedError:
    """Make the error of an agent that an operator has silenced."""
    name = (await engine.names.identity(agent)).external_id
    _, until = await engine.read(lambda connection: silences.silenced_until(connection, agent=agent))
    end = "until that is lifted" if until is None else f"until {until:%Y-%m-%d %H:%M:%S} UTC"
    return SilencedError(
        f"nothing was stored: an operator has silenced {name!r} {end}. It may read, attend meetings, pass its turn and "
        "leave; it cannot send, ask, answer or speak",
        until=until,
        seconds_left=None if until is None else await engine.seconds_until(until),
    )


def too_far(engine: Engine[Any], hop: int) -> HopLimitError:
    """Make the error of a message that too many others led to."""
    limit = engine.config.max_hops
    return HopLimitError(
        f"nothing was sent: {hop} messages, each sent because of the one before, led to this one, and at most {limit} "
        "may (max_hops), or agents would keep each other busy for ever. Do not pass it on; an open question may still "
        "be answered",
        hop=hop,
        limit=limit,
    )


async def hop_of(engine: Engine[Any], agent: IdentityRow) -> int:
    """Give the hop of what the agent begins here; raises HopLimitError if that is too many."""
    hop = next_hop.get()
    if hop is None:
        hop = await engine.read(lambda connection: silences.hop_of(connection, agent=agent.id, heard_seconds=HEARD))
    if engine.config.max_hops and hop > engine.config.max_hops:
        engine.counts.refusals[Refused.HOPS] += 1
        raise too_far(engine, hop)
    return hop


async def _paused(engine: Engine[Any], sending: Sending, verdict: Verdict) -> ExchangeBudgetError:
    assert verdict.until is not None and verdict.agent_id is not None  # noqa: S101, PT018 - of every such verdict
    config, until = engine.config, verdict.until
    other = (await engine.names.identity(verdict.agent_id)).external_id
    sender = (await engine.names.identity(sending.messages[0].sender_id)).external_id
    asked = any(message.kind is MessageKind.QUESTION for message in sending.messages)
    budget = config.exchange_budget or 0
    spent = f"{TOTAL * budget} messages of all kinds" if asked else f"{budget} messages since their last question"
    instead = "answers to open questions" if asked else "a new question, and answers to open ones,"
    return ExchangeBudgetError(
        f"nothing was sent: {sender!r} and {other!r} have exchanged {spent} within {config.exchange_window:g} s, as "
        f"many as they may; pause until {until:%Y-%m-%d %H:%M:%S} UTC. Before that, {instead} are taken",
        agent=other,
        paused_until=until,
        seconds_left=await engine.seconds_until(until),
        questions_too=asked,
    )
