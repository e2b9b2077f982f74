"""Statements on meetings: reading one as of a moment, saving one transition, reading its history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from agent_messaging_db import keys
from agent_messaging_db.keys import Key
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import (
    EventRow,
    Floor,
    MeetingEvent,
    MeetingPhase,
    MeetingRow,
    MemberRow,
    MemberStatus,
    Quiet,
)
from agent_messaging_db.statements import load

_SQL = load("meetings")
_MEETING_FIELDS = MeetingRow._fields
_EVENT_FIELDS = [field.name for field in fields(EventRow)]
_MEMBER_FIELDS = MemberRow._fields


@dataclass(frozen=True, slots=True)
class NewMeeting:
    """A meeting to be created; durations and deadlines in seconds."""

    id: UUID
    host_id: UUID
    members: tuple[UUID, ...]
    invitations: tuple[UUID, ...]
    title: str | None
    agenda: str | None
    turn_duration: float | None
    offer_timeout: float
    quorum: int | None
    start_by: float | None
    deadline: float
    max_turns: int
    metadata: str | None = None
    key: Key | None = None
    hop: int = 0


@dataclass(frozen=True, slots=True)
class NewEventRow:
    """An entry to be written with a transition."""

    seq: int
    event: MeetingEvent
    agent_id: UUID | None
    turn: int
    data: str
    message_id: UUID | None = None
    content: str | None = None
    metadata: str | None = None


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks that a transition starts, from the moment at which it is saved.

    `floor`: the floor was granted; `floor_deadline`: set anew, to so many seconds (None: no deadline) if
    `resets_deadline`.
    """

    floor: bool = False
    resets_deadline: bool = False
    floor_deadline: float | None = None
    started: bool = False
    ended: bool = False


async def insert_meeting(connection: Connection, *, new: NewMeeting) -> int | None:
    """Create a meeting with its invitations; gives its number, or None, and nothing was created, if the host is
    silenced. Raises Conflict if the key is taken.
    """
    key = new.key
    if key is not None:
        await keys.drop_old_key(connection, key=key)
    return await connection.fetchval(
        _SQL["insert_meeting"],
        new.id,
        new.host_id,
        new.title,
        new.agenda,
        new.turn_duration,
        new.offer_timeout,
        new.quorum,
        new.start_by,
        new.deadline,
        new.max_turns,
        list(new.members),
        list(new.invitations),
        new.metadata,
        None if key is None else key.key,
        None if key is None else key.hash,
        new.hop,
    )


async def get_meeting(
    connection: Connection, *, meeting: UUID
) -> tuple[MeetingRow, tuple[MemberRow, ...], datetime, frozenset[UUID]] | None:
    """Read a meeting, its members in order, the database's clock at that moment, and who of them is silenced."""
    row = await connection.fetchrow(_SQL["get_meeting"], meeting)
    if row is None:
        return None
    values: dict[str, Any] = {name: row[name] for name in _MEETING_FIELDS}
    values |= {"phase": MeetingPhase(row["phase"]), "floor": Floor(row["floor"])}
    members = tuple(_member(member) for member in row["members"])
    return MeetingRow(**values), members, row["now"], frozenset(row["silenced"] or ())


async def lock_meeting(connection: Connection, *, meeting: UUID) -> None:
    """Hold the meeting's row until the end of the transaction."""
    await connection.execute(_SQL["lock_meeting"], meeting)


