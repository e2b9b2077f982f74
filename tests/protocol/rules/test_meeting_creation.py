"""What a new meeting must be like."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from agent_messaging.errors import (
    InvalidMeetingError,
)
from agent_messaging.rules.meeting import (
    MeetingState,
    Refusal,
    RefusalReason,
)
from tests.protocol.rules.playing import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    created,
)


@pytest.mark.requirement("meeting:create:members")
def test_the_host_comes_first_in_the_order_and_is_added_if_left_out() -> None:
    for agents in [(BOB, CAROL), (BOB, ALICE, CAROL)]:
        state = created(*agents, host=ALICE)
        assert isinstance(state, MeetingState)
        assert [(m.agent_id, m.position) for m in state.members] == [(ALICE, 0), (BOB, 1), (CAROL, 2)]


@pytest.mark.requirement("meeting:create:members")
@pytest.mark.parametrize(
    ("agents", "reason"),
    [
        ((ALICE, BOB, BOB), RefusalReason.DUPLICATE_AGENTS),
        ((ALICE, BOB, ALICE), RefusalReason.DUPLICATE_AGENTS),
        ((ALICE,), RefusalReason.TOO_FEW_AGENTS),
        ((), RefusalReason.TOO_FEW_AGENTS),
        (tuple(UUID(int=n) for n in range(1, 102)), RefusalReason.TOO_MANY_AGENTS),
    ],
)
def test_a_meeting_of_duplicates_too_few_or_too_many_is_invalid(
    agents: tuple[UUID, ...], reason: RefusalReason
) -> None:
    refused = created(*agents)

    assert isinstance(refused, Refusal)
    assert (refused.error, refused.reason) == (InvalidMeetingError, reason)


@pytest.mark.requirement("meeting:create:members")
def test_a_hundred_members_are_not_too_many() -> None:
    assert isinstance(created(*(UUID(int=n) for n in range(1, 101))), MeetingState)


@pytest.mark.requirement("meeting:create:limits")
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"quorum": 1}, RefusalReason.QUORUM_OUT_OF_RANGE),
        ({"quorum": 4}, RefusalReason.QUORUM_OUT_OF_RANGE),
        ({"max_turns": 0}, RefusalReason.MAX_TURNS_OUT_OF_RANGE),
        ({"turn_duration": 0.0}, RefusalReason.DURATION_OUT_OF_RANGE),
        ({"turn_duration": float("nan")}, RefusalReason.DURATION_OUT_OF_RANGE),
        ({"offer_timeout": float("inf")}, RefusalReason.DURATION_OUT_OF_RANGE),
        ({"start_by": -1.0}, RefusalReason.DURATION_OUT_OF_RANGE),
        ({"deadline": 0.0}, RefusalReason.DURATION_OUT_OF_RANGE),
        ({"deadline": DAY + 1}, RefusalReason.DEADLINE_TOO_FAR),
        ({"start_by": 60.0, "deadline": 60.0}, RefusalReason.START_AFTER_DEADLINE),
    ],
)
def test_a_limit_out_of_range_makes_a_meeting_invalid(settings: dict[str, Any], reason: RefusalReason) -> None:
    refused = created(ALICE, BOB, CAROL, **settings)

    assert isinstance(refused, Refusal)
    assert (refused.error, refused.reason) == (InvalidMeetingError, reason)
    assert refused.field in settings
