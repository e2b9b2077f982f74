"""Random calls of the agents of two organizations, through MCP and the SDK: what is asked, and what is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
from mcp import Client, MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from agent_messaging import AgentMessagingError
from agent_messaging.agent_view import AgentView
from agent_messaging.identifiers import HandleKind, handle
from tests.model.processes import plain
from tests.model.replay import Seeded
from tests.model.walls import AGENTS, NOBODY, Account, Meeting, Question

LISTS = ("list_agents", "messaging://agents", "complete agent", "agents")
_MEETINGS = """
SELECT g.number, g.id::text, g.turn, h.external_id AS host, o.external_id AS holder,
       array(SELECT a.external_id FROM meeting_members b JOIN agents a ON a.id = b.agent_id
             WHERE b.meeting_id = g.id) AS members
FROM meetings g JOIN agents h ON h.id = g.host_id LEFT JOIN agents o ON o.id = g.holder_id
ORDER BY g.number DESC LIMIT 12
"""
_QUESTIONS = """
SELECT q.number, q.id::text, a.external_id AS asker, b.external_id AS answerer
FROM questions q JOIN agents a ON a.id = q.asker_id JOIN agents b ON b.id = q.answerer_id
ORDER BY q.number DESC LIMIT 12
"""
_CURSORS = "SELECT max(number) FROM inbox_cursors"


@dataclass(slots=True)
class Attempt:
    """One call: `arguments` as its caller writes them, `foreign` if one of them is none of its business."""

    name: str
    arguments: dict[str, Any]
    make: Callable[[], Awaitable[Any]]
    foreign: bool = False


class Intruder:
    """Draws calls, most of them sensible and many of them not, and carries them out."""

    def __init__(
        self,
        chance: Seeded,
        account: Account,
        connection: asyncpg.Connection[Any],
        clients: dict[str, Client],
        views: dict[str, AgentView[Any]],
    ) -> None:
        self._chance = chance
        self._account = account
        self._connection = connection
        self._clients = clients
        self._views = views
        self._meetings: list[Meeting] = []
        self._questions: list[Question] = []
        self._cursor = 1
        self._me = AGENTS[0]
        self._last = ""

    async def look_around(self) -> None:
        """Learn what there is, whoever's it is: it is what an intruder may guess."""
        self._meetings = [
            Meeting(
                handle(HandleKind.MEETING, row["number"]), row["id"], frozenset(row["members"]), row["turn"],
                row["holder"], row["host"],
            )
            for row in await self._connection.fetch(_MEETINGS)
        ]  # fmt: skip
        self._questions = [
            Question(handle(HandleKind.QUESTION, row["number"]), row["id"], row["asker"], row["answerer"])
            for row in await self._connection.fetch(_QUESTIONS)
        ]
        self._cursor = await self._connection.fetchval(_CURSORS) or 1

    def describe(self) -> str:
        """The last call, and what came of it."""
        return self._last

    async def step(self) -> list[str]:
        """One call of somebody; gives what leaked."""
        self._me = self._pick(AGENTS)
        drawn = getattr(self, f"_{self._pick(_KINDS)}")()
        attempt: Attempt = await drawn if isinstance(drawn, Awaitable) else drawn
        counts = self._account.counts
        try:
            shown = await attempt.make()
            refused = bool(getattr(shown, "is_error", False))
        except (AgentMessagingError, MCPError) as error:
            shown, refused = f"{error} {error.__dict__}", True
        counts["refused" if refused else "done"] += 1
        counts[attempt.name.partition("/")[0]] += 1
        if attempt.foreign:
            counts["foreign tried"] += 1
        self._last = f"{self._me} {attempt.name} {attempt.arguments}: {_shown(shown)}"[:1_000]
        leaked = self._account.leaks(self._me, attempt.arguments, _shown(shown), lists=False)
        if attempt.name.startswith(LISTS):
            leaked += self._account.leaks(self._me, attempt.arguments, _listed(shown), lists=True)
        return leaked

    # What is asked

    def _send(self) -> Attempt:
        to, words, foreign = self._written_to(self._pick((1, 1, 2)))
        if self._pick((True, False)):
            return self._tool("send", foreign, to=to if len(to) > 1 else to[0], message=words)
        if len(to) > 1:
            return self._view("notify", foreign, lambda view: view.notify(to, words), to=to, words=words)
        return self._view("send", foreign, lambda view: view.send(to[0], {"text": words}), to=to, words=words)

    def _broadcast(self) -> Attempt:
        mine = [agent for agent in AGENTS if self._account.may_reach(self._me, agent)]
        self._account.meet(mine)
        return self._tool("send", False, to="*", message=self._account.secret(self._me, mine))

    def _ask(self) -> Attempt:
        to, words, foreign = self._written_to(1)
        if self._pick((True, False)):
            return self._tool("send_and_wait", foreign, to=to[0], message=words, wait_seconds=0)
        return self._view(
            "ask", foreign, lambda view: view.ask(to[0], words, timeout=0, reply_by=300), to=to, words=words
        )

    def _reply(self) -> Attempt:
        if not self._questions:
            return self._ask()
        question = self._pick(self._questions)
        mine = question.answerer == self._me and self._account.may_reach(self._me, question.asker)
        words = self._account.secret(self._me, (question.asker,) if mine else ())
        name, decline = self._pick((question.handle, question.id)), self._pick((False, False, True))
        if self._pick((True, False)):
            return self._tool("reply", not mine, question=name, message=words, decline=decline)
        return self._view(
            "reply", not mine, lambda view: view.reply(name, words, decline=decline), question=name, words=words
        )

    def _conversation(self) -> Attempt:
        other, foreign = self._somebody()
        match self._pick(("tool", "view", "page", "end")):
            case "tool":
                return self._tool("get_conversation", foreign, with_agent=other)
            case "view":
                return self._view("conversation", foreign, lambda view: view.conversation(other), other=other)
            case "page":
                return self._page(f"messaging://conversations/{other}", foreign, other)
            case _:
                return self._tool("end_conversation", foreign, with_agent=other)

    def _inbox(self) -> Attempt:
        other, foreign = self._somebody()
        match self._pick(("tool", "tool", "after", "from", "page", "view")):
            case "tool":
                return self._tool("check_inbox", False, limit=self._pick((3, 20)))
            case "after":
                cursor = handle(HandleKind.CURSOR, self._chance.random.randint(1, self._cursor + 1))
                return self._tool("check_inbox", True, after=cursor)
            case "from":
                return self._tool("check_inbox", foreign, from_agent=other)
            case "page":
                return self._page("messaging://inbox", False)
            case _:
                return self._view("inbox", False, lambda view: view.inbox(limit=50))

    def _directory(self) -> Attempt:
        other, foreign = self._somebody()
        match self._pick(("tool", "view", "page", "complete", "one")):
            case "tool":
                query = self._pick(("", other, other[:3], other[-3:], "a", "o"))
                return self._tool("list_agents", foreign, query=query)
            case "view":
                return self._view("agents", False, lambda view: view.agents())
            case "page":
                return self._page("messaging://agents", False)
            case "complete":
                return self._complete("agent", self._pick(("", other[:4], "borealis", "aurora")))
            case _:
                near = self._pick((other, other[:-1], other.replace("-", "")))
                return self._view("agent", foreign, lambda view: view.agent(near), other=near)

    def _create(self) -> Attempt:
        agents, words, foreign = self._written_to(self._pick((1, 2, 3)))
        if self._pick((True, False)):
            return self._tool("create_meeting", foreign, title=words, agents=agents, agenda=words)
        return self._view(
            "create_meeting",
            foreign,
            lambda view: view.create_meeting(agents, title=words, agenda=words),
            agents=agents,
            words=words,
        )

    def _attend(self) -> Attempt:
        if (meeting := self._meeting()) is None:
            return self._create()
        foreign, name = self._me not in meeting.members, self._pick((meeting.handle, meeting.id))
        if self._pick((True, False)):
            return self._tool("attend_meeting", foreign, meeting=name, wait_seconds=0)
        return self._view("attend", foreign, lambda view: view.attend_meeting(name, timeout=0), meeting=name)

    def _start(self) -> Attempt:
        if (meeting := self._meeting()) is None:
            return self._create()
        self._me = self._pick((meeting.host, self._me))
        return self._told("start_meeting", meeting, force=True, wait_seconds=0)

    def _speak(self) -> Attempt:
        if (meeting := self._meeting()) is None:
            return self._create()
        self._me = self._pick((meeting.holder or self._me, meeting.holder or self._me, self._me))
        return self._told("speak", meeting, turn=max(1, meeting.turn), wait_seconds=0)

    def _told(self, tool: str, meeting: Meeting, **more: Any) -> Attempt:
        foreign = self._me not in meeting.members
        words = self._account.secret(self._me, () if foreign else meeting.members)
        following, stranger = self._somebody()
        if self._pick((True, False)):
            more["next_speaker"] = following
        name = self._pick((meeting.handle, meeting.id))
        return self._tool(tool, foreign or (stranger and "next_speaker" in more), meeting=name, message=words, **more)

    def _leave(self) -> Attempt:
        if (meeting := self._meeting()) is None:
            return self._create()
        foreign, name = self._me not in meeting.members, self._pick((meeting.handle, meeting.id))
        if self._pick((True, True, False)):
            heir, stranger = self._somebody()
            return self._tool("leave_meeting", foreign or stranger, meeting=name, new_host=heir)
        words = self._account.secret(self._me, () if foreign else meeting.members)
        return self._tool("end_meeting", foreign, meeting=name, outcome=words)

    def _look(self) -> Attempt:
        if (meeting := self._meeting()) is None:
            return self._create()
        foreign, name = self._me not in meeting.members, self._pick((meeting.handle, meeting.id))
        match self._pick(("tool", "history", "page", "pages", "view", "list", "complete")):
            case "tool":
                return self._tool("get_meeting", foreign, meeting=name)
            case "history":
                return self._tool("get_meeting", foreign, meeting=name, after="0", limit=20)
            case "page":
                return self._page(f"messaging://meetings/{name}", foreign, name)
            case "pages":
                return self._page(f"messaging://meetings/{name}/history", foreign, name)
            case "view":
                return self._view("meeting_history", foreign, lambda view: view.meeting_history(name), meeting=name)
            case "list":
                return self._page("messaging://meetings", False)
            case _:
                return self._complete("meeting", self._pick(("", "m", meeting.handle[:2])))

    # How it is asked

    def _tool(self, name: str, foreign: bool, **arguments: Any) -> Attempt:
        client = self._clients[self._me]
        return Attempt(name, arguments, lambda: client.call_tool(name, arguments), foreign)

    def _page(self, uri: str, foreign: bool, *written: str) -> Attempt:
        client = self._clients[self._me]
        return Attempt(uri, {"uri": uri, "written": list(written)}, lambda: client.read_resource(uri), foreign)

    def _complete(self, name: str, value: str) -> Attempt:
        client = self._clients[self._me]
        uri = "messaging://conversations/{agent}{?before}" if name == "agent" else "messaging://meetings/{meeting}"
        ref = self._pick(
            (
                ResourceTemplateReference(type="ref/resource", uri=uri),
                PromptReference(type="ref/prompt", name="join_meeting"),
            )
        )
        written = {"name": name, "value": value}
        # What was begun is part of what is offered; only what is new in it tells something.
        return Attempt(f"complete {name}", {}, lambda: client.complete(ref, written), True)

    def _view(
        self, name: str, foreign: bool, call: Callable[[AgentView[Any]], Awaitable[Any]], **written: Any
    ) -> Attempt:
        view = self._views[self._me]
        return Attempt(name, written, lambda: call(view), foreign)

    # With what

    def _somebody(self) -> tuple[str, bool]:
        """Somebody, and whether it is somebody that it cannot reach."""
        other = self._pick((*AGENTS, NOBODY))
        return other, not self._account.may_reach(self._me, other)

    def _written_to(self, count: int) -> tuple[list[str], str, bool]:
        """Some agents, a secret for them, and whether one of them cannot be reached: then nobody is."""
        others = [self._pick([*(agent for agent in AGENTS if agent != self._me)]) for _ in range(count)]
        if self._pick((False,) * 9 + (True,)):
            others[0] = NOBODY
        others = list(dict.fromkeys(others))
        reached = all(self._account.may_reach(self._me, other) for other in others)
        if reached:
            self._account.meet((self._me, *others))
        return others, self._account.secret(self._me, others if reached else ()), not reached

    def _meeting(self) -> Meeting | None:
        return self._pick(self._meetings) if self._meetings else None

    def _pick(self, items: Any) -> Any:
        return self._chance.pick(items)


_KINDS = (
    *("send", "send", "broadcast", "ask", "ask", "reply", "reply", "conversation", "conversation"),
    *("inbox", "inbox", "directory", "directory", "create", "attend", "attend", "start", "speak", "speak", "leave"),
    *("look", "look"),
)


def _listed(result: Any) -> Any:
    """What a list offers, without the line on the inbox, in which what was said stays."""
    structure = getattr(result, "structured_content", None)
    return _shown(result) if structure is None else structure.get("items", [])


def _shown(result: Any) -> Any:
    return result if isinstance(result, str) else plain(result)