async def save_meeting(
    connection: Connection,
    *,
    before: MeetingRow,
    after: MeetingRow,
    members: Sequence[MemberRow],
    events: Sequence[NewEventRow],
    clocks: Clocks,
    unless_due: bool,
    invitations_of: Sequence[UUID] = (),
    key: Key | None = None,
) -> tuple[datetime | None, datetime] | None:
    """Save a transition from `before` to `after`, with the `members` that changed. `invitations_of`: who came
    or declined.

    Gives the floor's deadline and the database's clock, or None if the meeting has moved on since it was
    read, or (with `unless_due`) if a deadline has passed meanwhile: then nothing was written. Raises Conflict
    if the key is taken.
    """
    if key is not None:
        await keys.drop_old_key(connection, key=key)
    row = await connection.fetchrow(
        _SQL["save_meeting"],
        before.id,
        before.version,
        unless_due,
        after.host_id,
        after.phase,
        after.reason,
        after.outcome,
        after.turn,
        after.floor,
        after.holder_id,
        clocks.floor,
        clocks.resets_deadline,
        clocks.floor_deadline,
        after.seen_seq,
        after.last_seq,
        clocks.started,
        clocks.ended,
        *([getattr(member, name) for member in members] for name in _MEMBER_FIELDS),
        [event.seq for event in events],
        [event.event for event in events],
        [event.agent_id for event in events],
        [event.turn for event in events],
        [event.message_id for event in events],
        [event.content for event in events],
        [event.metadata for event in events],
        [event.data for event in events],
        None if key is None else key.agent_id,
        None if key is None else key.key,
        None if key is None else key.hash,
        list(invitations_of),
    )
    return None if row is None else (row["floor_deadline"], row["now"])


async def see_turn(
    connection: Connection, *, before: MeetingRow, after: MeetingRow, clocks: Clocks, unless_due: bool, after_seq: int
) -> tuple[datetime | None, datetime, list[EventRow]] | None:
    """Save that the holder has seen its turn, and read the entries after a number.

    Gives the floor's deadline, the database's clock and the entries, or None where `save_meeting` would.
    """
    rows = await connection.fetch(
        _SQL["see_turn"],
        before.id,
        before.version,
        unless_due,
        after.seen_seq,
        clocks.resets_deadline,
        clocks.floor_deadline,
        after.holder_id,
        after_seq,
    )
    if not rows:
        return None
    events = [_event({name: row[name] for name in _EVENT_FIELDS}) for row in rows if row["seq"] is not None]
    return rows[0]["floor_deadline"], rows[0]["now"], events


async def events_after(connection: Connection, *, meeting: UUID, seq: int, limit: int | None) -> list[EventRow]:
    return [_event(row) for row in await connection.fetch(_SQL["events_after"], meeting, seq, limit)]


async def latest_events(connection: Connection, *, meeting: UUID, limit: int) -> list[EventRow]:
    """Give the newest entries, in order."""
    return [_event(row) for row in reversed(await connection.fetch(_SQL["latest_events"], meeting, limit))]


async def words_said(
    connection: Connection, *, meeting: UUID, message: UUID, turn: int | None, agent: UUID
) -> EventRow | None:
    """Give a speech or pass of the agent: the one with this id, or else the one of this turn."""
    row = await connection.fetchrow(_SQL["words_said"], meeting, agent, message, turn)
    return None if row is None else _event(row)


async def last_of_turn(connection: Connection, *, meeting: UUID, turn: int) -> EventRow | None:
    row = await connection.fetchrow(_SQL["last_of_turn"], meeting, turn)
    return None if row is None else _event(row)


async def meeting_by_number(connection: Connection, *, number: int) -> UUID | None:
    return await connection.fetchval(_SQL["meeting_by_number"], number)


async def is_member(connection: Connection, *, meeting: UUID, agent: UUID) -> bool:
    return await connection.fetchval(_SQL["is_member"], meeting, agent)


async def meetings_of_agent(connection: Connection, *, agent: UUID, limit: int) -> list[UUID]:
    return [row["id"] for row in await connection.fetch(_SQL["meetings_of_agent"], agent, limit)]


async def followed_from(connection: Connection) -> dict[UUID, int]:
    return {row["id"]: row["last_seq"] for row in await connection.fetch(_SQL["followed_from"])}


async def changed_since(connection: Connection, *, moment: datetime) -> dict[UUID, int]:
    return {row["id"]: row["last_seq"] for row in await connection.fetch(_SQL["changed_since"], moment)}


async def database_time(connection: Connection) -> datetime:
    return await connection.fetchval(_SQL["database_time"])


def _member(record: Any) -> MemberRow:
    values: dict[str, Any] = {name: record[name] for name in _MEMBER_FIELDS}
    quiet = values["quiet"]
    values |= {"status": MemberStatus(values["status"]), "quiet": None if quiet is None else Quiet(quiet)}
    return MemberRow(**values)


def _event(record: Any) -> EventRow:
    values: dict[str, Any] = {**record, "event": MeetingEvent(record["event"])}
    return EventRow(**values)
