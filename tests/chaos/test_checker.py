"""The checker finds nothing in a good history, and every way in which one can be spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from chaos import checker
from chaos.history import HUNG, REFUSED, UNKNOWN, Line, Recorder, read_all
from chaos.kinds import Kind
from chaos.verdict import Broken
from tests.chaos.histories import History, one_meeting, one_message, one_question


def broken(lines: Sequence[Line]) -> set[Broken]:
    ordered = sorted(lines, key=lambda line: line["at"])
    return {violation.broken for violation in checker.check(ordered).violations}


@pytest.mark.parametrize("good", [one_message, one_question, one_meeting], ids=lambda good: good.__name__)
def test_a_good_history_is_found_good_and_is_counted(good: Callable[[], History]) -> None:
    verdict = checker.check(good().lines)
    assert verdict.violations == []
    assert verdict.checked.total() > 0
    assert verdict.messages + verdict.meetings > 0


def test_the_checker_imports_nothing_of_the_product() -> None:
    for name in ("checker", "checker_conversations", "checker_meetings", "verdict", "history", "kinds"):
        source = Path(checker.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        assert "agent_messaging" not in source
        imported = [line.split()[1] for line in source.splitlines() if line.startswith("from chaos")]
        assert set(imported) <= {
            "chaos.checker_conversations",
            "chaos.checker_meetings",
            "chaos.history",
            "chaos.kinds",
            "chaos.verdict",
        }


# Messages


def test_a_message_that_was_acknowledged_and_is_not_there_is_lost() -> None:
    history = one_message()
    for sides in (("alice", "bob"), ("bob", "alice")):
        history.entries_of(*sides).clear()
    assert Broken.LOST in broken(history.lines)


def test_a_message_of_unknown_outcome_may_be_there_or_not() -> None:
    for there in (True, False):
        history = History()
        history.call("m1", "send", "alice", UNKNOWN, to=("bob",))
        if there:
            history.receives("bob", "m1", "alice")
        history.conversation("alice", "bob", *([("async", "alice", "m1")] if there else []))
        verdict = checker.check(history.lines)
        assert verdict.violations == []
        assert verdict.unknown == 1


def test_a_call_that_never_returned_may_have_happened() -> None:
    history = History()
    history.line("invoked", op="m1", call="send", agent="alice", to=["bob"], **{"try": 1})
    history.call("m1", "send", "alice", REFUSED, to=("bob",))
    history.receives("bob", "m1", "alice")
    history.conversation("alice", "bob", ("async", "alice", "m1"))
    assert broken(history.lines) == set()


def test_a_message_that_is_there_twice_is_a_duplicate() -> None:
    history = one_message()
    history.lines = [line for line in history.lines if line["what"] != "conversation"]
    history.conversation("alice", "bob", ("async", "alice", "m1"), ("async", "alice", "m1"))
    assert broken(history.lines) == {Broken.DUPLICATE}


def test_a_notice_must_reach_every_one_of_its_recipients() -> None:
    history = History()
    history.call("n1", "notify", "alice", to=("bob", "carol"))
    history.receives("bob", "n1", "alice")
    history.conversation("alice", "bob", ("one_way", "alice", "n1"))
    history.conversation("alice", "carol")
    assert broken(history.lines) == {Broken.LOST}


def test_what_was_refused_must_not_be_there() -> None:
    history = one_message()
    history.lines[1]["outcome"] = REFUSED
    assert broken(history.lines) == {Broken.DONE_THOUGH_REFUSED}


def test_what_is_stored_and_was_never_received_is_missed() -> None:
    history = one_message()
    received = next(line for line in history.lines if line["what"] == "received")
    assert broken(history.without(received)) == {Broken.NEVER_RECEIVED}


def test_what_comes_again_as_new_after_it_was_acknowledged_is_found() -> None:
    history = one_message()
    again = history.receives("bob", "m1", "alice", looked=4.5)
    assert broken(history.lines) == {Broken.REPEATED}
    again["looked"] = 3.5  # it was asked for before the acknowledgement had returned
    assert broken(history.lines) == set()
    again |= {"looked": 4.5, "read": True}  # it is only shown as still owed
    assert broken(history.lines) == set()


def test_what_nobody_sent_is_found() -> None:
    history = one_message()
    history.receives("bob", "m2", "alice")
    assert broken(history.lines) == {Broken.PHANTOM}
    history = one_message()
    assert broken(history.lines[2:]) == {Broken.PHANTOM}


def test_what_came_to_another_or_in_anothers_name_is_found() -> None:
    history = one_message()
    history.receives("carol", "m1", "alice")
    assert broken(history.lines) == {Broken.MISDELIVERED}
    history = one_message()
    history.receives("bob", "m1", "carol", looked=2.5)
    assert broken(history.lines) == {Broken.MISDELIVERED}
    history = one_message()
    history.lines[0]["to"] = ["carol"]
    assert Broken.MISDELIVERED in broken(history.lines)


def test_numbers_with_a_gap_are_found() -> None:
    history = one_message()
    for sides in (("alice", "bob"), ("bob", "alice")):
        history.entries_of(*sides)[0][0] = 2
    assert broken(history.lines) == {Broken.GAP}


def test_two_sides_that_read_different_histories_are_found() -> None:
    history = one_message()
    history.entries_of("bob", "alice")[0][1] = "one_way"
    assert broken(history.lines) == {Broken.DISAGREE}


def test_a_number_below_that_of_what_had_ended_before_is_found() -> None:
    history = History()
    for op in ("m1", "m2"):
        history.call(op, "send", "alice", to=("bob",))
    history.conversation("alice", "bob", ("async", "alice", "m2"), ("async", "alice", "m1"))
    for op in ("m2", "m1"):
        history.receives("bob", op, "alice")
    assert broken(history.lines) == {Broken.ORDER}
    history.lines[1]["at"] = 3.5  # they overlapped
    assert broken(history.lines) == set()


def test_what_is_read_before_what_was_sent_earlier_is_found() -> None:
    history = History()
    for op in ("m1", "m2"):
        history.call(op, "send", "alice", to=("bob",))
    for op in ("m2", "m1"):
        history.receives("bob", op, "alice")
    history.conversation("alice", "bob", ("async", "alice", "m1"), ("async", "alice", "m2"))
    assert broken(history.lines) == {Broken.OUT_OF_ORDER}


def test_what_is_left_unread_at_the_end_is_found() -> None:
    history = one_message()
    history.line("inbox", agent="bob", unread=['{"op":"m1"}'])
    assert broken(history.lines) == {Broken.LEFT_UNREAD}


@pytest.mark.parametrize(
    ("kind", "process", "later", "acknowledged", "again"),
    [
        (Kind.RESTART_POSTGRES, None, 0.5, False, True),
        (Kind.RESTART_POSTGRES, None, -0.5, False, True),
        (Kind.KILL_CLIENT, "test", 0.5, False, True),
        (Kind.KILL_CLIENT, "another", 0.5, False, False),
        (Kind.KILL_SERVER, "test", 0.5, False, False),
        (Kind.RESTART_POSTGRES, None, 1.5, False, False),
        (Kind.RESTART_POSTGRES, None, 0.5, True, False),
    ],
)
def test_an_answer_may_be_in_the_inbox_once_more_only_if_something_was_killed_when_it_was_given(
    kind: Kind, process: str | None, later: float, acknowledged: bool, again: bool
) -> None:
    history = one_question()
    answered = next(line for line in history.lines if line["what"] == "returned")
    if acknowledged:
        history.line("acknowledged", agent="alice", ops=["a1"])
    history.line("fault", kind=kind, process=process)["at"] = answered["at"] + later
    history.line("inbox", agent="alice", unread=['{"op":"a1","answers":"q1"}'])
    verdict = checker.check(sorted(history.lines, key=lambda line: line["at"]))
    assert verdict.again == again
    assert [violation.broken for violation in verdict.violations] == ([] if again else [Broken.LEFT_UNREAD])


# Questions


def test_an_answer_that_belongs_to_another_question_is_found() -> None:
    history = one_question()
    for sides in (("alice", "bob"), ("bob", "alice")):
        history.entries_of(*sides)[1][3]["answers"] = "q2"
    assert {Broken.WRONG_ANSWER, Broken.UNANSWERED} <= broken(history.lines)


def test_a_waiter_that_was_told_something_else_than_the_answer_is_found() -> None:
    for spoilt in ({"text": '{"op":"a2","answers":"q1"}'}, {"state": "declined"}, {"state": "failed"}):
        history = one_question()
        next(line for line in history.lines if line["what"] == "returned").update(spoilt)
        assert Broken.WRONG_ANSWER in broken(history.lines)


def test_a_second_answer_to_a_question_is_found() -> None:
    history = one_question()
    history.lines = [line for line in history.lines if line["what"] != "conversation"]
    history.line("answers", agent="bob", op="a2", to=["alice"], question="q1")
    history.receives("alice", "a2", "bob", kind="answer")
    answers = (("answer", "bob", "a1", "q1"), ("answer", "bob", "a2", "q1"))
    history.conversation("alice", "bob", ("question", "alice", "q1"), *answers)
    assert Broken.TWO_ANSWERS in broken(history.lines)


def test_a_question_without_an_outcome_is_found() -> None:
    history = one_question()
    for sides in (("alice", "bob"), ("bob", "alice")):
        history.entries_of(*sides).pop()
    next(line for line in history.lines if line["what"] == "returned")["state"] = "waiting"
    assert broken(history.lines) == {Broken.UNANSWERED}


def test_a_reply_that_was_acknowledged_and_is_not_there_is_lost() -> None:
    history = one_question()
    history.call("a2", "answer", "bob", to=("alice",), question="q1")
    assert broken(history.lines) == {Broken.LOST}


def test_an_answer_that_was_declined_and_is_told_as_one_is_found() -> None:
    history = one_question()
    history.lines = [line for line in history.lines if line["what"] != "answers"]
    history.call("a1", "answer", "bob", to=("alice",), question="q1", declined=True)
    assert broken(history.lines) == {Broken.WRONG_ANSWER}


def test_one_attempt_that_two_processes_handled_is_found() -> None:
    history = one_question()
    twice = dict(next(line for line in history.lines if line["what"] == "received"), by="other")
    assert broken([*history.lines, twice]) == {Broken.HANDLED_TWICE}
    assert broken([*history.lines, twice | {"attempt": 2}]) == set()


# Meetings


def audited(history: History) -> list[list[object]]:
    return next(line["entries"] for line in history.lines if line["what"] == "audited")


def test_a_speech_that_was_acknowledged_and_is_not_there_is_lost() -> None:
    history = one_meeting()
    text = json.dumps({"op": "alice/m1/3"})
    history.call("alice/m1/3", "speak", "alice", meeting="m1", turn=3, text=text)
    assert Broken.LOST in broken(history.lines)


def test_a_pass_that_was_acknowledged_and_is_not_there_is_lost() -> None:
    history = one_meeting()
    audited(history)[4][1] = "agent_timed_out"
    assert Broken.LOST in broken(history.lines)


def test_a_speech_that_was_refused_and_is_there_is_found() -> None:
    history = one_meeting()
    next(line for line in history.lines if line.get("op") == "bob/m1/2" and "outcome" in line)["outcome"] = REFUSED
    assert broken(history.lines) == {Broken.DONE_THOUGH_REFUSED}


def test_a_speech_on_a_turn_that_had_timed_out_is_found() -> None:
    history = one_meeting()
    late = json.dumps({"op": "alice/m1/3"})
    history.call("alice/m1/3", "speak", "alice", meeting="m1", turn=3, text=late)
    audited(history)[4:] = [
        [5, "agent_spoke", 3, "alice", late],
        [6, "turn_passed", 4, "bob", None],
        [7, "meeting_ended", 4, "", None],
    ]
    assert Broken.TWO_SPEECHES in broken(history.lines)


def test_a_speech_that_was_stored_under_a_later_turn_is_stale() -> None:
    history = one_meeting()
    audited(history)[2][2] = 3
    assert Broken.STALE in broken(history.lines)


def test_a_speech_of_somebody_who_was_never_given_the_turn_is_found() -> None:
    history = one_meeting()
    signal = next(line for line in history.lines if line.get("floor") == "yours" and line["agent"] == "bob")
    assert Broken.STALE in broken(history.without(signal))


def test_two_who_are_given_the_same_turn_are_found() -> None:
    history = one_meeting()
    history.line("signal", agent="alice", meeting="m1", floor="yours", turn=2, said=[], reason="")
    assert Broken.TWO_HOLDERS in broken(history.lines)


def test_turns_that_go_backwards_are_found() -> None:
    history = one_meeting()
    audited(history)[3][2] = 1
    assert Broken.TURN_ORDER in broken(history.lines)


def test_entries_with_a_gap_are_found() -> None:
    history = one_meeting()
    audited(history)[5][0] = 7
    assert Broken.GAP in broken(history.lines)


def test_a_member_that_was_never_told_of_a_speech_is_found() -> None:
    history = one_meeting()
    for line in history.lines:
        if line["what"] == "signal" and line["agent"] == "alice":
            line["said"] = []
    assert broken(history.lines) == {Broken.UNTOLD}


def test_a_member_that_was_told_what_nobody_said_is_found() -> None:
    history = one_meeting()
    next(line for line in history.lines if line["what"] == "signal")["said"].append(["alice", 1, "x"])
    assert broken(history.lines) == {Broken.PHANTOM}


def test_a_member_that_reads_another_history_is_found() -> None:
    history = one_meeting()
    next(line for line in history.lines if line["what"] == "meeting")["entries"].pop()
    assert broken(history.lines) == {Broken.DISAGREE}


def test_a_speech_that_nobody_made_is_found() -> None:
    history = one_meeting()
    gone = [line for line in history.lines if line.get("op") == "bob/m1/2"]
    assert broken(history.without(*gone)) == {Broken.PHANTOM}


def test_speeches_in_another_order_than_they_were_made_are_found() -> None:
    history = one_meeting()
    for line in history.lines:
        if line.get("op") == "alice/m1/1" and line["what"] in ("invoked", "returned"):
            line["at"] += 100
    assert broken(history.lines) == {Broken.ORDER}


def test_a_meeting_that_has_not_ended_or_that_nobody_finds_is_found() -> None:
    history = one_meeting()
    found = next(line for line in history.lines if line["what"] == "audited")
    found["status"] = "active"
    assert broken(history.lines) == {Broken.NOT_ENDED}
    assert Broken.LOST in broken(history.without(found))


def test_a_speech_that_came_after_its_turn_is_counted_only_if_it_was_refused_then() -> None:
    history = one_meeting()
    facts = {"meeting": "m1", "turn": 3, "agent": "alice"}
    history.line("fault", kind="stopped", passed=True, **facts)
    assert checker.check(history.lines).stale == 0
    text = json.dumps({"op": "alice/m1/3"})
    history.call("alice/m1/3", "speak", "alice", REFUSED, meeting="m1", turn=3, text=text)
    verdict = checker.check(history.lines)
    assert (verdict.stale, verdict.violations) == (1, [])


# Calls


def test_a_wait_without_end_is_found() -> None:
    history = one_message()
    history.call("l1", "look", "bob", HUNG)
    assert broken(history.lines) == {Broken.HUNG}


def test_an_error_without_a_type_is_found() -> None:
    history = one_message()
    history.call("l1", "look", "bob", UNKNOWN, untyped=True, why="KeyError: 1")
    assert broken(history.lines) == {Broken.UNTYPED}


def test_a_retry_that_was_taken_for_another_call_is_found() -> None:
    history = one_message()
    history.call("m1", "send", "alice", REFUSED, to=("bob",), why="IdempotencyConflictError: used before")
    assert broken(history.lines) == {Broken.CONFLICT}


def test_a_client_that_did_not_come_to_an_end_is_found() -> None:
    history = one_message()
    history.line("unfinished", process="sdk-1", code=None, log="sdk-1.log")
    assert broken(history.lines) == {Broken.UNFINISHED}


# Histories on disk


def test_what_was_written_before_a_kill_is_read_back_and_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    first = Recorder(tmp_path, "sdk-1")
    first.write("received", op="m1")
    first.close()
    with first.path.open("a", encoding="utf-8") as file:
        file.write('{"at": 1, "what": "recei')
    second = Recorder(tmp_path, "sdk-1")
    second.write("received", op="m2")
    assert second.life == 2
    assert [line["op"] for line in read_all(tmp_path) if line["what"] == "received"] == ["m1", "m2"]
    assert [line["what"] for line in second.before] == ["began", "received"]


def test_a_line_torn_in_the_middle_of_a_life_is_no_history(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "sdk-1")
    with recorder.path.open("a", encoding="utf-8") as file:
        file.write('{"at": 1, "what": "recei\n')
    recorder.write("received", op="m2")
    with pytest.raises(ValueError, match="middle of a life"):
        read_all(tmp_path)
