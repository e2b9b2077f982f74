"""What agents do in meetings: call them, go to them, speak on their turns, and read back what was said."""

from __future__ import annotations

import asyncio
import json

from chaos.client import PATIENCE, Client
from chaos.hands import Floor, Hands, Signal
from chaos.history import REFUSED
from chaos.plan import Role

_NAMES = 0.2
"""How many speakers name who is to speak next."""


async def hosts(client: Client, hands: Hands, role: Role) -> None:
    """Call a meeting, hold it to its end, and call the next one."""
    agent = role.agent
    for meeting in _unfinished(client, agent):
        await holds(client, hands, role, meeting)
    while True:
        page, _ = await client.looked(hands, agent, 0.0)
        # What it called without learning so invites it too.
        if called := [item.handle for item in page.items if item.kind == "invitation"]:
            await holds(client, hands, role, called[0])
            if page.receipt:
                await client.acknowledged(hands, agent, page.receipt, [])
        elif client.is_draining:
            return
        else:
            op = client.new_op(agent)
            await client.tried(
                op,
                "create",
                agent,
                lambda op=op: hands.create(agent, [member for member in role.to if member != agent], op),
                result=lambda meeting: {"meeting": meeting},
            )
            await asyncio.sleep(0.05)


async def meets(client: Client, hands: Hands, role: Role) -> None:
    """Go to every meeting that one is invited to."""
    agent = role.agent
    for meeting in _unfinished(client, agent):
        await holds(client, hands, role, meeting)
    while True:
        page, _ = await client.looked(hands, agent)
        called = list(dict.fromkeys(item.handle for item in page.items))
        for meeting in called:
            await holds(client, hands, role, meeting)
        if page.receipt:
            await client.acknowledged(hands, agent, page.receipt, [])
        if client.is_finishing and not called:
            return


async def holds(client: Client, hands: Hands, role: Role, meeting: str) -> None:
    """Attend a meeting to its end, whatever becomes of the calls, and read its history."""
    agent = role.agent
    client.recorder.write("attends", agent=agent, meeting=meeting)
    signal = await _attend(client, hands, role, meeting)
    while signal is not None and signal.floor is not Floor.ENDED:
        match signal.floor:
            case Floor.YOURS:
                signal = await _speaks(client, hands, role, meeting, signal.turn)
            case Floor.READY if agent == role.to[0]:
                signal = await _starts(client, hands, role, meeting)
            case Floor.READY | Floor.WAITING:
                signal = await _attend(client, hands, role, meeting)
    if signal is None:  # it is no member: then there is nothing to read either
        return
    op = client.new_op(agent)
    _, entries = await client.settled(op, "history", agent, lambda: hands.history(agent, meeting))
    client.recorder.write("meeting", agent=agent, meeting=meeting, reason=signal.reason, entries=entries)


async def _attend(client: Client, hands: Hands, role: Role, meeting: str) -> Signal | None:
    agent = role.agent
    patience = 0.5 if agent == role.to[0] else PATIENCE  # the host looks soon whether all are there
    op = client.new_op(agent)
    _, signal = await client.settled(
        op, "attend", agent, lambda: hands.attend(agent, meeting, patience), patience=patience, meeting=meeting
    )
    return _told(client, agent, meeting, signal)


async def _starts(client: Client, hands: Hands, role: Role, meeting: str) -> Signal | None:
    agent = role.agent
    op = f"{agent}/{meeting}/1"
    text = json.dumps({"op": op})
    outcome, signal = await client.settled(
        op,
        "speak",
        agent,
        lambda: hands.start(agent, meeting, text, PATIENCE),
        patience=PATIENCE,
        meeting=meeting,
        turn=1,
        text=text,
    )
    if outcome == REFUSED:
        return await _attend(client, hands, role, meeting)
    return _told(client, agent, meeting, signal)


async def _speaks(client: Client, hands: Hands, role: Role, meeting: str, turn: int) -> Signal | None:
    agent, members = role.agent, role.to
    op = f"{agent}/{meeting}/{turn}"
    chance = client.chance_of(op)
    text = None if chance.random() < client.plan.terms.passes else json.dumps({"op": op})
    others = [member for member in members if member != agent]
    following = chance.choice(others) if chance.random() < _NAMES else None
    await asyncio.sleep(client.rng.uniform(0, client.plan.terms.thinks))
    outcome, signal = await client.settled(
        op,
        "speak",
        agent,
        lambda: hands.speak(agent, meeting, turn, text, following, PATIENCE),
        patience=PATIENCE,
        meeting=meeting,
        turn=turn,
        text=text,
    )
    if outcome == REFUSED:
        return await _attend(client, hands, role, meeting)
    return _told(client, agent, meeting, signal)


def _told(client: Client, agent: str, meeting: str, signal: Signal | None) -> Signal | None:
    if signal is not None:
        said = [[speaker, turn, json.loads(text)["op"]] for speaker, turn, text in signal.said]
        client.recorder.write(
            "signal",
            agent=agent,
            meeting=meeting,
            floor=signal.floor,
            turn=signal.turn,
            said=said,
            reason=signal.reason,
        )
    return signal


def _unfinished(client: Client, agent: str) -> list[str]:
    """The meetings that earlier lives went to, and of which they did not see the end."""
    begun: dict[str, None] = {}
    for line in client.recorder.before:
        if line.get("agent") == agent:
            match line["what"]:
                case "attends":
                    begun[line["meeting"]] = None
                case "meeting":
                    begun.pop(line["meeting"], None)
                case _:
                    pass
    return list(begun)
