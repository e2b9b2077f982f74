"""The services of one SDK object, as its views need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from agent_messaging.async_conversation import AsyncConversation
from agent_messaging.directory import Directory
from agent_messaging.following import Follower
from agent_messaging.inbox import Inbox
from agent_messaging.meetings import MeetingManager
from agent_messaging.one_way import OneWayMessenger
from agent_messaging.silences import Silences
from agent_messaging.sync_conversation import SyncConversation
from agent_messaging.tasks import Tasks
from agent_messaging.tokens import Tokens

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Services(Generic[M]):
    directory: Directory
    one_way: OneWayMessenger[M]
    sync_conversation: SyncConversation[M]
    async_conversation: AsyncConversation[M]
    meeting: MeetingManager[M]
    inbox: Inbox[M]
    follower: Follower[M]
    tasks: Tasks
    tokens: Tokens
    silences: Silences
