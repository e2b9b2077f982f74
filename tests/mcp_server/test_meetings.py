"""Agents meet over MCP: invited, waiting for their turn, speaking on it, too early, too late, gone."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from tests.mcp_server.hosts import (
    Channel,
    Era,
    Host,
    both_channels,
    both_eras,
    host,
)
from tests.mcp_server.readers import Read, read_structure, read_text, text_of

NAMES = ("alice", "bob", "carol", "dave")
TURNS = 12
BUDGET = 4_000


class Reader:
    """A model that knows nothing but what its one channel shows, and does what it says."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.characters = 0
        self.heard: list[str] = []
        self.agendas = 0

    async def does(self, tool: str, /, **arguments: object) -> Read:
        result = await self.host.result(tool, **arguments)
        assert not result.is_error, text_of(result)
        if self.host.channel == "text":
            shown = text_of(result)
            read = read_text(shown)
        else:
            shown = json.dumps(result.structured_content, ensure_ascii=False, separators=(",", ":"))
            read = read_structure(result.structured_content)
        spoken = [text for text in read.texts() if text.startswith("speech ")]
        self.characters += len(shown) - sum(map(len, spoken))
        self.heard += spoken
        self.agendas += any("agenda: The seam" in text for text in read.texts())
        return read

    async def attends(self, meeting: str) -> None:
        """Attend to the end, and speak on every turn."""
        read = await self.does("attend_meeting", meeting=meeting, wait_seconds=50)
        while "has ended" not in read.now:
            if read.names_call("speak"):
                turn = read.call("speak")
                message = f"speech of {self.host.agent} on turn {turn.arguments['turn']}, " + "with reasons, " * 10
                read = await self.does("speak", **turn.filled_in(message=message), wait_seconds=50)
            else:
                read = await self.does("attend_meeting", **read.call("attend_meeting").arguments, wait_seconds=50)


@pytest.mark.requirement("mcp:results:both-channels")
@pytest.mark.requirement("mcp:results:terse")
@both_channels
@both_eras
async def test_four_agents_hold_a_meeting_of_twelve_turns(dsn: str, era: Era, channel: Channel) -> None:
    async with AsyncExitStack() as stack:
        readers = [Reader(await stack.enter_async_context(host(dsn, name, era=era, channel=channel))) for name in NAMES]
        for reader in readers:
            await reader.host.call("list_agents")
        chair, *others = readers
        created = await chair.does(
            "create_meeting", title="Seam", agents=list(NAMES[1:]), agenda="The seam, today.", max_turns=TURNS
        )
        meeting = str(created.call("start_meeting").arguments["meeting"])
        running: list[asyncio.Task[None]] = []
        for other in others:
            invited = await other.does("check_inbox", wait_seconds=50)
            running.append(asyncio.create_task(other.attends(invited.call("attend_meeting").arguments["meeting"])))
        ready = await chair.does("attend_meeting", meeting=meeting, wait_seconds=0.1)
        while ready.call("start_meeting").arguments.get("force"):
            ready = await chair.does("attend_meeting", meeting=meeting, wait_seconds=0.1)
        opening = "speech of alice on turn 1, " + "with reasons, " * 10
        read = await chair.does(
            "start_meeting", **ready.call("start_meeting").filled_in(message=opening), wait_seconds=50
        )
        running.append(asyncio.create_task(goes_on(chair, read)))
        await asyncio.wait_for(asyncio.gather(*running), 90)

        for reader in readers:
            print(f"{era} {channel} {reader.host.agent}: {reader.characters} characters beyond the speeches")
            mine = sum(text.startswith(f"speech of {reader.host.agent} ") for text in reader.heard)
            assert mine == 0, "nobody is told what it said itself"
            assert len(reader.heard) == len(set(reader.heard)) == TURNS - TURNS // 4
            assert reader.characters <= BUDGET
        assert [reader.agendas for reader in others] == [1, 1, 1], "an agenda is told once"


async def goes_on(chair: Reader, read: Read) -> None:
    while "has ended" not in read.now:
        turn = read.call("speak")
        message = f"speech of alice on turn {turn.arguments['turn']}, " + "with reasons, " * 10
        read = await chair.does("speak", **turn.filled_in(message=message), wait_seconds=50)


async def ready_meeting(alice: Host, bob: Host) -> str:
    """A meeting of the two, both attending, not started."""
    for other in (alice, bob):
        await other.call("list_agents")
    created = await alice.status("create_meeting", title="T", agents=["bob"], agenda="A")
    meeting: str = created["meeting"]
    await bob.status("attend_meeting", meeting=meeting, wait_seconds=0)
    return meeting


