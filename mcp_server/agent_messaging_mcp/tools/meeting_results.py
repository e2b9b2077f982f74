"""What the meeting tools answer: a turn, a wait, an end, a history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_messaging_mcp.offers import long_wait, wait_with
from agent_messaging_mcp.results import MOST_ITEMS, Entry, Json, Result, Resume, body, fitting
from agent_messaging_mcp.text import ago, call, listed, one_line, span, until
from agent_messaging_mcp.tools.positions import Position

if TYPE_CHECKING:
    from agent_messaging.models import MeetingMessage, MeetingStatusResponse, Speech, TurnSignal

_LONGEST_TITLE = 500


def signalled(signal: TurnSignal[Any], done: str, *, with_topic: bool) -> Result:
    """It is the caller's turn, or the meeting has ended; with what it has not heard yet."""
    said, skipped = _heard(signal)
    about = _topic_of_signal(signal) if with_topic else None
    if signal.reason == "meeting_ended":
        return _ended(signal, done, said, skipped)
    left = round(signal.seconds_left) if signal.seconds_left is not None else None
    next_ = call("speak", meeting=signal.handle, turn=signal.turn, message=...)
    facts: dict[str, Json] = {"meeting": signal.handle, "turn": signal.turn}
    if left is not None:
        facts["seconds_left"] = left
    facts["turns_left"] = signal.turns_left
    time = "" if left is None else f"{span(left)} left, "
    return Result(
        status="your_turn",
        happened=(f"{done}Your turn {signal.turn} in {signal.handle}: {time}{signal.turns_left} turns left.{skipped}"),
        do=f"{next_}, or without message to pass.",
        next=next_,
        facts=facts,
        about=about,
        events=signal.system,
        said=said or None,
        subjects=frozenset({signal.handle}),
    )


def _ended(signal: TurnSignal[Any], done: str, said: tuple[Entry, ...], skipped: str) -> Result:
    ending = signal.ended
    reason = str(ending.reason) if ending else "ended"
    outcome = ending.outcome if ending else None
    read = call("get_meeting", meeting=signal.handle)
    return Result(
        status="meeting_ended",
        happened=f"{done}Meeting {signal.handle} has ended ({reason}).{skipped}",
        do=f"carry on with your work; {read} has its history.",
        facts={"meeting": signal.handle, "ended": reason},
        about=Entry(label=f"outcome, by host {signal.host}", bodies=(body(outcome, name="outcome"),))
        if outcome
        else None,
        events=signal.system,
        said=said or None,
        subjects=frozenset({signal.handle}),
    )


def _heard(signal: TurnSignal[Any]) -> tuple[tuple[Entry, ...], str]:
    """The newest speeches that fit, oldest first, and how to read the ones before them."""
    entries = [_speech(signal.handle, speech) for speech in signal.said]
    shown = tuple(reversed(fitting(reversed(entries))))
    skipped = len(entries) - len(shown)
    if not skipped:
        return shown, ""
    earlier = call("get_meeting", meeting=signal.handle, after=str(max(signal.said[0].seq - 1, 0)))
    return shown, f" {skipped} earlier speeches are in {earlier}."


def _speech(meeting: str, speech: Speech[Any]) -> Entry:
    def rest(start: int) -> str:
        return call("get_meeting", meeting=meeting, after=f"{speech.seq}:{start}", limit=1)

    return Entry(
        label=f"{speech.speaker}, turn {speech.turn}",
        facts={"from": speech.speaker, "turn": speech.turn},
        bodies=(body(speech.message, rest=rest),),
    )


def _topic_of_signal(signal: TurnSignal[Any]) -> Entry | None:
    bodies = [body(signal.title, name="title", longest=_LONGEST_TITLE)] if signal.title else []
    if signal.agenda:
        bodies.append(body(signal.agenda, name="agenda", rest=lambda start: _agenda_rest(signal.handle, start)))
    return Entry(label=f"meeting {signal.handle}, host {signal.host}", bodies=tuple(bodies)) if bodies else None


def topic(status: MeetingStatusResponse, *, start: int = 0) -> Entry | None:
    """Title, agenda (from its character `start` on) and outcome, as their writers put them."""
    bodies = [body(status.title, name="title", longest=_LONGEST_TITLE)] if status.title else []
    if status.agenda:
        bodies.append(
            body(status.agenda, name="agenda", rest=lambda end: _agenda_rest(status.handle, end), start=start)
        )
    if status.outcome:
        bodies.append(body(status.outcome, name="outcome"))
    return (
        Entry(label=f"meeting {status.handle}, host {status.host_external_id}", bodies=tuple(bodies))
        if bodies
        else None
    )


def _agenda_rest(meeting: str, start: int) -> str:
    return call("get_meeting", meeting=meeting, after=f"0:{start}", limit=1)


