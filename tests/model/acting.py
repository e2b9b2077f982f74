"""How an operation of a history is called on the product, and how its outcome is written in the model's terms."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.model import operations as op
from tests.model.processes import PATIENT, Call, Outcome


class Names:
    """What the product called the things of one history: its agents, messages, questions and meetings.

    A history's agents and words are its own (`h7.ann`, `h7.w3`), so that many histories share one database.
    """

    def __init__(self, history: str) -> None:
        self.history = history
        self.meetings: dict[int, UUID] = {}
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, UUID] = {}

    def agent(self, name: str) -> str:
        return f"{self.history}.{name}"

    def agents(self, names: tuple[str, ...]) -> list[str]:
        return [self.agent(name) for name in names]

    def optional(self, name: str | None) -> str | None:
        return None if name is None else self.agent(name)

    def key(self, key: str | None) -> str | None:
        return None if key is None else f"{self.history}.{key}"

    def words(self, operation: Any) -> str:
        return f"{self.history}.{op.words(operation)}"

    def short(self, text: Any) -> Any:
        """A name or words without what marks the history."""
        return text.removeprefix(f"{self.history}.") if isinstance(text, str) else text

    def learn(self, number: int, ids: list[str]) -> int:
        """These are the ids of what the operation made, unless an earlier one had made it; says which."""
        number = self._numbers.setdefault(ids[0], number)
        for id in ids:
            self._numbers[id] = number
        self._ids.setdefault(number, UUID(ids[0]))
        return number

    def number(self, id: str | None) -> int | None:
        return None if id is None else self._numbers.get(id)

    def knows(self, id: str) -> bool:
        return id in self._numbers

    def has(self, number: int) -> bool:
        return number in self._ids

    def id(self, number: int) -> UUID:
        return self._ids[number]


def call_of(operation: op.Call, names: Names, *, ids: tuple[UUID, ...] = ()) -> Call:
    """The call that carries out an operation; `ids` are those of the messages that a MarkRead means."""
    match operation:
        case op.OneWay():
            recipients = names.agents(operation.recipients)
            return _said("one_way", "send", operation, names, names.agent(operation.sender), recipients)
        case op.Send():
            return _said("async_conversation", "send", operation, names, *_pair(operation, names))
        case op.Ask():
            timeout = PATIENT if operation.stay else 0
            return _said(
                "sync_conversation", "ask", operation, names, *_pair(operation, names), timeout=timeout,
                reply_by=operation.reply_by,
            )  # fmt: skip
        case op.Answer():
            question = None if operation.question is None else names.id(operation.question)
            return _said(
                "sync_conversation", "answer", operation, names, *_pair(operation, names), question_id=question,
                decline=operation.decline,
            )  # fmt: skip
        case op.EndConversation():
            agents = names.agents((operation.agent, operation.other))
            return Call("sync_conversation", "end_conversation", tuple(agents))
        case op.Unread(agent=agent, sender=None):
            ack = "auto" if operation.take else "manual"
            options = {"ack": ack, "limit": operation.limit}
            return Call("async_conversation", "get_unread_messages", (names.agent(agent),), options)
        case op.Unread():
            agents = names.agents((operation.agent, str(operation.sender)))
            arguments, options = (*agents, operation.take), {"limit": operation.limit}
            return Call("async_conversation", "get_messages_from_agent", arguments, options)
        case op.MarkRead():
            return Call("async_conversation", "mark_read", (names.agent(operation.agent), list(ids)))
        case op.WaitForMessage():
            agents = names.agents((operation.agent, operation.sender))
            return Call("async_conversation", "wait_for_message", (*agents, PATIENT if operation.stay else 0))
        case op.WaitForAnything():
            timeout = PATIENT if operation.stay else 0
            return Call("inbox", "wait", (names.agent(operation.agent), timeout), {"limit": 1000})
        case op.Create():
            options = {
                name: getattr(operation, name)
                for name in ("turn_duration", "quorum", "start_by", "deadline", "max_turns")
            }
            options |= {"title": names.words(operation), "idempotency_key": names.key(operation.key)}
            arguments = (names.agent(operation.host), names.agents(operation.agents))
            return Call("meeting", "create_meeting", arguments, options)
        case _:
            return _meeting_call(operation, names)


def _meeting_call(
    operation: op.Attend | op.Start | op.Speak | op.Leave | op.HandOver | op.End | op.Status, names: Names
) -> Call:
    meeting = names.meetings[operation.meeting]
    match operation:
        case op.Attend():
            timeout, options = PATIENT if operation.stay else 0, {"after_seq": operation.after_seq}
            return Call("meeting", "attend_meeting", (names.agent(operation.agent), meeting, timeout), options)
        case op.Start():
            arguments = (
                names.agent(operation.agent),
                meeting,
                names.words(operation),
                names.optional(operation.following),
            )
            return Call("meeting", "start_meeting", arguments, {"force": operation.force})
        case op.Speak():
            words = None if operation.passing else names.words(operation)
            arguments = names.agent(operation.agent), meeting, words, names.optional(operation.following)
            timeout = PATIENT if operation.stay else 0
            return Call("meeting", "speak", (*arguments, timeout), {"turn": operation.turn})
        case op.Leave():
            options = {"after_turn": operation.after_turn, "timeout": 0}
            return Call("meeting", "leave_meeting", (names.agent(operation.agent), meeting), options)
        case op.HandOver():
            arguments = names.agent(operation.agent), meeting, names.agent(operation.to)
            return Call("meeting", "hand_over_host", arguments)
        case op.End():
            options = {"outcome": f"end {operation.number}"}
            return Call("meeting", "end_meeting", (names.agent(operation.agent), meeting), options)
        case op.Status():
            return Call("meeting", "get_meeting_status", (meeting,))


def outcome_of(operation: op.Call, outcome: Outcome, names: Names) -> Outcome:
    """What came of it, in the model's terms."""
    if outcome[0] == "no":
        return _refused(outcome, names)
    result = outcome[1]
    match operation:
        case op.OneWay():
            return ["ok", names.learn(operation.number, result)]
        case op.Send():
            return ["ok", names.learn(operation.number, [result])]
        case op.Ask():
            return ["ok", names.short(result["content"]), names.number(result["question_id"]), result["late"]]
        case op.Answer():
            number = names.learn(operation.number, [result["message_id"]])
            if number != operation.number:
                return ["ok", number]
            return ["ok", number, names.number(result["question_id"]), result["late"]]
        case op.Unread():
            return ["ok", [names.short(words) for words in result]]
        case op.MarkRead():
            return ["ok", result]
        case op.WaitForMessage():
            return ["ok", names.short(result)]
        case op.WaitForAnything():
            return ["ok", "something" if any(not item["read"] for item in result["items"]) else "nothing"]
        case op.Create():
            number = names.learn(operation.number, [result])
            names.meetings[number] = UUID(result)
            return ["ok", number]
        case op.Attend() | op.Speak():
            return ["ok", signal_of(result, names)]
        case _:
            return ["ok"]