@pytest.mark.requirement("mcp:transports:same")
@both_eras
async def test_every_meeting_tool_works(dsn: str, era: Era) -> None:
    async with (
        host(dsn, "alice", era=era) as alice,
        host(dsn, "bob", era=era) as bob,
    ):
        meeting = await ready_meeting(alice, bob)
        waiting = asyncio.create_task(bob.status("attend_meeting", meeting=meeting, wait_seconds=30))
        started = asyncio.create_task(
            alice.status("start_meeting", meeting=meeting, message="Hello.", next_speaker="bob", wait_seconds=30)
        )
        turn = await waiting
        assert (turn["status"], turn["turn"], turn["said"]) == (
            "your_turn",
            2,
            [{"from": "alice", "turn": 1, "text": "Hello."}],
        )
        assert (turn["title"], turn["agenda"]) == ("T", "A")
        spoken = asyncio.create_task(
            bob.status("speak", meeting=meeting, turn=2, message="", next_speaker="alice", wait_seconds=30)
        )
        mine = await started
        assert (mine["status"], mine["turn"], mine.get("said")) == ("your_turn", 3, None)
        assert "bob passed" in mine["events"]
        state = await alice.status("get_meeting", meeting=meeting)
        assert (state["status"], state["members"], state["speaker"]) == (
            "active",
            {"alice": "speaking", "bob": "waiting"},
            "alice",
        )
        assert [entry["text"] for entry in state["items"] if entry["from"] == "alice"] == ["Hello."]
        ended = await alice.status("end_meeting", meeting=meeting, outcome="Left.")
        assert (ended["status"], ended["ended"]) == ("meeting_ended", "by_host")
        told = await spoken
        assert (told["status"], told["outcome"]) == ("meeting_ended", "Left.")
        assert (await bob.status("get_meeting", meeting=meeting))["outcome"] == "Left."
        assert (await bob.status("attend_meeting", meeting=meeting))["status"] == "meeting_ended"
        assert (await alice.status("end_meeting", meeting=meeting))["status"] == "meeting_ended"


@pytest.mark.requirement("mcp:errors:too-early")
async def test_what_is_too_early_or_too_late_says_first_what_was_not_done(dsn: str) -> None:
    async with host(dsn, "alice") as alice, host(dsn, "bob") as bob, host(dsn, "carol") as carol:
        meeting = await ready_meeting(alice, bob)
        await carol.call("list_agents")
        other = (await alice.status("create_meeting", title="U", agents=["bob", "carol"]))["meeting"]
        early = await alice.status("start_meeting", meeting=other, message="Hello?")
        assert early["now"].startswith("Not started: ")
        assert "carol" in early["now"]
        assert "bob" in early["now"]

        await alice.status("start_meeting", meeting=meeting, message="Hello.", wait_seconds=0)
        not_mine = await alice.status("speak", meeting=meeting, turn=2, message="Me again.")
        assert (not_mine["status"], not_mine["next"]) == ("not_your_turn", f'attend_meeting(meeting="{meeting}")')
        assert not_mine["now"].startswith("Not spoken: ")
        assert "bob" in not_mine["now"]

        await bob.status("speak", meeting=meeting, turn=2, message="Yes.", wait_seconds=0)
        passed = await bob.status("speak", meeting=meeting, turn=2, message="No.", wait_seconds=0)
        assert passed["now"].startswith("Not spoken: turn 2 ended")
        history = await alice.status("get_meeting", meeting=meeting)
        assert [entry["text"] for entry in history["items"] if "turn" in entry] == ["Hello.", "Yes."]

        await alice.status("end_meeting", meeting=meeting)
        over = await alice.status("speak", meeting=meeting, turn=3, message="One more thing.")
        assert (over["status"], over["now"].startswith("Not spoken: ")) == ("meeting_ended", True)


@pytest.mark.requirement("mcp:meetings:proof")
async def test_only_a_signal_tells_the_number_of_a_turn(dsn: str) -> None:
    async with host(dsn, "alice") as alice, host(dsn, "bob") as bob:
        meeting = await ready_meeting(alice, bob)
        for number in range(2, 9):
            await alice.status("send", to="bob", message=f"m{number}")
        await alice.status("start_meeting", meeting=meeting, message="Hello.", wait_seconds=0)
        for tool, arguments in (
            ("check_inbox", {}),
            ("get_meeting", {"meeting": meeting}),
            ("list_agents", {}),
            ("speak", {"meeting": meeting, "turn": 9, "message": "guess"}),
        ):
            shown = text_of(await bob.result(tool, **arguments))
            assert "turn 2" not in shown
            assert "turn=2" not in shown
        assert (await bob.status("check_inbox"))["items"][0]["kind"] == "turn", "a turn comes first"
        again = [await bob.status("attend_meeting", meeting=meeting, wait_seconds=0) for _ in range(2)]
        assert [(one["turn"], one["said"]) for one in again] == [
            (2, [{"from": "alice", "turn": 1, "text": "Hello."}])
        ] * 2, "a lost result is repeated"


