"""Holds docs/requirements.md and the tests together: no requirement without a test, no test for an unknown one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "requirements.md"

_ROW = re.compile(r"^\| `(?P<id>[^`]+)` \| (?P<sentence>.+?) \| (?P<source>.+?) \|$", re.MULTILINE)
_MARK = re.compile(r'requirement\(\s*((?:"[^"]+"\s*,?\s*)+)\)')

# What the API design promises to raise, call by call.
DESIGN = {
    "AgentMessaging.register_organization": ["OrganizationAlreadyExistsError"],
    "AgentMessaging.register_agent": ["AgentAlreadyExistsError", "OrganizationNotFoundError"],
    "AgentMessaging.get_agent": ["AgentNotFoundError"],
    "AgentMessaging.get_organization": ["OrganizationNotFoundError"],
    "OneWayMessenger.send": ["AgentNotFoundError", "HandlerNotRegisteredError"],
    "SyncConversation.send_and_wait": ["AgentNotFoundError", "ConversationTimeoutError", "ConversationEndedError"],
    "SyncConversation.reply": ["AgentNotFoundError", "SessionNotFoundError", "InvalidSessionStateError"],
    "SyncConversation.end_conversation": ["AgentNotFoundError", "SessionNotFoundError"],
    "AsyncConversation.send": ["AgentNotFoundError"],
    "AsyncConversation.get_unread_messages": ["AgentNotFoundError"],
    "AsyncConversation.get_messages_from_agent": ["AgentNotFoundError"],
    "AsyncConversation.wait_for_message": ["AgentNotFoundError"],
    "AsyncConversation.resume_agent_handler": ["AgentNotFoundError", "HandlerNotRegisteredError"],
    "MeetingManager.create_meeting": ["AgentNotFoundError", "InvalidMeetingError"],
    "MeetingManager.attend_meeting": [
        "AgentNotFoundError",
        "MeetingNotFoundError",
        "AgentNotInMeetingError",
        "MeetingTimeoutError",
    ],
    "MeetingManager.start_meeting": [
        "AgentNotFoundError",
        "MeetingNotFoundError",
        "NotMeetingHostError",
        "InvalidMeetingStateError",
    ],
    "MeetingManager.speak": [
        "AgentNotFoundError",
        "MeetingNotFoundError",
        "NotCurrentSpeakerError",
        "AgentNotInMeetingError",
        "MeetingTimeoutError",
    ],
    "MeetingManager.end_meeting": ["AgentNotFoundError", "MeetingNotFoundError", "NotMeetingHostError"],
    "MeetingManager.leave_meeting": [
        "AgentNotFoundError",
        "MeetingNotFoundError",
        "AgentNotInMeetingError",
        "HostCannotLeaveError",
    ],
    "MeetingManager.get_meeting_status": ["MeetingNotFoundError"],
    "MeetingManager.get_meeting_history": ["MeetingNotFoundError"],
}

# The rows of the two tables of rulings in the protocol.
CONVERSATION_ROWS = [
    "reply",
    "correlation",
    "timeout",
    "late reply",
    "several open questions",
    "both sides ask at once",
    "end",
    "recipient's process dies",
    "asker's process dies",
    "retry",
]
MEETING_ROWS = [
    "ready",
    "start",
    "late joiners",
    "order",
    "named next speaker",
    "passing",
    "turn clock",
    "silence",
    "stale or concurrent speak",
    "speaker leaves",
    "host leaves",
    "host vanishes",
    "end",
    "re-attending",
    "after the end",
]


def rows() -> list[tuple[str, str, str]]:
    return [(row["id"], row["sentence"], row["source"]) for row in _ROW.finditer(PAGE.read_text(encoding="utf-8"))]


def ids_in_tests() -> set[str]:
    ids: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        if path != Path(__file__):
            for mark in _MARK.finditer(path.read_text(encoding="utf-8")):
                ids.update(re.findall(r'"([^"]+)"', mark[1]))
    return ids


def test_every_requirement_has_an_id_of_its_own() -> None:
    ids = [id for id, _, _ in rows()]
    assert len(ids) > 100
    assert sorted(ids) == sorted(set(ids))


def test_every_requirement_has_a_test() -> None:
    assert {id for id, _, _ in rows()} - ids_in_tests() == set()


def test_every_test_proves_a_requirement_that_is_written_down() -> None:
    assert ids_in_tests() - {id for id, _, _ in rows()} == set()


@pytest.mark.parametrize(("call", "error"), [(call, error) for call, errors in DESIGN.items() for error in errors])
def test_every_error_of_the_design_is_a_requirement(call: str, error: str) -> None:
    assert any(f"{call} Raises {error}" in source for _, _, source in rows())


@pytest.mark.parametrize("row", CONVERSATION_ROWS)
def test_every_ruling_on_conversations_is_a_requirement(row: str) -> None:
    assert any(f"protocol §5 “{row}”" in source for _, _, source in rows())


@pytest.mark.parametrize("row", MEETING_ROWS)
def test_every_ruling_on_meetings_is_a_requirement(row: str) -> None:
    assert any(f"protocol §7 “{row}”" in source for _, _, source in rows())