def meeting_waits(status: MeetingStatusResponse, me: str, done: str) -> Result:
    """The window has ended before the turn came."""
    again = call("attend_meeting", meeting=status.handle, wait_seconds=long_wait())
    facts: dict[str, Json] = {"meeting": status.handle}
    if str(status.status) in ("created", "ready"):
        missing = [name for name, state in status.participant_status.items() if state == "invited"]
        start = call("start_meeting", meeting=status.handle, message=...)
        ready = str(status.status) == "ready"
        here = "Everybody needed is here" if ready else f"{listed(missing)} not here yet"
        if status.host_external_id == me:
            forced = call("start_meeting", meeting=status.handle, message=..., force=True)
            do = f"open it with {start}." if ready else f"{wait_with(again)}; or do without them: {forced}."
            next_ = start if ready else again
        else:
            if ready:
                here += f"; {status.host_external_id} can open it"
            do, next_ = f"{wait_with(again)}.", again
        needed = ready and status.host_external_id == me
        return Result(
            status="ready" if needed else "waiting",
            happened=f"{done}You attend {status.handle}, which has not started. {here}.",
            do=do,
            next=next_,
            facts=facts,
            subjects=frozenset({status.handle}),
            resume=None if needed else Resume("attend_meeting", {"meeting": status.handle}),
        )
    return Result(
        status="waiting",
        happened=f"{done}Not your turn in {status.handle} yet.{who_is_awaited(status)}",
        do=f"{wait_with(again)}; your turn will show in your inbox.",
        next=again,
        facts=facts,
        subjects=frozenset({status.handle}),
        resume=Resume("attend_meeting", {"meeting": status.handle}),
    )


def who_is_awaited(status: MeetingStatusResponse) -> str:
    """` Waiting for carol for 40 s: …`, with what happens at what time if nothing comes; or nothing."""
    awaited = status.waiting_for
    if awaited is None:
        return ""
    since = f" since {ago(awaited.since)}" if awaited.since else ""
    then = f"; in {span(until(awaited.next_at))}: {one_line(awaited.next_event)}" if awaited.next_at else ""
    return f" Waiting for {listed(awaited.agents)}{since}: {one_line(awaited.reason)}{then}."


def state_of(status: MeetingStatusResponse) -> dict[str, Json]:
    """The facts of a meeting. The number of the running turn is not among them: only a signal tells it to
    its holder.
    """
    facts: dict[str, Json] = {
        "meeting": status.handle,
        "host": status.host_external_id,
        "members": {name: str(state) for name, state in status.participant_status.items()},
        "quorum": status.quorum,
        "max_turns": status.max_turns,
    }
    if status.current_speaker_external_id:
        facts["speaker"] = status.current_speaker_external_id
    if status.next_in_order:
        facts["next_in_order"] = status.next_in_order
    if status.reason:
        facts["ended"] = str(status.reason)
    return facts


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Entries of a meeting's history that fit into a result, and how to read on."""

    entries: tuple[Entry, ...]
    do: str
    next: str


def history_page(
    status: MeetingStatusResponse, messages: Sequence[MeetingMessage[Any]], at: Position, most: int
) -> HistoryPage:
    """The page of `messages` at a position: the newest, or those after it."""
    entries = [
        history_entry(status.handle, message, at.start if message.seq == at.within else 0) for message in messages
    ]
    if at.after_seq is None:
        shown = tuple(reversed(fitting(reversed(entries))))
        first = messages[len(messages) - len(shown)].seq if shown else 1
        next_ = (
            call("get_meeting", meeting=status.handle, after=str(max(first - 1 - MOST_ITEMS, 0))) if first > 1 else ""
        )
        return HistoryPage(shown, f"read older entries with {next_}, or carry on." if next_ else "carry on.", next_)
    shown = fitting(entries)
    last = messages[len(shown) - 1].seq if shown else at.after_seq
    unseen = last < status.last_seq and bool(shown)
    next_ = call("get_meeting", meeting=status.handle, after=str(last)) if unseen else ""
    return HistoryPage(shown, f"read on with {next_}." if next_ else "carry on.", next_)


def history_entry(meeting: str, message: MeetingMessage[Any], start: int = 0) -> Entry:
    """One entry of a meeting's history, its text from character `start` on."""
    facts: dict[str, Json] = {
        "seq": message.seq,
        "from": message.sender or "the meeting",
        "sent": ago(message.created_at),
    }
    if message.sender is None or message.content is None:
        facts["kind"] = str(message.kind)
        words = message.text or f"{message.kind}{f' {message.agent}' if message.agent else ''}"
        return Entry(label=f"{message.seq} event, {ago(message.created_at)}", facts=facts, bodies=(body(words),))
    facts["turn"] = message.turn

    def rest(end: int) -> str:
        return call("get_meeting", meeting=meeting, after=f"{message.seq}:{end}", limit=1)

    label = f"{message.seq} {message.sender}, turn {message.turn}{f', from character {start}' if start else ''}"
    return Entry(label=label, facts=facts, bodies=(body(message.content, rest=rest, start=start),))
