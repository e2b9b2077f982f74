"""The invariants of the protocol as the database holds them: what must not be is refused, each by its constraint."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import pytest

from tests.conftest import connect, execute

# In these statements @1, @2 and @3 are ids; nothing has the third one.
SETTING = """
INSERT INTO organizations (id, external_id, name) VALUES (@1, 'org', 'Org');
INSERT INTO agents (id, external_id, organization_id, name) VALUES
    (@1, 'alice', @1, 'Alice'), (@2, 'bob', @1, 'Bob');
INSERT INTO processes (id, lease_until) VALUES (@1, clock_timestamp());
INSERT INTO pairs (low_id, high_id, last_seq) VALUES (@1, @2, 1);
INSERT INTO sessions (id, pair_id, low_id, high_id, type) SELECT @1, id, @1, @2, 'sync' FROM pairs;
INSERT INTO messages (id, pair_id, seq, sender_id, recipient_id, kind, content, created_at)
    SELECT @1, id, 1, @1, @2, 'async', '1', clock_timestamp() FROM pairs;
INSERT INTO questions (id, pair_id, session_id, asker_id, answerer_id, reply_by)
    SELECT @1, id, @1, @1, @2, clock_timestamp() FROM pairs;
INSERT INTO deliveries (message_id, recipient_id, sender_id, kind) VALUES (@1, @2, @1, 'async');
INSERT INTO idempotency_keys (agent_id, key, hash, result) VALUES (@1, 'k', 'h', 'r');
INSERT INTO organization_permissions (organization_id, allows_id) VALUES (@1, @1);
INSERT INTO attachments (agent_id, kind, process_id) VALUES (@1, 'wait', @1);
INSERT INTO inbox_cursors (agent_id, message_ids) VALUES (@1, '{}');
INSERT INTO tokens (id, prefix, sha256, agent_id) VALUES (@1, 'prefix00', sha256('x'), @1);
INSERT INTO tasks (id, agent_id, resume, created_at, updated_at, ends_at, expires_at)
    VALUES ('task', @1, '{}', now(), now(), now(), now());
INSERT INTO meetings (id, host_id, offer_timeout, deadline, max_turns)
    VALUES (@1, @1, 1, clock_timestamp(), 5);
INSERT INTO meeting_members (meeting_id, agent_id, invitation_id, position) VALUES (@1, @1, @1, 0);
INSERT INTO meeting_events (meeting_id, seq, event, turn, message_id, content) VALUES
    (@1, 1, 'agent_spoke', 1, @1, '1');
