"""A small world in which somebody reaches for what is not theirs: whose everything is, and every call that names it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import AgentMessaging
from agent_messaging.errors import ConversationTimeoutError
from agent_messaging.identifiers import HandleKind, handle, number_of
from agent_messaging_db.ids import new_id
from tests.conftest import connect
from tests.mcp_server.serving import config_of
from tests.mcp_server.wire import Headers, SseSession, Wire, bearer, legacy

_AGE = re.compile(r"\d+ (s|min) ago")
_TABLES = (
    *("organizations", "organization_permissions", "pairs", "sessions", "messages", "questions", "deliveries"),
    *("idempotency_keys", "inbox_cursors", "meetings", "meeting_members", "meeting_events"),
)


STRANGERS = ("eve-7", "frank-7")


@dataclass(frozen=True)
class World:
    """alice, bob and mallory are at home, the strangers are not. What is named here is never mallory's."""

    tokens: Mapping[str, str]
    meetings: Mapping[str, UUID]
    """The meetings of alice and bob, and of the strangers, by handle."""
    questions: Mapping[str, UUID]
    """What alice asked bob, one stranger the other, and mallory alice: none is for mallory to answer."""
    cursors: tuple[str, ...]
    """Of bob and of a stranger."""
    others: tuple[UUID, ...]
    """Ids of messages and agents."""
    own: str
    """A meeting that mallory hosts."""


async def populated(dsn: str) -> World:
    """The world, in an empty database."""
    async with AgentMessaging[Any](config_of(dsn)) as sdk:
        for organization, agents in {"home": ("alice", "bob", "mallory"), "abroad": STRANGERS}.items():
            await sdk.register_organization(organization, organization)
            for agent in agents:
                await sdk.register_agent(agent, organization, agent)
        views = {name: sdk.as_agent(name, within_organization=True) for name in ("alice", "bob", "mallory", *STRANGERS)}
        for view in views.values():
            await view.called()  # who has called reads its inbox, and can be written to
        meetings: dict[str, UUID] = {}
        questions: dict[str, UUID] = {}
        cursors: list[str] = []
        others: list[UUID] = []
        for asker, answerer in (("alice", "bob"), STRANGERS):
            others.append(await views[asker].send(answerer, "between us"))
            meeting = await views[asker].create_meeting([answerer], title="Ours", agenda="The secret.")
            meetings[meeting.handle] = meeting.meeting_id
            questions.update(await _asked(views[asker], answerer))
            page = await views[answerer].inbox()
            cursors.append(await views[answerer].cursor([item for item in page.items if item.message_id]))
            others += [(await views[asker].me()).id, (await views[answerer].me()).id]
        own = await views["mallory"].create_meeting(["alice"], title="Mine")
        questions.update(await _asked(views["mallory"], "alice"))
        tokens = {name: (await sdk.tokens.create(name)).token for name in views}
    return World(tokens, meetings, questions, tuple(cursors), tuple(others), own.handle)


async def _asked(view: Any, answerer: str) -> dict[str, UUID]:
    with pytest.raises(ConversationTimeoutError) as ended:
        await view.ask(answerer, "What is the secret?", timeout=0)
    assert ended.value.handle is not None
    assert ended.value.question_id is not None
    return {ended.value.handle: ended.value.question_id}


async def everything(dsn: str) -> dict[str, list[str]]:
    """All that is recorded, but for presence and tokens."""
    async with connect(dsn) as connection:
        return {
            table: [row[0] for row in await connection.fetch(f"SELECT t::text FROM {table} t ORDER BY 1")]  # noqa: S608
            for table in _TABLES
        }


def unknown_like(text: str) -> str:
    """Something of the same form that nothing has."""
    for kind in HandleKind:
        if (number := number_of(kind, text)) is not None:
            far = handle(kind, number + 5_000)
            assert len(far) == len(text.strip())
            return text.replace(text.strip(), far.upper() if text.strip().isupper() else far)
    try:
        known = UUID(text)
    except ValueError:
        return text[:-1] + ("x" if text[-1] != "x" else "y")
    other = new_id()
    for form in (str, lambda id: id.hex, lambda id: id.urn, lambda id: f"{{{id}}}", lambda id: str(id).upper()):
        if form(known) == text:
            return form(other)
    raise AssertionError(text)


def forms(handles: Mapping[str, UUID], *, all_: bool) -> Iterator[str]:
    """The ways to write these; not `all_`: the usual ones."""
    for short, id in handles.items():
        yield from (short, str(id))
        if all_:
            yield from (short.upper(), f" {short} ", id.hex, id.urn, str(id).upper())


Attack = tuple[str, dict[str, Any], str]
"""A tool, its arguments, and the part of them that is not the caller's."""


