"""The functions that store many things at once: what belongs together stays together, and in its order."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from agent_messaging_db import conversations, inbox, presence
from agent_messaging_db.conversations import Answering, NewMessage, Sending
from agent_messaging_db.keys import Key
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import MessageKind
from tests.conftest import connect, execute
from tests.protocol.world import eventually

ALICE, BOB, CAROL = (UUID(int=number) for number in (1, 2, 3))
KINDS = tuple(MessageKind)
MANY = 40


def message(sender: UUID, recipient: UUID, content: int) -> NewMessage:
    kind = MessageKind.ASYNC if content % 2 else MessageKind.ONE_WAY
    return NewMessage(uuid4(), kind, sender, recipient, str(content), None)


async def unread(connection: Connection, agent: UUID) -> list[tuple[UUID, str | None]]:
    rows = await inbox.peek(connection, agent=agent, sender=None, limit=1000, kinds=KINDS)
    return [(row.sender_id, row.content) for row in rows]


@pytest.mark.requirement("batch:order")
async def test_messages_that_go_out_together_keep_their_order_in_conversation_and_inbox(dsn: str) -> None:
    ways = [(ALICE, BOB), (BOB, ALICE), (CAROL, BOB), (ALICE, CAROL)]
    rows = [message(*ways[number % len(ways)], number) for number in range(MANY)]
    async with connect(dsn) as connection:
        for first in range(0, MANY, MANY // 2):
            batch = [Sending((row,)) for row in rows[first : first + MANY // 2]]
            verdicts = await conversations.send_messages(connection, batch=batch, again=False)
            assert [verdict.verdict for verdict in verdicts] == ["sent"] * len(batch)
        for pair in ((ALICE, BOB), (CAROL, BOB), (ALICE, CAROL)):
            found = await conversations.conversation_after(connection, one=pair[0], other=pair[1], seq=0, limit=1000)
            assert [row.id for row in found] == [row.id for row in rows if {row.sender_id, row.recipient_id} == {*pair}]
            assert [row.seq for row in found] == list(range(1, len(found) + 1))
        for agent in (ALICE, BOB, CAROL):
            expected = [(row.sender_id, row.content) for row in rows if row.recipient_id == agent]
            assert await unread(connection, agent) == expected


@pytest.mark.requirement("batch:results")
async def test_of_retries_among_new_messages_each_gets_its_own_first_result(dsn: str) -> None:
    first = [Sending((message(ALICE, BOB, number),), Key(ALICE, f"k{number}", b"h" * 32)) for number in range(6)]
    async with connect(dsn) as connection:
        await conversations.send_messages(connection, batch=first, again=False)
        retries = [Sending((message(ALICE, BOB, 100 + number),), first[number].key) for number in (5, 1, 3)]
        other = Sending((message(ALICE, BOB, 200),), Key(ALICE, "k0", b"another payload of the same key."))
        fresh = [
            Sending((message(ALICE, BOB, 300),)),
            Sending((message(ALICE, BOB, 301),), Key(ALICE, "new", b"h" * 32)),
        ]
        batch = [fresh[0], retries[0], other, retries[1], fresh[1], retries[2]]
        verdicts = await conversations.send_messages(connection, batch=batch, again=False)
        assert [verdict.verdict for verdict in verdicts] == [
            "sent",
            "replayed",
            "conflict",
            "replayed",
            "sent",
            "replayed",
        ]
        for verdict, number in ((verdicts[1], 5), (verdicts[3], 1), (verdicts[5], 3)):
            assert verdict.result == first[number].result
        assert [content for _, content in await unread(connection, BOB)] == ["0", "1", "2", "3", "4", "5", "300", "301"]


@pytest.mark.requirement("batch:again")
async def test_a_batch_whose_first_try_was_stored_unheard_is_stored_once(dsn: str) -> None:
    stored = [
        Sending((message(ALICE, BOB, 0),)),
        Sending((message(ALICE, BOB, 1),), Key(ALICE, "k", b"h" * 32)),
        Sending((message(ALICE, BOB, 2), message(ALICE, CAROL, 2))),
    ]
    fresh = Sending((message(CAROL, BOB, 3),))
    async with connect(dsn) as connection:
        await conversations.send_messages(connection, batch=stored, again=False)
        verdicts = await conversations.send_messages(connection, batch=[*stored, fresh], again=True)
        assert [verdict.verdict for verdict in verdicts] == ["sent"] * 4
        assert await unread(connection, BOB) == [(ALICE, "0"), (ALICE, "1"), (ALICE, "2"), (CAROL, "3")]
        assert await unread(connection, CAROL) == [(ALICE, "2")]


@pytest.mark.requirement("batch:again")
async def test_an_answer_whose_first_try_was_stored_unheard_is_the_answer(dsn: str) -> None:
    async with connect(dsn) as connection:
        question = await ask(connection)
        answer = Answering(question, uuid4(), MessageKind.ANSWER, BOB, '"yes"', None, Key(BOB, "k", b"h" * 32))
        other = answer_to(question, '"no"')
        for again in (False, True):
            (verdict,) = await conversations.answer_questions(connection, batch=[answer], again=again)
            assert (verdict.verdict, verdict.asker_id) == ("answered", ALICE)
        verdicts = await conversations.answer_questions(connection, batch=[other, answer], again=True)
        assert [verdict.verdict for verdict in verdicts] == ["refused", "answered"]
        assert await unread(connection, ALICE) == [(BOB, '"yes"')]


@pytest.mark.requirement("batch:results")
async def test_of_two_answers_in_one_batch_the_first_is_the_answer(dsn: str) -> None:
    async with connect(dsn) as connection:
        first, second = [await ask(connection) for _ in range(2)]
        batch = [
            answer_to(second, '"second"'),
            answer_to(first, '"first"'),
            answer_to(first, '"too late"'),
            answer_to(first, '"no"', MessageKind.DECLINE),
        ]
        verdicts = await conversations.answer_questions(connection, batch=batch, again=False)
        assert [verdict.verdict for verdict in verdicts] == ["answered", "answered", "refused", "refused"]
        assert await unread(connection, ALICE) == [(BOB, '"second"'), (BOB, '"first"')]


@pytest.mark.requirement("batch:results")
async def test_of_two_processes_that_answer_in_one_moment_the_second_is_refused(dsn: str) -> None:
    async with connect(dsn) as one, connect(dsn) as other, connect(dsn) as watching:
        question, _ = [await ask(one) for _ in range(2)]
        async with one.transaction():
            (verdict,) = await conversations.answer_questions(one, batch=[answer_to(question, '"one"')], again=False)
            assert verdict.verdict == "answered"
            answering = asyncio.create_task(
                conversations.answer_questions(other, batch=[answer_to(question, '"other"')], again=False)
            )
            try:

                async def is_held_up() -> bool:
                    pid = other.get_server_pid()
                    return await watching.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid)

                await eventually(is_held_up)
            except BaseException:
                answering.cancel()
                raise
        async with asyncio.timeout(15):
            (verdict,) = await answering
        assert (verdict.verdict, verdict.state) == ("refused", "answered")
        assert await unread(watching, ALICE) == [(BOB, '"one"')]


async def ask(connection: Connection) -> UUID:
    """A question of alice to bob; gives its id."""
    question = NewMessage(uuid4(), MessageKind.QUESTION, ALICE, BOB, '"?"', None, reply_seconds=60)
    await conversations.send_messages(connection, batch=[Sending((question,))], again=False)
    return question.id


def answer_to(question: UUID, content: str, kind: MessageKind = MessageKind.ANSWER) -> Answering:
    return Answering(question, uuid4(), kind, BOB, content, None)


@pytest.mark.requirement("batch:alone")
async def test_what_is_stored_alone_is_stored_as_in_a_batch(dsn: str) -> None:
    """One row has statements of its own: the same calls, together and one after the other, leave the same rows."""
    together, alone = people(0), people(100)
    async with connect(dsn) as connection:
        await presence.renew_lease(connection, process=PROCESS, seconds=60)
        batch, singles = sendings(together), sendings(alone)
        verdicts = await conversations.send_messages(connection, batch=batch, again=False, process=PROCESS)
        for verdict, single in zip(verdicts, singles, strict=True):
            (same,) = await conversations.send_messages(connection, batch=[single], again=False, process=PROCESS)
            assert (same.verdict, len(same.taken)) == (verdict.verdict, len(verdict.taken))
            for one, other in zip(same.taken, verdict.taken, strict=True):
                assert (one.hop, one.session_id is None, one.reply_by is None) == (
                    other.hop,
                    other.session_id is None,
                    other.reply_by is None,
                )
        await execute(dsn, EXPIRE.format(together[3]), EXPIRE.format(alone[3]))
        answers, answers_alone = answerings(batch, together), answerings(singles, alone)
        verdicts = await conversations.answer_questions(connection, batch=answers, again=False)
        for verdict, single in zip(verdicts, answers_alone, strict=True):
            (same,) = await conversations.answer_questions(connection, batch=[single], again=False)
            assert same.verdict == verdict.verdict
            assert (same.outcome is None) == (verdict.outcome is None)
        assert {verdict.verdict for verdict in verdicts} == {"answered", "declined", "late", "unknown"}
        for table in COMPARED:
            rows = [await connection.fetch(COMPARED[table], who) for who in (together, alone)]
            assert rows[0], table
            assert [tuple(row) for row in rows[0]] == [tuple(row) for row in rows[1]], table


PROCESS = UUID(int=99)
EXPIRE = "UPDATE questions SET reply_by = clock_timestamp() WHERE asker_id = '{}'"
# Who is who is its place among the people; what lies between two moments is not compared.
COMPARED = {
    "pairs": """SELECT array_position($1::uuid[], low_id), array_position($1, high_id), last_seq, open_low, open_high,
            sync_session IS NULL, async_session IS NULL
        FROM pairs WHERE low_id = ANY ($1) ORDER BY 1, 2""",
    "sessions": """SELECT array_position($1::uuid[], s.low_id), array_position($1, s.high_id), s.type, m.seq,
            s.id IN (p.sync_session, p.async_session)
        FROM sessions s JOIN messages m ON m.id = s.id JOIN pairs p ON p.id = s.pair_id
        WHERE s.low_id = ANY ($1) ORDER BY 1, 2, 3""",
    "messages": """SELECT array_position($1::uuid[], sender_id), array_position($1, recipient_id), seq, kind, content,
            metadata, late, hop, session_id IS NULL, reply_to IS NULL
        FROM messages WHERE sender_id = ANY ($1) ORDER BY 1, 2, 3""",
    "questions": """SELECT array_position($1::uuid[], asker_id), array_position($1, answerer_id), m.seq, state, q.late,
            awaited_by, answer_id IS NULL
        FROM questions q JOIN messages m ON m.id = q.id WHERE asker_id = ANY ($1) ORDER BY 1, 2, 3""",
    "deliveries": """SELECT array_position($1::uuid[], d.recipient_id), m.seq, d.kind, d.read_at IS NULL, d.claimed_by,
            d.attempt
        FROM deliveries d JOIN messages m ON m.id = d.message_id WHERE d.recipient_id = ANY ($1) ORDER BY 1, d.id""",
}


def people(first: int) -> list[UUID]:
    return [UUID(int=10_000 + first + number) for number in range(4)]


def sendings(who: list[UUID]) -> list[Sending]:
    """Of each kind, in both directions, with and without room in a handler."""
    alice, bob, carol, dave = who

    def new(kind: MessageKind, sender: UUID, recipient: UUID, content: str, **options: Any) -> Sending:
        return Sending((NewMessage(uuid4(), kind, sender, recipient, content, None, **options),))

    asked = {"reply_seconds": 60.0, "awaited_by": PROCESS}
    return [
        new(MessageKind.ASYNC, alice, bob, "1"),
        new(MessageKind.ONE_WAY, bob, alice, "2", hop=3),
        new(MessageKind.QUESTION, alice, bob, "3", **asked),
        new(MessageKind.QUESTION, bob, alice, "4", reply_seconds=60.0),
        new(MessageKind.ASYNC, bob, alice, "5"),
        new(MessageKind.QUESTION, alice, carol, "6", taken=True, **asked),
        new(MessageKind.ONE_WAY, bob, carol, "7", taken=True, hop=2),
        new(MessageKind.QUESTION, dave, alice, "8", **asked),
    ]


def answerings(sent: list[Sending], who: list[UUID]) -> list[Answering]:
    questions = {sending.messages[0].content: sending.messages[0] for sending in sent}
    alice, bob, carol, _ = who
    return [
        Answering(questions["3"].id, uuid4(), MessageKind.ANSWER, bob, "yes", None),
        Answering(questions["4"].id, uuid4(), MessageKind.DECLINE, alice, "no", None),
        Answering(questions["6"].id, uuid4(), MessageKind.ANSWER, bob, "not mine", None),
        Answering(questions["6"].id, uuid4(), MessageKind.ANSWER, carol, "mine", "{}"),
        Answering(questions["8"].id, uuid4(), MessageKind.ANSWER, alice, "late", None),
    ]