"""
MESSAGE = """
INSERT INTO messages (id, pair_id, seq, sender_id, recipient_id, kind, content, meeting_id, reply_to, created_at)
SELECT @3, :pair, :seq, @1, @2, :kind, :content, NULL, NULL, clock_timestamp()
"""
ACTIVE = "UPDATE meetings SET phase = 'active', floor = 'offered', holder_id = @1, floor_deadline = clock_timestamp()"
EVENT = "INSERT INTO meeting_events (meeting_id, seq, event, turn, message_id, content) VALUES"
DELIVERY = "INSERT INTO deliveries (message_id, recipient_id, sender_id, kind) VALUES"
MEMBER = "INSERT INTO meeting_members (meeting_id, agent_id, invitation_id, position) VALUES"
AGENT = "INSERT INTO agents (id, external_id, organization_id, name) VALUES"
PERMISSION = "INSERT INTO organization_permissions (organization_id, allows_id) VALUES"
KEY = "INSERT INTO idempotency_keys (agent_id, key, hash, result) VALUES"
TOKEN = "INSERT INTO tokens (id, prefix, sha256, agent_id) VALUES"


def message(pair: str, seq: str, kind: str, content: str = "'1'") -> str:
    statement = MESSAGE.replace(":pair", pair).replace(":seq", seq).replace(":kind", kind).replace(":content", content)
    return statement + (" FROM pairs" if pair == "id" else "")


FORBIDDEN: dict[str, str] = {
    "installation_pkey": "INSERT INTO installation DEFAULT VALUES",
    "there_is_one_installation": "INSERT INTO installation (only_row) VALUES (false)",
    "organizations_external_id_key": "INSERT INTO organizations (id, external_id, name) VALUES (@2, 'org', 'x')",
    "agents_external_id_key": AGENT + " (@3, 'bob', @1, '')",
    "agents_organization_id_fkey": "UPDATE agents SET organization_id = @3",
    "organization_permissions_pkey": PERMISSION + " (@1, @1)",
    "organization_permissions_organization_id_fkey": "UPDATE organization_permissions SET organization_id = @3",
    "organization_permissions_allows_id_fkey": "UPDATE organization_permissions SET allows_id = @3",
    "attachments_kind_check": "UPDATE attachments SET kind = 'ghost'",
    "attachments_pkey": "INSERT INTO attachments (agent_id, kind, process_id) VALUES (@1, 'wait', @1)",
    "attachments_process_id_fkey": "UPDATE attachments SET process_id = @3",
    "pairs_pkey": "INSERT INTO pairs (low_id, high_id, last_seq) VALUES (@1, @2, 1)",
    "pair_is_two_agents": "INSERT INTO pairs (low_id, high_id, last_seq) VALUES (@2, @1, 1)",
    "at_most_eight_open_questions": "UPDATE pairs SET open_low = 9",
    "sessions_type_check": "UPDATE sessions SET type = 'other'",
    "one_live_session_per_pair_and_type": "INSERT INTO sessions (id, pair_id, low_id, high_id, type) "
    "SELECT @2, pair_id, low_id, high_id, type FROM sessions",
    "messages_kind_check": "UPDATE messages SET kind = 'shout'",
    "messages_by_pair": message("id", "1", "'async'"),
    "only_invitations_are_outside_a_pair": message("NULL", "NULL", "'async'"),
    "numbered_within_its_pair": message("id", "NULL", "'async'"),
    "only_invitations_are_empty": message("id", "2", "'async'", "NULL"),
    "invitations_are_to_a_meeting": message("NULL", "NULL", "'invitation'", "NULL"),
    "answers_are_to_a_question": message("id", "2", "'answer'"),
    "questions_state_check": "UPDATE questions SET state = 'forgotten'",
    "answered_exactly_when_there_is_an_answer": "UPDATE questions SET state = 'answered'",
    "only_answers_are_late": "UPDATE questions SET late = true",
    "deliveries_pkey": DELIVERY + " (@1, @2, @1, 'x')",
    "idempotency_keys_pkey": KEY + " (@1, 'k', 'x', 'y')",
    "silences_pkey": "INSERT INTO silences (subject_id) VALUES (@1), (@1)",
    "tokens_prefix_key": TOKEN + " (@2, 'prefix00', sha256('y'), @1)",
    "tokens_agent_id_fkey": "UPDATE tokens SET agent_id = @3",
    "a_prefix_has_eight_signs": "UPDATE tokens SET prefix = 'prefix0'",
    "a_sha256_has_32_bytes": "UPDATE tokens SET sha256 = sha384('x')",
    "tokens_expire_after_their_creation": "UPDATE tokens SET expires_at = created_at - interval '1 microsecond'",
    "tasks_agent_id_fkey": "UPDATE tasks SET agent_id = @3",
    "a_task_has_a_known_state": "UPDATE tasks SET state = 'failed'",
    "only_completed_tasks_have_results": "UPDATE tasks SET result = '{}'",
    "tasks_expire_after_their_end": "UPDATE tasks SET expires_at = ends_at - interval '1 second'",
    "meetings_host_id_fkey": "UPDATE meetings SET host_id = @3",
    "meetings_phase_check": "UPDATE meetings SET phase = 'paused'",
    "meetings_reason_check": "UPDATE meetings SET phase = 'ended', reason = 'bored', ended_at = clock_timestamp()",
    "meetings_turn_duration_check": "UPDATE meetings SET turn_duration = 0",
    "meetings_offer_timeout_check": "UPDATE meetings SET offer_timeout = 0",
    "meetings_quorum_check": "UPDATE meetings SET quorum = 1",
    "meetings_max_turns_check": "UPDATE meetings SET max_turns = 0, turn = -1",
    "meetings_floor_check": "UPDATE meetings SET phase = 'active', floor = 'taken', holder_id = @1",
    "active_exactly_when_there_is_a_floor": "UPDATE meetings SET phase = 'active'",
    "a_floor_has_a_holder": ACTIVE.replace("holder_id = @1", "holder_id = NULL"),
    "an_offer_has_a_deadline": ACTIVE.replace("clock_timestamp()", "NULL"),
    "seen_says_what_was_seen": ACTIVE.replace("offered", "seen"),
    "ended_has_a_reason": "UPDATE meetings SET phase = 'ended', ended_at = clock_timestamp()",
    "turns_are_limited": "UPDATE meetings SET turn = 6",
    "meeting_members_pkey": MEMBER + " (@1, @1, @1, 7)",
    "meeting_members_meeting_id_position_key": MEMBER + " (@1, @2, @1, 0)",
    "meeting_members_meeting_id_fkey": "UPDATE meeting_members SET meeting_id = @3",
    "meeting_members_agent_id_fkey": "UPDATE meeting_members SET agent_id = @3",
    "meeting_members_status_check": "UPDATE meeting_members SET status = 'asleep'",
    "meeting_members_quiet_check": "UPDATE meeting_members SET quiet = 'shy'",
    "meeting_events_event_check": EVENT + " (@1, 2, 'agent_snored', 1, NULL, NULL)",
    "meeting_events_pkey": EVENT + " (@1, 1, 'agent_left', 1, NULL, NULL)",
    "meeting_events_message_id_key": EVENT + " (@1, 2, 'agent_spoke', 1, @1, '1')",
    "a_speech_has_words": EVENT + " (@1, 2, 'agent_spoke', 1, NULL, NULL)",
}
"""By the name of the constraint: a statement that would bring about what it forbids, and nothing else forbidden."""

ALSO: dict[str, list[str]] = {
    "at_most_eight_open_questions": ["UPDATE pairs SET open_high = 9", "UPDATE pairs SET open_low = -1"],
    "answered_exactly_when_there_is_an_answer": [
        "UPDATE questions SET state = 'declined'",
        "UPDATE questions SET answer_id = @1",
        "UPDATE questions SET state = 'cancelled', answer_id = @1",
    ],
    "only_invitations_are_empty": ["UPDATE messages SET content = NULL"],
    "a_prefix_has_eight_signs": [
        "UPDATE tokens SET prefix = 'prefix000'",
        "UPDATE tokens SET prefix = 'Prefix00'",
        "UPDATE tokens SET prefix = E'prefix00\\n'",
    ],
    "only_completed_tasks_have_results": ["UPDATE tasks SET state = 'completed'"],
    "tasks_expire_after_their_end": ["UPDATE tasks SET ends_at = created_at - interval '1 second'"],
    "a_sha256_has_32_bytes": ["UPDATE tokens SET sha256 = ''", "UPDATE tokens SET sha256 = sha224('x')"],
    "ended_has_a_reason": [
        "UPDATE meetings SET reason = 'by_host'",
        "UPDATE meetings SET ended_at = clock_timestamp()",
        "UPDATE meetings SET phase = 'ended', reason = 'by_host'",
    ],
    "a_floor_has_a_holder": ["UPDATE meetings SET holder_id = @1"],
    "seen_says_what_was_seen": ["UPDATE meetings SET seen_seq = 1"],
    "active_exactly_when_there_is_a_floor": ["UPDATE meetings SET floor = 'seen', seen_seq = 1, holder_id = @1"],
    "a_speech_has_words": [EVENT + " (@1, 2, 'agent_left', 1, NULL, '1')"],
}
SURROGATES = {
    *("organizations", "agents", "processes", "sessions", "messages", "questions", "inbox_cursors", "meetings"),
    *("tokens", "tasks"),
}
"""Tables whose key is an id made for the row; a question's is that of its message."""