def attacks(world: World, *, all_forms: bool) -> Iterator[Attack]:
    """Every argument of every tool that names something, with everything that is not mallory's."""
    for meeting in forms(world.meetings, all_=all_forms):
        for tool, more in (
            ("attend_meeting", {"wait_seconds": 0}),
            ("attend_meeting", {"wait_seconds": 5}),
            ("start_meeting", {"message": "x", "wait_seconds": 0}),
            ("start_meeting", {"message": "x", "force": True, "next_speaker": "bob"}),
            ("speak", {"turn": 1, "message": "x", "wait_seconds": 0}),
            ("speak", {"turn": 1, "wait_seconds": 5}),
            ("leave_meeting", {}),
            ("leave_meeting", {"new_host": "mallory"}),
            ("end_meeting", {}),
            ("end_meeting", {"outcome": "x"}),
            ("get_meeting", {}),
            ("get_meeting", {"after": "0", "limit": 20}),
        ):
            yield tool, {"meeting": meeting, **more}, meeting
    for question in (
        *forms(world.questions, all_=all_forms),
        *map(str, world.others),
        *map(str, world.meetings.values()),
    ):
        yield "reply", {"question": question, "message": "x"}, question
        yield "reply", {"question": question, "message": "x", "decline": True}, question
    for cursor in world.cursors:
        for form in (cursor, cursor.upper())[: 2 if all_forms else 1]:
            yield "check_inbox", {"after": form}, form
            yield "check_inbox", {"after": form, "from_agent": "alice", "wait_seconds": 5}, form
    for agent in (*STRANGERS, *map(str, world.others)):
        yield "check_inbox", {"from_agent": agent}, agent
        yield "check_inbox", {"from_agent": agent, "wait_seconds": 5}, agent
        for to in (agent, [agent], ["alice", agent], f"{agent}, alice", f'["{agent}"]'):
            yield "send", {"to": to, "message": "x"}, agent
            yield "send_and_wait", {"to": to, "message": "x", "wait_seconds": 0}, agent
        yield "send", {"to": agent, "message": "x", "key": "k"}, agent
        yield "end_conversation", {"with_agent": agent}, agent
        yield "get_conversation", {"with_agent": agent}, agent
        yield "get_conversation", {"with_agent": agent, "after": "0"}, agent
        yield "list_agents", {"query": agent}, agent
        yield "create_meeting", {"title": "x", "agents": [agent]}, agent
        yield "create_meeting", {"title": "x", "agents": ["alice", agent]}, agent
        yield "start_meeting", {"meeting": world.own, "message": "x", "next_speaker": agent, "force": True}, agent
        yield "speak", {"meeting": world.own, "turn": 1, "message": "x", "next_speaker": agent}, agent
        yield "leave_meeting", {"meeting": world.own, "new_host": agent}, agent


def pages(world: World, *, all_forms: bool) -> Iterator[tuple[str, str]]:
    """Every resource of somebody else, and the part of its address that is not the caller's."""
    for agent in (*STRANGERS, *map(str, world.others)):
        yield f"messaging://conversations/{agent}", agent
        yield f"messaging://conversations/{agent}?before=5", agent
    for meeting in forms(world.meetings, all_=all_forms):
        if meeting.strip() == meeting and ":" not in meeting:
            yield f"messaging://meetings/{meeting}", meeting
            yield f"messaging://meetings/{meeting}/history", meeting
            yield f"messaging://meetings/{meeting}/history?before=5", meeting


def swapped(value: Any, old: str, new: str) -> Any:
    """The same arguments, with `new` for `old` wherever it stands."""
    return json.loads(json.dumps(value).replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]))


def said(answer: Mapping[str, Any], about: str | None = None) -> str:
    """What was said, whatever it was said about and whenever."""
    told = json.dumps({key: value for key, value in answer.items() if key != "id"}, sort_keys=True, ensure_ascii=False)
    return _AGE.sub("… ago", told if about is None else told.replace(about, "<it>"))


class Caller:
    """Somebody on one wire: it calls, and is told the message that answers."""

    def __init__(self, wire: Wire, token: str, *, session: str | None = None, sse: SseSession | None = None) -> None:
        self._wire = wire
        self._token = token
        self._session = session
        self._sse = sse
        self._id = 1

    async def call(self, method: str, params: Mapping[str, Any], headers: Headers = ()) -> dict[str, Any]:
        if self._session is None and self._sse is None:
            return (await self._wire.call(self._token, method, params, headers)).message()
        self._id += 1
        own, body = legacy(method, params, id_=self._id)
        given = [bearer(self._token), *own, *headers]
        if self._sse is None:
            answer = await self._wire.request("POST", "/mcp", [*given, ("Mcp-Session-Id", self._session or "")], body)
            return answer.message()
        assert (await self._wire.request("POST", self._sse.path, given, body)).status == 202
        while (message := await self._sse.message()).get("id") != self._id:
            pass
        return message

    async def tool(self, name: str, arguments: Mapping[str, Any], headers: Headers = ()) -> dict[str, Any]:
        return await self.call("tools/call", {"name": name, "arguments": dict(arguments)}, headers)


@asynccontextmanager
async def calling(wire: Wire, token: str, kind: str, client: str = "test") -> AsyncGenerator[Caller]:
    """A caller of the current era, of the 2025 era, or over SSE; `client` is what its client calls itself."""
    if kind == "current":
        yield Caller(wire, token)
        return
    if kind == "legacy":
        session = await wire.session(token, client)
        yield Caller(wire, token, session=session)
        return
    async with wire.sse(token) as sse:
        caller = Caller(wire, token, sse=sse)
        await caller.call(
            "initialize",
            {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": client, "version": "1"}},
        )
        headers, _ = legacy("", {})
        body = b'{"jsonrpc": "2.0", "method": "notifications/initialized"}'
        assert (await wire.request("POST", sse.path, [bearer(token), *headers], body)).status == 202
        yield caller