def signal_of(signal: dict[str, Any], names: Names) -> dict[str, Any]:
    """A `TurnSignal`."""
    said = [[names.short(s["speaker"]), s["turn"], s["seq"], names.short(s["message"])] for s in signal["said"]]
    ended = signal["ended"]
    left = signal["seconds_left"]
    return {
        "reason": signal["reason"],
        "turn": signal["turn"],
        "said": said,
        "seq": signal["seq"],
        "host": names.short(signal["host"]),
        "current_speaker": names.short(signal["current_speaker"]),
        "next_in_order": names.short(signal["next_in_order"]),
        "turns_left": signal["turns_left"],
        "seconds_left": None if left is None else round(left, 3),
        "ended": None if ended is None else [ended["reason"], ended["outcome"]],
    }


def _refused(outcome: Outcome, names: Names) -> Outcome:
    _, error, facts = outcome
    match error:
        case "ConversationTimeoutError":
            return ["no", error, names.number(facts["question_id"]), bool(facts["expired"])]
        case "QuestionDeclinedError":
            return ["no", error, names.short(facts["reason"])]
        case _:
            return ["no", error]


def _pair(operation: op.Send | op.Ask | op.Answer, names: Names) -> tuple[str, str]:
    return names.agent(operation.sender), names.agent(operation.recipient)


def _said(service: str, method: str, operation: op.Sending, names: Names, *arguments: Any, **options: Any) -> Call:
    options["idempotency_key"] = names.key(operation.key)
    return Call(service, method, (*arguments, names.words(operation)), options)