def written(statement: str) -> str:
    return re.sub(r"@(\d)", r"'00000000-0000-0000-0000-00000000000\1'", statement)


async def refused_by(connection: asyncpg.Connection[Any], statement: str) -> str | None:
    """The name of the constraint that refuses the statement."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(written(statement))
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except asyncpg.IntegrityConstraintViolationError as error:
        return error.constraint_name
    finally:
        await transaction.rollback()
    return None


@pytest.mark.requirement("constraints:refuse")
async def test_the_database_refuses_every_state_that_must_not_be_by_its_constraint(dsn: str) -> None:
    await execute(dsn, written(SETTING))
    wrong: dict[str, list[Any]] = {}
    async with connect(dsn) as connection:
        for name, statement in FORBIDDEN.items():
            for forbidden in (statement, *ALSO.get(name, ())):
                if (refusing := await refused_by(connection, forbidden)) != name:
                    wrong.setdefault(name, []).append((forbidden, refusing))
    assert wrong == {}


@pytest.mark.requirement("constraints:refuse")
async def test_every_constraint_and_unique_index_is_tested_here(dsn: str) -> None:
    async with connect(dsn) as connection:
        constraints = await connection.fetch(
            "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
            " AND contype IN ('c', 'u', 'p', 'f') AND conrelid::regclass::text <> 'schema_migrations'"
        )
        indexes = await connection.fetch(
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
            " WHERE indisunique AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'"
        )
        sources = await connection.fetch("SELECT prosrc FROM pg_proc WHERE proname LIKE 'holds_of_%'")
    named = {name for row in sources for name in re.findall(r"THEN\s+'(\w+)'", row[0])}
    asking = {"message_holds", "question_holds", "meeting_holds"}
    assert len(sources) == len(asking)
    names = {row[0] for row in [*constraints, *indexes]} - asking | named
    generated = {"questions_number_key", "meetings_number_key"}  # numbers that the database gives out itself

    assert names - generated - {f"{table}_pkey" for table in SURROGATES} == FORBIDDEN.keys()
