"""Calls of the tools over Streamable HTTP, by a client of the current revision, at whichever server takes them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

from chaos.hands import Asked, Entry, Floor, Item, Page, Refused, Signal, Unknown, Untyped
from chaos.plan import Terms

REVISION = "2026-07-28"
_BEYOND_ITS_WAIT = 55.0
"""Seconds that a call may take longer than it asked to be held, while everything around it breaks."""
_DEFECT = "Something went wrong inside the server"
_RESTARTS = "about to restart"
_NOT_DONE = ("not_now", "not_your_turn", "conversation_ended", "nothing_open", "nobody")

_REFUSED = re.compile(r"(Not|Nothing) \w+: ")
"""How a result begins that says what was not done."""

Structure = Mapping[str, Any]


class McpHands:
    """One HTTP client for every agent of this process, each with its token."""

    via = "mcp"

    def __init__(self, servers: Path, tokens: Mapping[str, str], terms: Terms, rng: random.Random) -> None:
        """`servers` names a file that says where they are at present."""
        self._servers = servers
        self._terms = terms
        self._tokens = tokens
        self._rng = rng
        self._ids = count(1)
        self._http = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=50))

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def send(self, agent: str, to: str, text: str, key: str) -> None:
        await self._call(agent, "send", to=to, message=text, key=key)

    async def notify(self, agent: str, to: Sequence[str], text: str, key: str) -> None:
        await self._call(agent, "send", to=list(to), message=text, key=key)

    async def ask(self, agent: str, to: str, text: str, key: str, patience: float) -> Asked:
        told = await self._call(agent, "send_and_wait", patience, to=to, message=text, key=key)
        match told["status"]:
            case "answered":
                return Asked("answered", told["answer"]["text"], told["cursor"])
            case "declined":
                return Asked("declined", told.get("reason", ""))
            case "waiting" if "question" in told:
                return Asked("waiting")
            case "waiting":  # it does not say which question: whether there is one is open
                raise Unknown(told["now"])
            case other:
                return Asked(other)

    async def answer(self, agent: str, item: Item, text: str, key: str, *, decline: bool) -> None:
        await self._call(agent, "reply", question=item.handle, message=text, decline=decline)

    async def look(self, agent: str, patience: float) -> Page:
        told = await self._call(agent, "check_inbox", patience)
        items = [
            Item(
                item["kind"],
                item.get("from", ""),
                item.get("text", ""),
                item.get("question") or item.get("meeting") or "",
                read=item.get("read", False),
            )
            for item in told.get("items", ())
        ]
        return Page(items, told.get("cursor"))

    async def acknowledge(self, agent: str, receipt: Any) -> None:
        await self._call(agent, "check_inbox", after=receipt, limit=1)

    async def create(self, agent: str, members: Sequence[str], key: str) -> str:
        told = await self._call(
            agent,
            "create_meeting",
            title=key,
            agents=list(members),
            turn_seconds=self._terms.turn_seconds,
            quorum=2,
            start_within_seconds=self._terms.start_within,
            max_turns=self._terms.max_turns,
        )
        return told["meeting"]

    async def attend(self, agent: str, meeting: str, patience: float) -> Signal:
        return _signal(await self._call(agent, "attend_meeting", patience, meeting=meeting))

    async def start(self, agent: str, meeting: str, text: str, patience: float) -> Signal:
        return _said(await self._call(agent, "start_meeting", patience, meeting=meeting, message=text))

    async def speak(
        self, agent: str, meeting: str, turn: int, text: str | None, following: str | None, patience: float
    ) -> Signal:
        words = {} if text is None else {"message": text}
        named = {} if following is None else {"next_speaker": following}
        return _said(await self._call(agent, "speak", patience, meeting=meeting, turn=turn, **words, **named))

    async def history(self, agent: str, meeting: str) -> list[Entry]:
        read: list[Entry] = []
        while True:
            after = str(read[-1][0] if read else 0)
            told = await self._call(agent, "get_meeting", meeting=meeting, after=after)
            for item in told.get("items", ()):
                spoken = "turn" in item
                kind = "agent_spoke" if spoken else item["kind"]
                read.append((item["seq"], kind, item["from"] if spoken else "", item["text"] if spoken else ""))
            if not told.get("next"):
                return read

    async def _call(self, agent: str, tool: str, patience: float = 0.0, /, **arguments: Any) -> Structure:
        """The structured result of a tool; raises Refused, Unknown."""
        if tool in ("send_and_wait", "check_inbox", "attend_meeting", "start_meeting", "speak"):
            arguments["wait_seconds"] = patience
        result = await self._request(agent, tool, arguments, patience + _BEYOND_ITS_WAIT)
        if result.get("isError"):
            raise Refused(result["content"][0]["text"])
        told: Structure = result["structuredContent"]
        if told["status"] in _NOT_DONE or _REFUSED.match(told["now"]):
            raise Refused(told["now"])
        return told

    async def _request(self, agent: str, tool: str, arguments: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        meta = {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        body = {
            "jsonrpc": "2.0",
            "id": next(self._ids),
            "method": "tools/call",
            "params": {"name": tool, "arguments": dict(arguments), "_meta": meta},
        }
        headers = {
            "Authorization": f"Bearer {self._tokens[agent]}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": REVISION,
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
        }
        timeout = httpx2.Timeout(seconds, connect=10)
        for address in self._in_some_order():
            try:
                response = await self._http.post(f"{address}/mcp", json=body, headers=headers, timeout=timeout)
            except httpx2.ConnectError:  # nothing was sent: another one will take it
                continue
            except httpx2.HTTPError as broken:
                raise Unknown(f"{type(broken).__name__}: {broken}") from broken
            return _result(response)
        raise Unknown("no server takes calls")

    def _in_some_order(self) -> list[str]:
        addresses: list[str] = [address for address in json.loads(self._servers.read_text()).values() if address]
        self._rng.shuffle(addresses)
        return addresses


def _result(response: httpx2.Response) -> dict[str, Any]:
    if response.status_code != 200:
        raise Unknown(f"HTTP {response.status_code}: {response.text[:200]}")
    try:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            lines = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
            [answer] = [line for line in lines if "result" in line or "error" in line]
        else:
            answer = response.json()
    except ValueError as cut:  # the stream ended before the answer came
        raise Unknown(f"no answer in {response.text[:200]!r}") from cut
    if "error" in answer:
        words = answer["error"]["message"]
        raise (Untyped if _DEFECT in words else Unknown)(words)
    return answer["result"]


def _said(told: Structure) -> Signal:
    if _RESTARTS in told["now"]:  # it leaves open whether the words were recorded
        raise Unknown(told["now"])
    return _signal(told)


def _signal(told: Structure) -> Signal:
    said = [(speech["from"], speech["turn"], speech["text"]) for speech in told.get("said", ())]
    match told["status"]:
        case "your_turn":
            return Signal(Floor.YOURS, told["turn"], said)
        case "meeting_ended":
            return Signal(Floor.ENDED, 0, said, told.get("ended", ""))
        case "ready":
            return Signal(Floor.READY)
        case "waiting":
            return Signal(Floor.WAITING)
        case other:
            raise Untyped(f"a meeting says {other}: {told['now']}")
