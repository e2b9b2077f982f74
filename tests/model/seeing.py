"""What is seen through the product: inboxes, conversations and meetings, written in the model's terms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any

from tests.model.acting import Names
from tests.model.processes import Call


class Sight:
    """Looks through one process; `began` is when the history began, in seconds of the epoch."""

    def __init__(self, read: Callable[[Call], Awaitable[Any]], names: Names, began: float) -> None:
        self._read = read
        self.names = names
        self._began = began

    async def sees(
        self, agents: Iterable[str], pairs: Iterable[frozenset[str]], meetings: Iterable[int]
    ) -> dict[str, Any]:
        """These inboxes, conversations and meetings. Meetings first: reading one applies what is due in it."""
        seen: dict[str, Any] = {f"meeting {number}": await self.meeting(number) for number in meetings}
        for pair in map(sorted, pairs):
            seen[f"conversation of {'+'.join(pair)}"] = await self.conversation(*pair)
        for agent in agents:
            seen[f"inbox of {agent}"] = await self.inbox(agent)
        return seen

    async def inbox(self, agent: str) -> list[list[Any]]:
        page = await self._read(Call("inbox", "page", (self.names.agent(agent),), {"limit": 1000}))
        items: list[list[Any]] = []
        turns: list[list[Any]] = []
        for item in page["items"]:
            if item["kind"] == "turn":
                turns.append(["turn", self.names.number(item["meeting_id"])])
                continue
            meeting = self.names.number(item["meeting_id"])
            who, words = self.names.short(item["sender"]), self.names.short(item["content"])
            question = self.names.number(item["question_id"])
            items.append([item["kind"], who, item["seq"], words, item["owed"], item["late"], question, meeting])
            items[-1].append(item["read"])
        assert page["more"] == 0
        return items + sorted(turns)

    async def conversation(self, one: str, other: str) -> dict[str, Any]:
        agents = tuple(self.names.agents((one, other)))
        said: list[list[Any]] = []
        for message in await self._read(Call("sync_conversation", "get_conversation", agents)):
            who, words = self.names.short(message["sender"]), self.names.short(message["content"])
            answered = self.names.number(message["reply_to"])
            said.append([message["seq"], message["message_type"], who, words, answered, message["late"]])
            said[-1].append(message["read_at"] is not None)
        sync = await self._read(Call("sync_conversation", "get_session", agents))
        other_session = await self._read(Call("async_conversation", "get_session", agents))
        live = [session is not None and session["status"] != "ended" for session in (sync, other_session)]
        waiting = sync is not None and sync["status"] == "waiting"
        return {"said": said, "sync": live[0], "async": live[1], "waiting": waiting}

    async def meeting(self, number: int) -> dict[str, Any] | None:
        if (meeting := self.names.meetings.get(number)) is None:
            return None
        status = await self._read(Call("meeting", "get_meeting_status", (meeting,)))
        entries = await self._read(Call("meeting", "get_meeting_history", (meeting,)))
        short = self.names.short
        waits = status["waiting_for"]
        return {
            "status": status["status"],
            "host": short(status["host_external_id"]),
            "current_speaker": short(status["current_speaker_external_id"]),
            "next_in_order": short(status["next_in_order"]),
            "seats": [short(agent) for agent in status["participants"]],
            "parts": {short(agent): part for agent, part in status["participant_status"].items()},
            "quorum": status["quorum"],
            "max_turns": status["max_turns"],
            "turn_deadline": self._moment(status["turn_deadline"]),
            "next_at": None if waits is None else self._moment(waits["next_at"]),
            "waiting_for": None if waits is None else [short(agent) for agent in waits["agents"]],
            "reason": status["reason"],
            "outcome": status["outcome"],
            "log": [[e["seq"], e["kind"], short(e["agent"]), e["turn"], short(e["content"])] for e in entries],
        }

    def _moment(self, text: str | None) -> float | None:
        return None if text is None else round(datetime.fromisoformat(text).timestamp() - self._began, 3)
