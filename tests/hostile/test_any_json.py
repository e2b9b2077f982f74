"""Any JSON in: the same JSON out, or a typed refusal, by whichever way it is said; and nobody else's message is held
up by it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from agent_messaging import AgentMessaging, HandlerFailedError, InvalidMessageError, MeetingTimeoutError, MessageContext
from tests.hostile.values import DELICATE, POISON, random_values, same, seed_of_run, why_not
from tests.promises import kept, tries
from tests.protocol.gathering import attends
from tests.protocol.world import opened

BATCH = 200
BOUND = 30


async def sent(sdk: AgentMessaging[Any], number: int, value: Any) -> str | None:
    """Send a value with its number beside it, one way or another; says why it was refused."""
    given: dict[str, Any] = {
        "metadata": {"number": number, "again": None if why_not([value]) or _is_large(value) else value}
    }
    try:
        if number % 3:
            await sdk.async_conversation.send("alice", "bob", value, **given)
        else:
            await sdk.one_way.send("alice", ["bob"], value, **given)
    except InvalidMessageError as refused:
        return str(refused)
    return None


def _is_large(value: Any) -> bool:
    return len(json.dumps(value)) > 50_000


async def through(sdk: AgentMessaging[Any], values: Sequence[Any]) -> list[str]:
    """Send all of them at once and read bob's inbox empty; says what is not as it should be."""
    wrong: list[str] = []
    refusals = await asyncio.gather(*(sent(sdk, number, value) for number, value in enumerate(values)))
    for value, refusal in zip(values, refusals, strict=True):
        if (refusal is None) != (why_not(value) is None):
            wrong.append(f"{value!r:.200}: {why_not(value)}, but {refusal}")
        elif refusal is not None and not 20 <= len(refusal) <= 1_000:
            wrong.append(f"{value!r:.200}: {refusal!r:.100}")
    await sdk.async_conversation.send("carol", "bob", "next")
    messages = await sdk.async_conversation.get_unread("bob")
    back = {message.metadata["number"]: message for message in messages if message.metadata}
    if sum(message.sender == "carol" for message in messages) != 1:
        wrong.append("the neighbour's message did not arrive")
    accepted = {number for number, refusal in enumerate(refusals) if refusal is None}
    if back.keys() != accepted or len(messages) != len(accepted) + 1:
        wrong.append(f"{len(messages)} came, of {len(accepted) + 1}")
    for number, message in back.items():
        again = (message.metadata or {})["again"]
        if not same(message.content, values[number]):
            wrong.append(f"{values[number]!r:.200} became {message.content!r:.200}")
        if again is not None and not same(again, values[number]):
            wrong.append(f"{values[number]!r:.200} became {again!r:.200} in metadata")
    await sdk.async_conversation.mark_read("bob", [message.id for message in messages])
    return wrong


@pytest.mark.requirement("content:round-trip")
@pytest.mark.requirement("content:refused")
@pytest.mark.timeout(3_600)
async def test_any_json_comes_back_as_it_was_or_is_refused(dsn: str) -> None:
    values = [*DELICATE.values(), *random_values(tries(300, 100_000), seed_of_run())]
    wrong: list[str] = []
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        await sdk.async_conversation.get_unread_messages("bob")  # bob reads its inbox: notices reach it
        for first in range(0, len(values), BATCH):
            async with asyncio.timeout(BOUND * 4):
                wrong += await through(sdk, values[first : first + BATCH])
    refused = sum(why_not(value) is not None for value in values)
    print("\n".join(wrong[:20]))
    assert 0 < refused < len(values) / 2
    kept("R10", "values through the library and the database", tried=len(values), broken=len(wrong), refused=refused)


