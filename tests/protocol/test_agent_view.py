"""The view of one agent: it cannot act as another, and what it may not see does not exist for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from agent_messaging import (
    AgentMessaging,
    AgentMessagingError,
    AgentNotFoundError,
    AgentView,
    ConversationTimeoutError,
    HostCannotLeaveError,
    MeetingNotFoundError,
    MeetingTimeoutError,
    MessageNotFoundError,
    NotCurrentSpeakerError,
)
from agent_messaging.identifiers import HandleKind, handle
from agent_messaging_db import directory
from tests.conftest import connect
from tests.protocol.gathering import BOUND, Word, contents, opened
from tests.protocol.world import ORGANIZATION

VIEWS = AgentView[Word]


class Walls(NamedTuple):
    """Alice and Bob of one organization, Eve of another; what is Eve's is none of Alice's."""

    sdk: AgentMessaging[Word]
    alice: VIEWS
    eve: VIEWS


@asynccontextmanager
async def walls(dsn: str) -> AsyncGenerator[Walls]:
    async with opened(dsn, "alice", "bob") as sdk:
        await sdk.register_organization("other", "Other")
        for agent in ("eve", "mallory"):
            await sdk.register_agent(agent, "other", agent.title())
        yield Walls(
            sdk,
            sdk.as_agent("alice", within_organization=True),
            sdk.as_agent("eve", within_organization=True),
        )


async def allow(dsn: str, sdk: AgentMessaging[Word], organization: str, allowed: str) -> None:
    one, other = [await sdk.get_organization(name) for name in (organization, allowed)]
    async with connect(dsn) as connection:
        await directory.set_permission(connection, organization_id=one.id, allows_id=other.id)


Call = Callable[[VIEWS, Any], Awaitable[Any]]

NAMING_AN_AGENT: dict[str, Call] = {
    "agent": lambda view, name: view.agent(name),
    "send": lambda view, name: view.send(name, Word(text="x")),
    "notify": lambda view, name: view.notify(["bob", name], Word(text="x")),
    "ask": lambda view, name: view.ask(name, Word(text="x"), timeout=0),
    "end conversation": lambda view, name: view.end_conversation(name),
    "conversation": lambda view, name: view.conversation(name),
    "inbox": lambda view, name: view.inbox(from_agent=name),
    "wait inbox": lambda view, name: view.wait_inbox(timeout=0, from_agent=name),
    "create meeting": lambda view, name: view.create_meeting(["bob", name]),
    "follow": lambda view, name: view.on_conversation_change(name, lambda: None),
}
NAMING_A_MEETING: dict[str, Call] = {
    "attend": lambda view, meeting: view.attend_meeting(meeting, timeout=0),
    "start": lambda view, meeting: view.start_meeting(meeting, Word(text="x")),
    "speak": lambda view, meeting: view.speak(meeting, Word(text="x"), turn=2, timeout=0),
    "leave": lambda view, meeting: view.leave_meeting(meeting, new_host="bob"),
    "hand over": lambda view, meeting: view.hand_over_host(meeting, "bob"),
    "end": lambda view, meeting: view.end_meeting(meeting),
    "status": lambda view, meeting: view.meeting(meeting),
    "history": lambda view, meeting: view.meeting_history(meeting),
    "follow": lambda view, meeting: view.on_meeting_change(meeting, lambda: None),
}
NAMING_A_QUESTION: dict[str, Call] = {
    "answer": lambda view, question: view.reply(question, Word(text="x")),
    "decline": lambda view, question: view.reply(question, None, decline=True),
}


async def refusal(call: Call, view: VIEWS, name: Any, error: type[AgentMessagingError]) -> str:
    """What the view says, without the name that it was given."""
    with pytest.raises(error) as caught:
        await call(view, name)
    return str(caught.value).replace(str(name), "NAME")


@pytest.mark.requirement("view:walls")
async def test_an_agent_of_another_organization_is_refused_just_as_an_unknown_one_and_nothing_changes(dsn: str) -> None:
    async with walls(dsn) as here:
        await here.sdk.async_conversation.get_unread_messages("eve")  # she can be reached
        await here.sdk.async_conversation.get_unread_messages("bob")
        before = await contents(dsn)
        for call in NAMING_AN_AGENT.values():
            foreign = await refusal(call, here.alice, "eve", AgentNotFoundError)
            unknown = await refusal(call, here.alice, "zzz", AgentNotFoundError)
            assert foreign == unknown == "there is no agent 'NAME'"
        assert await contents(dsn) == before
        assert [agent.external_id for agent in await here.alice.agents()] == ["alice", "bob"]
        assert await here.alice.agents("eve") == []


@pytest.mark.requirement("view:walls")
async def test_a_meeting_of_others_is_refused_just_as_an_unknown_one_by_id_and_by_handle(dsn: str) -> None:
    async with walls(dsn) as here:
        made = await here.eve.create_meeting(["mallory"])
        before = await contents(dsn)
        for call in NAMING_A_MEETING.values():
            foreign = {
                await refusal(call, here.alice, name, MeetingNotFoundError) for name in (made.meeting_id, made.handle)
            }
            unknown = {
                await refusal(call, here.alice, name, MeetingNotFoundError) for name in (uuid4(), "m7f3", "q7f3")
            }
            assert foreign == unknown == {"there is no meeting 'NAME' of yours"}
        assert await contents(dsn) == before
        assert await here.alice.meetings() == []


@pytest.mark.requirement("view:walls")
async def test_a_question_to_another_is_refused_just_as_an_unknown_one_by_id_and_by_handle(dsn: str) -> None:
    async with walls(dsn) as here:
        with pytest.raises(ConversationTimeoutError) as caught:
            await here.eve.ask("mallory", Word(text="?"), timeout=0, reply_by=60)
        question, name_of_it = caught.value.question_id, caught.value.handle
        before = await contents(dsn)
        for call in NAMING_A_QUESTION.values():
            foreign = {await refusal(call, here.alice, name, MessageNotFoundError) for name in (question, name_of_it)}
            asker = {await refusal(call, here.eve, name, MessageNotFoundError) for name in (question, name_of_it)}
            unknown = {await refusal(call, here.alice, name, MessageNotFoundError) for name in (uuid4(), "q7f3", "x")}
            assert foreign == asker == unknown == {"there is no question 'NAME' to you"}
        assert await contents(dsn) == before


@pytest.mark.requirement("view:permission")
async def test_a_permission_opens_the_wall_when_it_is_mutual_and_not_before(dsn: str) -> None:
    async with walls(dsn) as here:
        for organization, allowed in ((ORGANIZATION, "other"), ("other", ORGANIZATION)):
            with pytest.raises(AgentNotFoundError):
                await here.alice.send("eve", Word(text="hello"))
            with pytest.raises(AgentNotFoundError):
                await here.eve.agent("alice")
            await allow(dsn, here.sdk, organization, allowed)

        await here.alice.send("eve", Word(text="hello"))
        assert [item.content for item in (await here.eve.inbox(from_agent="alice")).items] == [Word(text="hello")]
        assert [a.external_id for a in await here.alice.agents()] == ["alice", "bob", "eve", "mallory"]
        assert (await here.eve.agent("alice")).organization_external_id == ORGANIZATION
        made = await here.alice.create_meeting(["eve"])
        assert [meeting.meeting_id for meeting in await here.eve.meetings()] == [made.meeting_id]


@pytest.mark.requirement("view:walls")
async def test_near_matches_come_from_what_the_agent_may_see(dsn: str) -> None:
    async with walls(dsn) as here:
        with pytest.raises(AgentNotFoundError, match=r"no agent 'alise'; did you mean alice\?"):
            await here.alice.agent("alise")
        with pytest.raises(AgentNotFoundError) as caught:
            await here.alice.agent("mallori")
        assert "mallory" not in str(caught.value)


@pytest.mark.requirement("view:outside")
async def test_a_view_without_walls_reaches_everybody_and_still_acts_as_its_agent_alone(dsn: str) -> None:
    async with walls(dsn) as here:
        view = here.sdk.as_agent("alice")
        await view.send("eve", Word(text="hello"))
        (item,) = (await here.eve.inbox()).items
        assert (item.sender, item.content) == ("alice", Word(text="hello"))
        assert (await view.me()).external_id == view.external_id == "alice"
        with pytest.raises(AgentNotFoundError):
            await here.sdk.as_agent("nobody").inbox()


@pytest.mark.requirement("view:meeting")
async def test_a_meeting_is_held_by_handle_from_views(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, asyncio.timeout(BOUND):
        alice, bob = sdk.as_agent("alice"), sdk.as_agent("bob")
        made = await alice.create_meeting(["alice", "bob"], 30, title="Plans")
        changed = asyncio.Event()
        stop = await bob.on_meeting_change(made.handle, changed.set)
        with pytest.raises(MeetingTimeoutError):
            await bob.attend_meeting(made.handle.upper(), timeout=0)
        await changed.wait()
        stop()
        await alice.start_meeting(made.handle, Word(text="hello"), "bob")
        signal = await bob.attend_meeting(str(made.meeting_id))
        assert (signal.handle, signal.turn, signal.title) == (made.handle, 2, "Plans")
        with pytest.raises(NotCurrentSpeakerError):
            await alice.speak(made.handle, Word(text="x"), turn=2, timeout=0)
        with pytest.raises(MeetingTimeoutError):
            await bob.speak(made.handle, Word(text="yes"), turn=2, timeout=0)
        with pytest.raises(HostCannotLeaveError):
            await alice.leave_meeting(made.handle)
        await alice.leave_meeting(made.handle, new_host="bob")
        await bob.end_meeting(made.handle, outcome="done")
        assert (await alice.meeting(made.handle)).outcome == "done"
        assert [entry.content for entry in await bob.meeting_history(made.handle) if entry.sender] == [
            Word(text="hello"),
            Word(text="yes"),
        ]


BAD_NAMES: list[Any] = [None, 7, b"bob", ["bob"], {}, "", "a\0b", "\ud800", "x" * 999]
BAD_HANDLES: list[Any] = [*BAD_NAMES, "m9zzzzzzzzzzzz", "q9zzzzzzzzzzzz", handle(HandleKind.MEETING, 2**63)]
BAD_NUMBERS: list[Any] = ["5", 0, -1, 1.5, 2**63, True, []]
BAD_OTHERWISE: dict[str, tuple[list[Any], Call]] = {
    "agents": (BAD_NUMBERS, lambda view, limit: view.agents(limit=limit)),
    "inbox": (BAD_NUMBERS, lambda view, limit: view.inbox(limit=limit)),
    "conversation": (BAD_NUMBERS, lambda view, limit: view.conversation("bob", limit=limit)),
    "meetings": (BAD_NUMBERS, lambda view, limit: view.meetings(limit=limit)),
    "query": ([7, "a\0b", "\ud800", ["x"]], lambda view, query: view.agents(query)),
    "notify": ([None, 7, "bob", [None], [["bob"]]], lambda view, names: view.notify(names, Word(text="x"))),
    "create meeting": ([None, 7, "bob", [None], [["bob"]]], lambda view, names: view.create_meeting(names)),
    "acknowledge": ([None, 7, "x", "\0", "c9zzzzzzzzzzzz"], lambda view, cursor: view.acknowledge(cursor)),
    "conversation after": (["5", -1, 1.5], lambda view, after: view.conversation("bob", after_seq=after)),
    "wait": (["5", -1, None, float("nan")], lambda view, seconds: view.wait_inbox(timeout=seconds or -1)),
}


@pytest.mark.requirement("view:bad-input")
async def test_whatever_a_view_is_given_it_refuses_what_it_cannot_understand_and_changes_nothing(dsn: str) -> None:
    groups: list[tuple[dict[str, Call], list[Any]]] = [
        (NAMING_AN_AGENT, BAD_NAMES),
        (NAMING_A_MEETING | NAMING_A_QUESTION, BAD_HANDLES),
        *(({name: call}, values) for name, (values, call) in BAD_OTHERWISE.items()),
    ]
    async with opened(dsn, "alice", "bob") as sdk:
        view = sdk.as_agent("alice", within_organization=True)
        await view.create_meeting(["bob"])
        await view.inbox()  # from now on it counts as one that reads its own
        before = await contents(dsn)
        wrong: list[str] = []
        for name, call, value in [(n, c, v) for calls, values in groups for n, c in calls.items() for v in values]:
            if "inbox" in name and value is None:
                continue  # of everybody
            try:
                result = await call(view, value)
            except AgentMessagingError as error:
                if len(str(error)) > 1000:
                    wrong.append(f"{name} {value!r:.40}: says too much")
            except Exception as error:
                wrong.append(f"{name} {value!r:.40}: {error!r:.150}")
            else:
                wrong.append(f"{name} {value!r:.40}: gave {result!r:.60}")
        assert not wrong, "\n".join(wrong)
        assert await contents(dsn) == before