@pytest.mark.requirement("mcp:waiting:interrupted")
async def test_a_wait_for_a_turn_ends_early_for_a_question(dsn: str) -> None:
    async with host(dsn, "alice") as alice, host(dsn, "bob") as bob, host(dsn, "carol") as carol:
        meeting = await ready_meeting(alice, bob)
        await alice.status("start_meeting", meeting=meeting, message="Hello.", wait_seconds=0)
        waiting = asyncio.create_task(alice.status("attend_meeting", meeting=meeting, wait_seconds=40))
        asking = asyncio.create_task(carol.status("send_and_wait", to="alice", message="A word?", wait_seconds=40))
        cut = await waiting
        assert cut["status"] == "waiting"
        assert "1 question from carol" in cut["also"]
        asked = await alice.call("check_inbox")
        await alice.call("reply", **asked.call("reply").filled_in(message="Two."))
        assert (await asking)["answer"]["text"] == "Two."


@pytest.mark.requirement("mcp:meetings:leave")
async def test_a_host_hands_over_before_it_leaves(dsn: str) -> None:
    async with host(dsn, "alice") as alice, host(dsn, "bob") as bob:
        meeting = await ready_meeting(alice, bob)
        await alice.status("start_meeting", meeting=meeting, message="Hello.", wait_seconds=0)
        refused = await alice.mistake("leave_meeting", meeting=meeting)
        assert refused.startswith("Not left: ")
        assert f'leave_meeting(meeting="{meeting}", new_host=…)' in refused
        assert "only the host" in await bob.mistake("end_meeting", meeting=meeting)
        left = await alice.status("leave_meeting", meeting=meeting, new_host="bob")
        assert (left["status"], "bob is its host" in left["now"]) == ("left", True)
        assert (await bob.status("get_meeting", meeting=meeting))["host"] == "bob"


@pytest.mark.requirement("mcp:meetings:leave")
async def test_an_invitation_is_declined_by_leaving(dsn: str) -> None:
    async with host(dsn, "alice") as alice, host(dsn, "bob") as bob:
        for other in (alice, bob):
            await other.call("list_agents")
        meeting = (await alice.status("create_meeting", title="T", agents="bob"))["meeting"]
        await bob.status("leave_meeting", meeting=meeting)
        assert (await alice.status("get_meeting", meeting=meeting))["members"]["bob"] == "declined"


@pytest.mark.requirement("mcp:identity:members")
@both_eras
async def test_a_meeting_exists_for_its_members_only(dsn: str, era: Era) -> None:
    async with host(dsn, "alice") as alice, host(dsn, "bob") as bob, host(dsn, "carol", era=era) as carol:
        meeting = await ready_meeting(alice, bob)
        await carol.call("list_agents")
        for tool, arguments in (
            ("attend_meeting", {}),
            ("get_meeting", {}),
            ("leave_meeting", {}),
            ("end_meeting", {}),
            ("speak", {"turn": 1, "message": "x"}),
            ("start_meeting", {"message": "x"}),
        ):
            foreign = await carol.mistake(tool, meeting=meeting, **arguments)
            unknown = await carol.mistake(tool, meeting="m9zz", **arguments)
            assert foreign == unknown.replace("m9zz", meeting)


@pytest.mark.requirement("mcp:results:size")
async def test_a_late_joiner_is_shown_the_newest_speeches_and_told_where_the_others_are(dsn: str) -> None:
    async with host(dsn, "alice") as alice, host(dsn, "bob") as bob, host(dsn, "carol") as carol:
        meeting = await ready_meeting(alice, bob)
        await carol.call("list_agents")
        speech = "many words of plain English " * 250
        await alice.status("start_meeting", meeting=meeting, message=speech, wait_seconds=0)
        other = (await alice.status("create_meeting", title="Late", agents=["bob", "carol"], quorum=2))["meeting"]
        await bob.status("attend_meeting", meeting=other, wait_seconds=0)
        await alice.status("start_meeting", meeting=other, message=f"1 {speech}", wait_seconds=0)
        for number in range(2, 8):
            speaker = bob if number % 2 == 0 else alice
            turn = (await speaker.status("attend_meeting", meeting=other, wait_seconds=10))["turn"]
            await speaker.status("speak", meeting=other, turn=turn, message=f"{number} {speech}", wait_seconds=0)
        await carol.status("attend_meeting", meeting=other, wait_seconds=0)
        waiting = asyncio.create_task(carol.status("attend_meeting", meeting=other, wait_seconds=30))
        for _ in range(3):
            for speaker in (alice, bob):
                turn_ = await speaker.status("attend_meeting", meeting=other, wait_seconds=0)
                if turn_["status"] == "your_turn":
                    await speaker.status(
                        "speak", meeting=other, turn=turn_["turn"], wait_seconds=0, next_speaker="carol"
                    )
        signal = await waiting
        assert signal["said"][-1]["text"].startswith("7 ")
        assert "earlier speeches are in get_meeting(" in signal["now"]
        assert len(json.dumps(signal)) < 40_000
        earlier = read_structure(signal).call("get_meeting")
        page = await carol.status(earlier.tool, **earlier.arguments)
        assert page["items"][0]["text"].startswith("1 ")