@pytest.mark.requirement("content:round-trip")
@pytest.mark.timeout(3_600)
async def test_answers_and_speeches_come_back_as_they_were_or_are_refused(dsn: str) -> None:
    """An answer, a decline, a speech and an opening carry what a message carries."""
    # None is no answer of a handler, and in a meeting it passes.
    values = [value for value in [*DELICATE.values(), *random_values(tries(60, 6_000), seed_of_run())]
              if value is not None]  # fmt: skip
    wrong: list[str] = []
    async with opened(dsn, "alice", "bob", "carol", max_meeting_duration=86_400.0) as sdk:

        @sdk.register_handler("bob")
        async def echo(message: Any, _context: MessageContext) -> Any:
            return message

        for first in range(0, len(values), 8):
            some = values[first : first + 8]
            async with asyncio.timeout(BOUND * 2):
                answers = await asyncio.gather(
                    *(sdk.sync_conversation.send_and_wait("alice", "bob", value, BOUND) for value in some),
                    return_exceptions=True,
                )
            wrong += [
                f"{value!r:.200} was answered {answer!r:.200}"
                for value, answer in zip(some, answers, strict=True)
                if not (isinstance(answer, InvalidMessageError) if why_not(value) else same(answer, value))
            ]
        meeting = await sdk.meeting.create_meeting("alice", ["alice", "carol"], max_turns=2 * len(values) + 2)
        await attends(sdk, meeting, "carol")
        await sdk.meeting.start_meeting("alice", meeting, "welcome")
        taken: list[Any] = []
        for turn, value in enumerate(values, 2):
            speaker = "alice" if len(taken) % 2 else "carol"
            signal = await sdk.meeting.attend_meeting(speaker, meeting, BOUND)
            assert signal.reason == "your_turn", turn
            try:
                await sdk.meeting.speak(speaker, meeting, value, timeout=0, turn=signal.turn)
            except MeetingTimeoutError:
                taken.append(value)
            except InvalidMessageError:
                if not why_not(value):
                    wrong.append(f"{value!r:.200} could not be said")
        entries = await sdk.meeting.get_meeting_history(meeting)
    heard = [entry.content for entry in entries if entry.sender][1:]
    wrong += [f"{said!r:.200} was heard as {got!r:.200}" for said, got in zip(taken, heard, strict=True)
              if not same(said, got)]  # fmt: skip
    print("\n".join(wrong[:20]))
    kept("R10", "values as answers and speeches", tried=2 * len(values), broken=len(wrong))


@pytest.mark.requirement("content:refused")
async def test_no_poison_holds_up_a_neighbour(dsn: str) -> None:
    """Each is tried in every place where somebody may write, while bob's handler and a reader are at work."""
    tried, wrong = 0, list[str]()
    async with opened(dsn, "alice", "bob", "carol") as sdk, asyncio.timeout(50):
        got: asyncio.Queue[Any] = asyncio.Queue()

        @sdk.register_handler("bob")
        async def handle(message: Any, _context: MessageContext) -> None:
            got.put_nowait(message)

        meeting = await sdk.meeting.create_meeting("alice", ["alice", "carol"])
        await attends(sdk, meeting, "carol")
        for name, poison in POISON.items():
            calls = {
                "message": sdk.async_conversation.send("alice", "bob", poison),
                "notice": sdk.one_way.send("alice", ["bob", "carol"], poison),
                "question": sdk.sync_conversation.send_and_wait("alice", "bob", poison, 5),
                "metadata": sdk.async_conversation.send("alice", "bob", 1, metadata={"a": [poison]}),
                "key of an object": sdk.async_conversation.send("alice", "bob", {name: [1, {"b": poison}]}),
                "opening": sdk.meeting.start_meeting("alice", meeting, poison),
                "speech": sdk.meeting.speak("alice", meeting, poison, timeout=0, turn=1),
            }
            for place, call in calls.items():
                tried += 1
                try:
                    wrong.append(f"{name} as {place} gave {await call!r:.80}")
                except InvalidMessageError:
                    pass
                except Exception as failed:
                    wrong.append(f"{name} as {place}: {failed!r:.200}")
                await sdk.async_conversation.send("carol", "bob", f"after {name}")
                if await got.get() != f"after {name}":
                    wrong.append(f"{name} as {place} went to the handler")
    print("\n".join(wrong[:20]))
    kept("R10", "poison in every place, each followed by a neighbour's message", tried=tried, broken=len(wrong))


@pytest.mark.requirement("content:refused")
async def test_a_handler_that_answers_with_poison_harms_its_own_answer_alone(dsn: str) -> None:
    tried, wrong = 0, list[str]()
    options: dict[str, Any] = {"max_delivery_attempts": 1}
    async with opened(dsn, "alice", "bob", "carol", **options) as sdk, asyncio.timeout(50):

        @sdk.register_handler("bob")
        async def handle(message: Any, _context: MessageContext) -> Any:
            return POISON.get(message, "well")

        for name in POISON:
            tried += 1
            bad, good = await asyncio.gather(
                sdk.sync_conversation.send_and_wait("alice", "bob", name, 20),
                sdk.sync_conversation.send_and_wait("carol", "bob", "how are you?", 20),
                return_exceptions=True,
            )
            if not isinstance(bad, HandlerFailedError) or good != "well":
                wrong.append(f"{name}: {bad!r:.200}, {good!r:.200}")
    print("\n".join(wrong[:20]))
    kept("R10", "poison as an answer, beside a neighbour's question", tried=tried, broken=len(wrong))
