"""The entry point: one object that opens the database and hands out the services (the composition root)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar
from uuid import UUID

from agent_messaging.agent_view import AgentView
from agent_messaging.answering import Answers
from agent_messaging.asking import Questions
from agent_messaging.async_conversation import AsyncConversation
from agent_messaging.config import Config
from agent_messaging.directory import Directory
from agent_messaging.engine import Engine
from agent_messaging.following import Follower
from agent_messaging.handler_run import Handler
from agent_messaging.handlers import Handlers
from agent_messaging.health import Health, health
from agent_messaging.inbox import Inbox
from agent_messaging.measures import Measures
from agent_messaging.meeting_events import EventHandler, MeetingEvents
from agent_messaging.meeting_store import MeetingStore
from agent_messaging.meetings import MeetingManager
from agent_messaging.models import Agent, InboxItem, Organization, OrganizationListing, Pruned
from agent_messaging.one_way import OneWayMessenger
from agent_messaging.reading import Reader
from agent_messaging.retention import Retention
from agent_messaging.services import Services
from agent_messaging.silences import Silences
from agent_messaging.sweep import Sweep
from agent_messaging.sync_conversation import SyncConversation
from agent_messaging.tasks import Tasks
from agent_messaging.tokens import Tokens
from agent_messaging.tracing import apart, traced
from agent_messaging_db.rows import AttachmentKind, MeetingEvent

MessageType = TypeVar("MessageType")

for _service in (OneWayMessenger, SyncConversation, AsyncConversation, MeetingManager, Inbox, Directory):
    traced(_service)


class AgentMessaging(Generic[MessageType]):
    """Main class of the library (the design's `AgentMessaging`).

    `AgentMessaging[MyMessage](config)` validates what is sent and returns `MyMessage` on every path, in every
    process; without a type, a message is any JSON value. Open it with `async with`, or `initialize()` and
    `close()`.

        async with AgentMessaging[MyMessage]() as sdk:
            await sdk.register_organization("org_001", "My Organization")
            await sdk.register_agent("agent_alice", "org_001", "Alice")

    Every call may raise DatabaseUnavailableError, after bounded retries, and NotInitializedError.
    """

    message_type: ClassVar[object] = None

    def __class_getitem__(cls, item: object) -> Any:
        if isinstance(item, TypeVar):
            return super().__class_getitem__(item)  # pyright: ignore
        name = getattr(item, "__name__", repr(item))
        return type(f"{cls.__name__}[{name}]", (cls,), {"message_type": item, "__module__": cls.__module__})

    def __init__(self, config: Config | None = None) -> None:
        """Make the object; `config` None reads the environment. Nothing is opened yet."""
        self._engine: Engine[MessageType] = Engine(Config() if config is None else config, self.message_type)
        engine = self._engine
        answers: Answers[MessageType] = Answers(engine)
        reader: Reader[MessageType] = Reader(engine)
        inbox: Inbox[MessageType] = Inbox(engine, reader)
        directory = Directory(engine)
        store = MeetingStore(engine)
        self._handlers: Handlers[MessageType] = Handlers(engine, answers)
        self._events: MeetingEvents[MessageType] = MeetingEvents(engine)
        self._sweep = Sweep(engine, store, [self._handlers.look_for_work, self._events.look])
        self._services: Services[MessageType] = Services(
            directory=directory,
            one_way=OneWayMessenger(engine),
            sync_conversation=SyncConversation(engine, Questions(engine, answers, inbox), answers),
            async_conversation=AsyncConversation(engine, reader, self._handlers.resume),
            meeting=MeetingManager(engine, store, answers, inbox),
            inbox=inbox,
            follower=Follower(engine, reader, inbox),
            tasks=Tasks(engine),
            tokens=Tokens(engine, directory),
            silences=Silences(engine, directory),
        )
        self._retention = Retention(engine)
        engine.before_calls += [
            apart(self._handlers.settle, needed=lambda: self._handlers.unsettled),
            apart(self._events.settle, needed=lambda: self._events.unsettled),
        ]
        self._closing: asyncio.Task[None] | None = None

    async def initialize(self) -> None:
        """Open the database (the embedded one, if none is configured), bring its schema up to date, begin to
        listen.

        Raises:
            DatabaseUnavailableError: it cannot be reached or started.
            ConfigurationError: its schema and this code do not belong together.
        """
        if self._closing is not None:
            await asyncio.shield(self._closing)
        if not self._engine.is_open:
            self._handlers.reset()
            self._events.reset()
            await self._engine.open()
            self._sweep.start()

    async def close(self) -> None:
        """Close everything: handlers are cancelled and their messages are free for other processes, waits
        end. A call that is cancelled closes all the same, in the background; calling again waits for it.
        """
        if self._closing is None:
            if not self._engine.is_open:
                return
            self._closing = asyncio.create_task(self._close(), name="agent-messaging close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self._sweep.close()
            await self._events.close()
            await self._handlers.close()
            await self._engine.close(claims_of=self._handlers.agents)
        finally:
            self._closing = None

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def register_organization(self, external_id: str, name: str, *, exist_ok: bool = False) -> UUID:
        """Register an organization; gives its id.

        Raises:
            OrganizationAlreadyExistsError: the external id is taken; `exist_ok` gives the existing id
                instead. InvalidIdentifierError: the external id is malformed. InvalidArgumentError: the name
                is not text of 1 to 200 characters.
        """
        return await self._services.directory.register_organization(external_id, name, exist_ok=exist_ok)

    async def register_agent(
        self, external_id: str, organization_external_id: str, name: str, *, exist_ok: bool = False
    ) -> UUID:
        """Register an agent of an organization; gives its id.

        Raises:
            AgentAlreadyExistsError: the external id is taken; `exist_ok` gives the existing id instead.
            OrganizationNotFoundError: the organization does not exist.
            InvalidIdentifierError: the external id is malformed. InvalidArgumentError: the name is not text of
                1 to 200 characters.
        """
        return await self._services.directory.register_agent(
            external_id, organization_external_id, name, exist_ok=exist_ok
        )

    async def get_agent(self, external_id: str) -> Agent:
        """Give an agent with its presence; raises AgentNotFoundError."""
        return await self._services.directory.get_agent(external_id)

    async def get_organization(self, external_id: str) -> Organization:
        """Give an organization; raises OrganizationNotFoundError."""
        return await self._services.directory.get_organization(external_id)

    async def organizations(self) -> list[OrganizationListing]:
        """Give every organization, by external id."""
        return await self._services.directory.organizations()

    async def agents(self, organization_external_id: str | None = None) -> list[Agent]:
        """Give every agent of an organization, or of all, with its presence, by organization and external id;
        raises OrganizationNotFoundError.
        """
        return await self._services.directory.agents(organization_external_id)

    async def allow_organization(self, organization_external_id: str, allows_external_id: str) -> bool:
        """Let the agents of `allows_external_id` reach those of an organization, as far as this one is concerned.

        Reaching takes both directions: only when each allows the other do the agents of both exist for one
        another. Gives whether that is so now. Allowing again changes nothing.

        Raises:
            OrganizationNotFoundError: one of the two does not exist.
            InvalidArgumentError: they are one and the same.
        """
        return await self._services.directory.allow(organization_external_id, allows_external_id)

    async def disallow_organization(self, organization_external_id: str, allows_external_id: str) -> None:
        """Take back what `allow_organization` gave: from now on, neither reaches the other. What was said stays.

        Raises:
            OrganizationNotFoundError: one of the two does not exist.
            InvalidArgumentError: they are one and the same.
        """
        await self._services.directory.disallow(organization_external_id, allows_external_id)

    def register_handler(self, agent_external_id: str) -> Callable[[Handler[MessageType]], Handler[MessageType]]:
        """Decorate the handler of an agent's messages: `async def handler(message, context)`.

        It counts from this process's next call on, or its next sweep; the agent may be registered later. What it
        returns answers a question, unless `reply` came first; for everything else it is ignored. Each message is
        handled by one process at a time, at least once: `context.attempt` counts.

        Raises:
            HandlerAlreadyRegisteredError: this process has a handler for the agent. InvalidIdentifierError: no
                agent can have this name. InvalidArgumentError: the handler cannot be called.
        """
        return self._handlers.register(agent_external_id)

    def register_event_handler(self, event_type: MeetingEvent) -> Callable[[EventHandler], EventHandler]:
        """Decorate a handler of meeting events: `async def handler(meeting_id, agent_external_id, data)`.

        It is called for the meetings of every process, from this process's next call on, in order, at least
        once.
        """
        return self._events.register(event_type)

    @property
    def one_way(self) -> OneWayMessenger[MessageType]:
        """One-way messages."""
        return self._services.one_way

    @property
    def sync_conversation(self) -> SyncConversation[MessageType]:
        """Questions and answers."""
        return self._services.sync_conversation

    @property
    def async_conversation(self) -> AsyncConversation[MessageType]:
        """Messages that queue until they are read."""
        return self._services.async_conversation

    @property
    def meeting(self) -> MeetingManager[MessageType]:
        """Meetings."""
        return self._services.meeting

    @property
    def measures(self) -> Measures:
        """What this object has counted, and how much waits in the database: for metrics."""
        return self._engine.measures

    @property
    def inbox(self) -> Inbox[MessageType]:
        """Everything that needs an agent, without consuming it."""
        return self._services.inbox

    def follow(self, agent_external_id: str, *, once: bool = False) -> AsyncGenerator[InboxItem[MessageType]]:
        """Give everything that needs an agent, and then what comes, for ever: each item at least once, whatever becomes
        of wake-ups, connections and the database. Marks nothing read.

        What is unread when it begins is given, so each beginning gives it again. With `once` it ends there.

        Raises:
            AgentNotFoundError: the agent does not exist. DatabaseUnavailableError: the database cannot be reached at
                the beginning or, with `once`, at any time.
        """
        return self._services.follower.follow(agent_external_id, once=once)

    @property
    def tasks(self) -> Tasks:
        """Waits that go on without the call that began them (an addition to the design)."""
        return self._services.tasks

    @property
    def tokens(self) -> Tokens:
        """Bearer tokens, with which programs act as an agent over the network."""
        return self._services.tokens

    @property
    def silences(self) -> Silences:
        """Whom an operator has silenced."""
        return self._services.silences

    def as_agent(self, external_id: str, *, within_organization: bool = False) -> AgentView[MessageType]:
        """Give a view that can act as this agent only.

        `within_organization`: for it, only agents of its own organization and of mutually allowed ones exist, and what
        it sends counts as following from what it was shown, as for every agent over MCP.
        """
        return AgentView(self._engine, self._services, external_id, within_organization=within_organization)

    async def prune(
        self, older_than: float, *, dry_run: bool = False, progress: Callable[[Pruned], None] | None = None
    ) -> Pruned:
        """Remove what was sent, read and settled more than `older_than` seconds ago, for good; gives what that was.

        Never what is unread (dead letters are), an open question, a meeting that is not over, or what one of these
        refers to: a question goes with its answer, a meeting with everything said in it. Agents, organizations and
        tokens stay. Messages that stay keep their `seq`, so a history may have gaps where it was pruned.

        It works in small transactions with pauses: cancelled, what was removed is removed, and calling again goes on.
        Several at once do not disturb each other. `dry_run` only counts, and tells no sessions: which of them would be
        left empty shows when their messages are gone. `progress` is called after each transaction with what was removed
        so far.

        Raises:
            InvalidArgumentError: `older_than` is not a number of seconds, a day or more.
        """
        return await self._retention.prune(older_than, dry_run=dry_run, progress=progress)

    def now(self) -> datetime:
        """Give the time of the database, whose moments all results carry: the host's clock, set right by what they
        differed when that was last measured.
        """
        return self._engine.clock.now()

    async def health(self) -> Health:
        """Say whether this process can serve: the database answers, its schema fits, wake-ups arrive."""
        return await health(self._engine)

    @asynccontextmanager
    async def connection(self, external_id: str) -> AsyncGenerator[None]:
        """Count the agent as online, and as one that reads its own inbox, for as long as this is open; raises
        AgentNotFoundError.
        """
        await self._engine.ready()
        agent = await self._engine.names.agent(external_id)
        await self._engine.presence.reads_inbox(agent.id)
        await self._engine.presence.attach([agent.id], AttachmentKind.CONNECTION)
        try:
            yield
        finally:
            if self._engine.is_open:
                await self._engine.presence.detach([agent.id], AttachmentKind.CONNECTION)
