"""Ids and handles: sorted as they were made, spoken without confusion, and read back only as they were written."""

from __future__ import annotations

import itertools
import time
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_messaging.errors import InvalidIdentifierError
from agent_messaging.identifiers import HandleKind, checked_external_id, handle, number_of, parse_uuid
from agent_messaging_db.ids import new_id

BIGINT = 2**63 - 1


@pytest.mark.requirement("identifiers:uuid7")
def test_ids_are_uuids_of_version_7_that_sort_as_they_were_made() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(20_000)]

    assert ids == sorted(set(ids))
    assert {(id.version, id.variant) for id in ids} == {(7, "specified in RFC 4122")}
    assert before <= ids[0].int >> 80 <= before + 60_000


@pytest.mark.requirement("identifiers:handle")
@given(st.integers(0, BIGINT), st.sampled_from(HandleKind))
@example(0, HandleKind.MEETING)
@example(BIGINT, HandleKind.QUESTION)
def test_a_handle_says_its_kind_and_gives_its_number_back(number: int, kind: HandleKind) -> None:
    written = handle(kind, number)

    assert written[0] == kind
    assert number_of(kind, written) == number_of(kind, f" {written.upper()} ") == number
    assert all(number_of(other, written) is None for other in HandleKind if other is not kind)


@pytest.mark.requirement("identifiers:handle")
def test_the_handles_of_neighbours_are_short_and_differ_in_more_than_one_sign() -> None:
    handles = [handle(HandleKind.MEETING, number) for number in range(12_000)]

    assert len(set(handles)) == len(handles)
    assert max(map(len, handles)) == 5
    assert all(not set(name[2:]) & set("ilou") for name in handles)
    alike = sum(sum(a != b for a, b in zip(*pair, strict=False)) < 2 for pair in itertools.pairwise(handles))
    assert alike < len(handles) / 20


@pytest.mark.requirement("identifiers:handle")
@given(st.text(max_size=16))
@example("m7")
@example("mx00")
@example("m²00")
@example("m7oi")
@example("m9zzzzzzzzzzzz")
@example("m00000")
@example(handle(HandleKind.MEETING, BIGINT + 1))
def test_what_was_never_written_is_no_handle_and_no_number_is_more_than_the_database_holds(text: str) -> None:
    number = number_of(HandleKind.MEETING, text)

    assert number is None or (number <= BIGINT and handle(HandleKind.MEETING, number) == text.strip().lower())


@pytest.mark.requirement("identifiers:external-id")
def test_an_external_id_is_1_to_128_of_its_signs_beginning_with_a_letter_or_digit() -> None:
    for good in ("a", "7", "agent_alice", "a.b-c_d:e@f/g", "A" * 128):
        assert checked_external_id(good) == good
    bad = ["", "_a", "-a", ".a", "a b", "a\n", "\na", "ä", "a\0", "\ud800", "٣", "a" * 129, None, 7, b"a", ["a"]]
    for text in bad:
        with pytest.raises(InvalidIdentifierError, match="1 to 128 letters, digits"):
            checked_external_id(text)  # type: ignore[arg-type]


@pytest.mark.requirement("identifiers:uuid7")
@given(st.text() | st.none() | st.binary() | st.integers())
@example("{12345678-1234-5678-1234-567812345678}")
@example("")
def test_what_is_no_uuid_is_none(text: object) -> None:
    parsed = parse_uuid(text)

    assert parsed is None or isinstance(parsed, UUID)
