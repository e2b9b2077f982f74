"""A history carried out on the product, each step of it held against the reference model."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID

import asyncpg

from tests.model import clock
from tests.model import operations as op
from tests.model.acting import Names, call_of, outcome_of
from tests.model.operations import AGENTS, PROCESSES, Operation
from tests.model.processes import Call, Outcome, Process, soon
from tests.model.reference import TICK, Reference
from tests.model.seeing import Sight

BOUND = 10.0
"""Seconds within which everything comes to rest; far more than it takes."""

_REGISTER = """
WITH organization AS (
    INSERT INTO organizations (id, external_id, name) VALUES (gen_random_uuid(), 'model', 'Model')
    ON CONFLICT (external_id) DO UPDATE SET name = excluded.name RETURNING id
)
INSERT INTO agents (id, external_id, organization_id, name)
SELECT gen_random_uuid(), name, organization.id, name FROM organization, unnest($1::text[]) AS name
"""
LONGEST_END = 2_000
"""Deadlines, one after the other, that silence may take; a meeting has 200 turns at most."""
_histories = itertools.count(1)

Open = Callable[[int], Awaitable[Process]]


class DisagreesError(AssertionError):
    """The product did something else than the model."""


class Laboratory:
    """A database under a clock of its own, and a process in each place; histories come and go."""

    def __init__(self, connection: asyncpg.Connection[Any], open_process: Open) -> None:
        self.connection = connection
        self.open_process = open_process
        self.processes: dict[int, Process] = {}

    @classmethod
    async def open(cls, dsn: str, open_process: Open) -> Laboratory:
        laboratory = cls(await asyncpg.connect(dsn, timeout=20, command_timeout=20), open_process)
        for place in PROCESSES:
            await laboratory.replace(place)
        return laboratory

    async def replace(self, place: int) -> None:
        """Another process takes this place."""
        self.processes[place] = await soon(self._opened(place))

    async def _opened(self, place: int) -> Process:
        return await self.open_process(place)

    async def advance(self, seconds: float) -> None:
        await clock.advance(self.connection, seconds, alive=[process.id for process in self.processes.values()])

    async def renew(self) -> None:
        """After a history that went wrong: nothing of it is left."""
        for place, process in self.processes.items():
            await soon(process.crash())
            await self.replace(place)

    async def close(self) -> None:
        for process in self.processes.values():
            await process.close()
        await self.connection.close()


class World:
    """One history. `tried` counts the operations, `reached` what became of them, by name."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.reference = Reference()
        self.names = Names(f"h{next(_histories)}")
        self.pending: dict[int, asyncio.Task[Outcome]] = {}
        self.operations: dict[int, op.Call] = {}
        self.history: list[Operation] = []
        self.transcript: list[Any] = []
        self.cuts = 0
        self._looks = True
        self.sight = Sight(self._read, self.names, 0.0)

    async def begin(self) -> None:
        """Register the agents of this history."""
        await self.laboratory.advance(TICK)
        passed, started = await clock.reading(self.laboratory.connection)
        self.sight = Sight(self._read, self.names, started + passed)
        await self.laboratory.connection.execute(_REGISTER, self.names.agents(AGENTS))

    async def do(self, operation: Operation, *, looks: bool = True) -> None:
        """Carry out one step, and see that the product did what the model says, and nothing else.

        `looks`: also see what everybody sees whom it concerns. It takes most of the time, and looking at a meeting
        applies what is due there, so that not to look is another history.
        """
        self.history.append(operation)
        self._looks = looks
        if isinstance(operation, op.Cut):
            await self._cut(operation)
            return
        expected = self.reference.do(operation)
        await self.laboratory.advance(TICK + (operation.seconds if isinstance(operation, op.Pass) else 0.0))
        match operation:
            case op.Pass():
                for process in self._sweepers(operation):
                    await soon(process.sweep())
            case op.Cancel():
                await self._cancel(operation.wait)
            case op.Crash(process=place) | op.Restart(process=place):
                await self._lose(place, closes=isinstance(operation, op.Restart))
            case _:
                self._begin_call(operation, await self._made(operation))
                if expected is not None:
                    await self._ends(operation.number, expected)
                elif isinstance(operation, op.Ask):
                    await self._learn(operation)
        await self._follows(operation)

    async def ends(self, *, by_itself: bool = False) -> None:
        """Nobody does anything any more: time passes until nothing is open. Then everything must be as in the model.

        `by_itself`: it has passed already, as the history is one that was ended before.
        """
        number = max(self.operations, default=0)
        for _ in range(0 if by_itself else LONGEST_END):
            due = [meeting.next_due for meeting in self.reference.meetings.values() if meeting.next_due is not None]
            due += [q.reply_by for q in self.reference.mail.questions.values() if q.state == "open"]
            if not due:
                break
            number += 1
            seconds = max(0.0, min(due) - self.reference.now)
            await self.do(op.Pass(number, 5.0 * (seconds // 5 + 1), sweep=True), looks=False)
        if any(meeting.phase != "ended" for meeting in self.reference.meetings.values()):
            raise DisagreesError("a meeting goes on for ever in the model")
        await self.sees(AGENTS, pairs=_pairs(AGENTS), meetings=self.reference.meetings)
        for number in list(self.pending):
            await self._cancel(number)

    async def abandon(self) -> None:
        """Leave nothing running, whatever happened."""
        for task in self.pending.values():
            task.cancel()
        await asyncio.gather(*self.pending.values(), return_exceptions=True)

    # Steps

    def _sweepers(self, operation: op.Pass) -> list[Process]:
        """Each process makes up for the wake-ups that its waits missed; what is due, any of them applies for all."""
        processes = list(self.laboratory.processes.values())
        if not operation.sweep:
            return []
        return processes if self.pending else [processes[operation.number % len(processes)]]

    async def _cut(self, cut: op.Cut) -> None:
        call, candidates = cut.call, self.reference.might_be(cut)
        await self.laboratory.advance(TICK)
        made = await self._made(call)
        task = self._begin_call(call, made)
        for _ in range(cut.rounds):
            if task.done():
                break
            await asyncio.sleep(0)
        if task.done():
            expected = self.reference.do(call)
            if expected is None:
                raise DisagreesError(f"{call} ended: {task.result()}")
            await self._ends(call.number, expected)
            await self._follows(call)
            return
        del self.pending[call.number]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await soon(self.laboratory.processes[call.process].settled())
        self.cuts += 1
        self.reference = await self._chosen(cut, candidates)
        await self._follows(call)

    async def _chosen(self, cut: op.Cut, candidates: list[Reference]) -> Reference:
        """Which of the histories that may have been is the one that was."""
        views = [self._touched(cut.call, candidate) for candidate in candidates]
        agents, pairs, meetings = (set[Any]().union(*parts) for parts in zip(*views, strict=True))
        agents &= candidates[0].mail.readers
        expected = [_rounded(candidate.sees(agents, pairs, meetings)) for candidate in candidates]
        await self._learn(cut.call)

        seen: dict[str, Any] = {}

        async def look() -> bool:
            nonlocal seen
            seen = await self.sight.sees(agents, pairs, meetings)
            return seen in expected

        try:
            await self._until(look, True, f"what became of {cut}")
        except DisagreesError as error:
            raise DisagreesError(f"{error}: {json.dumps(seen)} is none of {json.dumps(expected)}") from None
        return candidates[expected.index(seen)]

    def _begin_call(self, operation: op.Call, call: Call) -> asyncio.Task[Outcome]:
        self.operations[operation.number] = operation
        calling = self.laboratory.processes[operation.process].call(call)
        task = asyncio.create_task(calling, name=f"operation {operation.number}")
        self.pending[operation.number] = task
        return task

    async def _follows(self, operation: Operation) -> None:
        """What follows from a step: the waits that end, those that do not, and what everybody sees then."""
        for number, outcome in self.reference.ended.items():
            await self._ends(number, outcome)
        await self._rests(operation)
        if self._looks:
            await self.sees(*self._touched(operation, self.reference))

    async def _made(self, operation: op.Call) -> Call:
        """The call, and what must be done before it can be made."""
        if not isinstance(operation, op.MarkRead):
            return call_of(operation, self.names)
        ids = await self._ids(operation.agent, operation.messages)
        if not operation.cursor:
            return call_of(operation, self.names, ids=ids)
        agent = self.names.agent(operation.agent)
        stored = await self.laboratory.processes[operation.process].call(Call("inbox", "cursor", (agent, list(ids))))
        assert stored[0] == "ok", stored
        return Call("inbox", "acknowledge", (agent, stored[1]))

    async def _ends(self, number: int, expected: Outcome) -> None:
        task = self.pending.pop(number)
        done, _ = await asyncio.wait([task], timeout=BOUND)
        operation = self.operations[number]
        if not done:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise DisagreesError(f"{operation} does not end; expected {expected}")
        if isinstance(operation, op.Ask):
            await self._learn(operation)
            # That an answer was given is said when its call has ended: until then it may be acknowledged once more.
            await soon(self.laboratory.processes[operation.process].settled())
        actual = outcome_of(operation, task.result(), self.names)
        self.transcript.append([number, actual])
        self._same(f"the outcome of {operation}", actual, _rounded(expected))

    async def _cancel(self, number: int) -> None:
        task = self.pending.pop(number, None)
        if task is None:
            return
        if task.done():
            raise DisagreesError(f"{self.operations[number]} ended by itself: {task.result()}")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await soon(self.laboratory.processes[self.operations[number].process].settled())

    async def _lose(self, place: int, *, closes: bool) -> None:
        process = self.laboratory.processes[place]
        lost = [number for number in self.pending if self.operations[number].process == place]
        if closes:
            await soon(process.close())
        else:
            crashing = asyncio.ensure_future(process.crash())
            await asyncio.sleep(0)  # from here on it writes nothing; its callers die with it, and learn nothing
            for number in lost:
                self.pending[number].cancel()
            await asyncio.gather(*(self.pending.pop(number) for number in lost), return_exceptions=True)
            await crashing
        await self.laboratory.replace(place)

    async def _rests(self, operation: Operation) -> None:
        """What waits is still waiting, and has come to where it waits."""
        for number, task in list(self.pending.items()):
            if number not in self.reference.waits:
                raise DisagreesError(f"{self.operations[number]} goes on waiting")
            if task.done():
                result = task.result()
                raise DisagreesError(f"after {operation}, {self.operations[number]} ended: {result}")
        for place, process in self.laboratory.processes.items():
            waiting = sum(self.operations[number].process == place for number in self.pending)
            if waiting:
                await self._until(lambda process=process: process.waits(), waiting, f"waits in process {place}")

    # What is seen

    async def sees(self, agents: Iterable[str], pairs: Iterable[frozenset[str]], meetings: Iterable[int]) -> None:
        """Everybody sees what the model says: inboxes of those who read them, conversations, meetings."""
        agents, pairs = sorted(set(agents) & self.reference.mail.readers), sorted(pairs, key=sorted)
        meetings = sorted(meetings)
        expected = _rounded(self.reference.sees(agents, pairs, meetings))
        await self._until(lambda: self.sight.sees(agents, pairs, meetings), expected, "what is seen")

    async def _read(self, call: Call) -> Any:
        outcome = await soon(self.laboratory.processes[1].call(call))
        assert outcome[0] == "ok", (call, outcome)
        return outcome[1]

    async def _until(self, look: Callable[[], Awaitable[Any]], expected: Any, what: str) -> None:
        """What a cancelled call left behind is put right a moment later, so look again for a while."""
        try:
            async with asyncio.timeout(BOUND):
                while await look() != expected:  # noqa: ASYNC110 - another process has no event to set
                    await asyncio.sleep(0.005)
        except TimeoutError:
            self._same(what, await look(), expected)

    def _same(self, what: str, actual: Any, expected: Any) -> None:
        if isinstance(actual, dict) and isinstance(expected, dict):
            actual = {name: seen for name, seen in actual.items() if expected.get(name) != seen}
            expected = {name: expected[name] for name in actual}
        if actual != expected:
            raise DisagreesError(f"{what}:\n  product {json.dumps(actual)}\n  model   {json.dumps(expected)}")

    # Names

    async def _learn(self, operation: op.Call) -> None:
        """Learn what the product calls what an operation made that did not end, or has not."""
        words = self.names.words(operation)
        if isinstance(operation, op.Create):
            query = "SELECT id::text FROM meetings WHERE title = $1"
        elif isinstance(operation, op.OneWay | op.Send | op.Ask | op.Answer):
            query, words = "SELECT id::text FROM messages WHERE content = $1 ORDER BY seq", json.dumps(words)
        else:
            return
        question = self.reference.asked.get(operation.number)
        if isinstance(operation, op.Ask) and question is not None and question.number != operation.number:
            return  # it was asked before

        async def look() -> bool:
            rows = await self.laboratory.connection.fetch(query, words)
            new = [id for (id,) in rows if not self.names.knows(id)]
            if new and isinstance(operation, op.Create):
                self.names.meetings[operation.number] = UUID(new[0])
            if new:
                self.names.learn(operation.number, new)
            return self.names.has(operation.number)

        if question is None:
            await look()
        else:
            await self._until(look, True, f"the question of {operation}")

    async def _ids(self, agent: str, numbers: Iterable[int]) -> tuple[UUID, ...]:
        rows = await self.laboratory.connection.fetch(
            "SELECT m.id, m.meeting_id FROM messages m JOIN agents a ON a.id = m.recipient_id WHERE a.external_id = $1",
            self.names.agent(agent),
        )
        wanted = set(numbers)
        return tuple(row["id"] for row in rows if self.names.number(str(row["meeting_id"] or row["id"])) in wanted)

    def _touched(self, operation: Operation, reference: Reference) -> tuple[set[str], set[frozenset[str]], set[int]]:
        """Whose view of what an operation can have changed."""
        agents: set[str] = set()
        meetings: set[int] = set()
        pairs: set[frozenset[str]] = set()
        involved = [operation, *(self.operations[number] for number in reference.ended)]
        for one in involved:
            named = [getattr(one, name, None) for name in ("agent", "sender", "recipient", "other", "following", "to")]
            named += getattr(one, "recipients", ())
            agents |= {name for name in named if name in AGENTS}
            if isinstance(number := getattr(one, "meeting", None), int):
                meetings.add(number)
            if isinstance(one, op.OneWay | op.Send | op.Ask | op.Answer | op.EndConversation):
                pairs |= _pairs(sorted(name for name in named if name in AGENTS))
        if isinstance(operation, op.Pass) and operation.sweep:
            meetings |= {number for number, meeting in reference.meetings.items() if meeting.phase == "active"}
        if isinstance(operation, op.Create):
            meetings |= {operation.number}
        return agents, pairs, meetings


def _pairs(agents: Iterable[str]) -> set[frozenset[str]]:
    agents = list(agents)
    return {frozenset((one, other)) for one in agents for other in agents if one != other}


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 3)
        case list():
            return [_rounded(item) for item in value]
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case _:
            return value
