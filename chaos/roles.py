"""What agents do, over and over: tell, ask, read and answer, handle, meet."""

from __future__ import annotations

import asyncio
import json
from typing import Any, assert_never

from chaos.client import PATIENCE, Client
from chaos.hands import HandlersHands, Hands, Item
from chaos.history import OK
from chaos.meeting_roles import hosts, meets
from chaos.plan import Does, Role

_CANCELLED, _ABANDONED, _KEYLESS = 0.07, 0.3, 0.4
"""How many sends are given up, how many of these for good, and how many have no key, so that none repeats them."""
_DECLINED, _FAILED = 0.04, 0.03
_AT_ONCE = 2
"""Questions that an asker has open."""


class HandlerGivesUp(Exception):
    """What a handler raises now and then, for the message to be delivered again."""


async def role_of(client: Client, hands: Hands, role: Role) -> None:
    """Play a role until there is no more to do."""
    match role.does:
        case Does.TELLS | Does.NOTIFIES:
            await tells(client, hands, role)
        case Does.ASKS:
            async with asyncio.TaskGroup() as asking:
                for place in range(_AT_ONCE):
                    asking.create_task(asks(client, hands, role, place))
        case Does.READS:
            await reads(client, hands, role)
        case Does.HANDLES:
            await handles(client, hands, role)
        case Does.HOSTS:
            await hosts(client, hands, role)
        case Does.MEETS:
            await meets(client, hands, role)
        case _:
            assert_never(role.does)


def words(op: str, **more: str) -> str:
    """What is sent: it names its operation, so that whoever gets it can say what it got."""
    return json.dumps({"op": op, **more}, separators=(",", ":"))


def meaning(text: str) -> dict[str, str]:
    """What was sent, read back."""
    return json.loads(text)


async def tells(client: Client, hands: Hands, role: Role) -> None:
    """Send one message after the other; some calls are given up, and some of those for good."""
    call = "notify" if role.does is Does.NOTIFIES else "send"

    async def send(op: str) -> None:
        key = "" if is_keyless(op) else op
        if call == "notify":
            await hands.notify(role.agent, role.to, words(op), key)
        else:
            await hands.send(role.agent, role.to[0], words(op), key)

    def is_keyless(op: str) -> bool:
        return client.chance_of(op).random() < _KEYLESS

    to: dict[str, Any] = {"to": list(role.to)}
    for line in client.unfinished(role.agent, call):
        if is_keyless(line["op"]):
            continue
        await client.settled(line["op"], call, role.agent, lambda op=line["op"]: send(op), **to)
    while not client.is_draining:
        op = client.new_op(role.agent)
        given_up = client.rng.random() < _CANCELLED
        after = client.rng.uniform(0, 0.02) if given_up else None
        outcome, _ = await client.tried(op, call, role.agent, lambda op=op: send(op), cancel_after=after, **to)
        if outcome == OK:
            pass
        elif is_keyless(op) or (given_up and client.rng.random() < _ABANDONED):
            client.recorder.write("abandoned", op=op)
        else:
            await client.settled(op, call, role.agent, lambda op=op: send(op), **to)
        await asyncio.sleep(client.rng.uniform(0, 0.15))


async def asks(client: Client, hands: Hands, role: Role, place: int) -> None:
    """Ask one question after the other, and wait for each answer however often the wait ends."""
    [to] = role.to
    if place == 0:
        for line in client.unfinished(role.agent, "ask"):
            await _asked(client, hands, role.agent, to, line["op"])
    while not client.is_draining:
        await _asked(client, hands, role.agent, to, client.new_op(role.agent))
        await asyncio.sleep(client.rng.uniform(0, 0.1))


async def _asked(client: Client, hands: Hands, agent: str, to: str, op: str) -> None:
    given_up = client.chance_of(op).random() < _CANCELLED
    after = client.rng.uniform(0, 0.05) if given_up else None
    while True:
        _, asked = await client.settled(
            op,
            "ask",
            agent,
            lambda: hands.ask(agent, to, words(op), op, PATIENCE),
            patience=PATIENCE,
            cancel_after=after,
            to=[to],
            result=lambda asked: {"state": asked.state, "text": asked.text},
        )
        after = None
        if asked is None:
            return
        if asked.state != "waiting":
            break
    if asked.receipt is not None:
        await client.acknowledged(hands, agent, asked.receipt, [meaning(asked.text)["op"]])


async def reads(client: Client, hands: Hands, role: Role) -> None:
    """Read the inbox, answer what is asked, and acknowledge what came."""
    agent = role.agent
    answered: set[str] = set()
    while True:
        nobody_writes = client.is_finishing
        page, looked = await client.looked(hands, agent)
        for item in page.items:
            if item.text:
                facts = {"kind": item.kind, "sender": item.sender, "looked": looked, "read": item.read}
                client.recorder.write("received", agent=agent, op=meaning(item.text)["op"], via="inbox", **facts)
            if item.kind == "question" and item.handle not in answered:
                await _answers(client, hands, agent, item)
                answered.add(item.handle)
        if page.receipt:
            new = [meaning(item.text)["op"] for item in page.items if item.text and not item.read]
            await client.acknowledged(hands, agent, page.receipt, new)
        elif nobody_writes:
            return


async def _answers(client: Client, hands: Hands, agent: str, item: Item) -> None:
    question = meaning(item.text)["op"]
    op = client.new_op(agent)
    decline = client.chance_of(question).random() < _DECLINED
    text = words(op, answers=question)
    await client.settled(
        op,
        "answer",
        agent,
        lambda: hands.answer(agent, item, text, op, decline=decline),
        to=[item.sender],
        question=question,
        declined=decline,
    )


async def handles(client: Client, hands: Hands, role: Role) -> None:
    """Answer questions by a handler, which declines some and fails on some."""
    assert isinstance(hands, HandlersHands)
    agent = role.agent

    async def handler(id: str, text: str, attempt: int, sender: str) -> str | None:
        question = meaning(text)["op"]
        facts = {"kind": "question", "sender": sender, "id": id, "attempt": attempt}
        client.recorder.write("received", agent=agent, op=question, via="handler", **facts)
        await asyncio.sleep(client.rng.uniform(0, 0.03))
        chance = client.chance_of(question)
        declines, fails = chance.random() < _DECLINED, chance.random() < _FAILED
        if fails and attempt == 1:
            raise HandlerGivesUp
        op = client.new_op(agent)
        answer = words(op, answers=question)
        if declines:
            item = Item("question", sender, text, id=id)
            await client.settled(
                op,
                "answer",
                agent,
                lambda: hands.answer(agent, item, answer, op, decline=True),
                to=[sender],
                question=question,
                declined=True,
            )
            return None
        client.recorder.write("answers", agent=agent, op=op, to=[sender], question=question)
        return answer

    hands.handle(agent, handler)
    while True:
        nobody_writes = client.is_finishing
        page, _ = await client.looked(hands, agent, 0.0)
        if nobody_writes and not page.receipt:
            return
        await asyncio.sleep(0.5)
