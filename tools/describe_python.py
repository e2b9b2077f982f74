"""Write `docs/python-api.md` and `docs/configuration.md` from the code: `python tools/describe_python.py`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings

from agent_messaging import AgentMessaging, AgentMessagingError, AgentView, Config, errors, models
from agent_messaging.async_conversation import AsyncConversation
from agent_messaging.inbox import Inbox
from agent_messaging.meetings import MeetingManager
from agent_messaging.one_way import OneWayMessenger
from agent_messaging.silences import Silences
from agent_messaging.sync_conversation import SyncConversation
from agent_messaging.tasks import Tasks
from agent_messaging.tokens import Tokens
from agent_messaging_mcp.settings import Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
API = DOCS / "python-api.md"
CONFIGURATION = DOCS / "configuration.md"

SERVICES: dict[str, tuple[type, str]] = {
    "sdk": (AgentMessaging, "AgentMessaging"),
    "sdk.one_way": (OneWayMessenger, "One-way messages"),
    "sdk.sync_conversation": (SyncConversation, "Questions and answers"),
    "sdk.async_conversation": (AsyncConversation, "Messages that queue"),
    "sdk.meeting": (MeetingManager, "Meetings"),
    "sdk.inbox": (Inbox, "The inbox as a whole"),
    "sdk.tasks": (Tasks, "Tasks"),
    "sdk.tokens": (Tokens, "Bearer tokens"),
    "sdk.silences": (Silences, "Silences"),
}

# Calls that only give more than another one; they raise the same.
LIKE = {"ask": "send_and_wait", "answer": "reply"}

# Between services; it takes rows that only they have.
INTERNAL = {"first_need", "turns", "unread_after"}

# What a view's call does is done by this one, with its errors.
VIEW_OF = {
    "me": "sdk.get_agent",
    "called": "sdk.get_agent",
    "agents": "sdk.get_agent",
    "agent": "sdk.get_agent",
    "send": "sdk.async_conversation.send",
    "notify": "sdk.one_way.send",
    "ask": "sdk.sync_conversation.ask",
    "wait_for_answer": "sdk.sync_conversation.wait_for_answer",
    "reply": "sdk.sync_conversation.reply",
    "end_conversation": "sdk.sync_conversation.end_conversation",
    "conversation": "sdk.async_conversation.get_conversation",
    "inbox": "sdk.inbox.page",
    "wait_inbox": "sdk.inbox.wait",
    "pending": "sdk.inbox.page",
    "cursor": "sdk.inbox.cursor",
    "acknowledge": "sdk.inbox.acknowledge",
    "shown": "sdk.inbox.shown",
    "create_meeting": "sdk.meeting.create_meeting",
    "attend_meeting": "sdk.meeting.attend_meeting",
    "start_meeting": "sdk.meeting.start_meeting",
    "speak": "sdk.meeting.speak",
    "leave_meeting": "sdk.meeting.leave_meeting",
    "hand_over_host": "sdk.meeting.hand_over_host",
    "end_meeting": "sdk.meeting.end_meeting",
    "meeting": "sdk.meeting.get_meeting_status",
    "meetings": "sdk.get_agent",
    "meeting_history": "sdk.meeting.get_meeting_history",
    "may_begin_task": "sdk.tasks.may_begin",
    "begin_task": "sdk.tasks.begin",
    "task": "sdk.tasks.get",
    "complete_task": "sdk.tasks.complete",
    "cancel_task": "sdk.tasks.cancel",
    "on_inbox_change": "sdk.get_agent",
    "on_meeting_change": "sdk.meeting.get_meeting_status",
    "on_conversation_change": "sdk.get_agent",
}

_NOT_FOUND = {
    "AgentNotFoundError": "the agent does not exist",
    "OrganizationNotFoundError": "the organization does not exist",
    "MeetingNotFoundError": "the meeting does not exist",
}

API_HEAD = """\
# The Python API

Every public call, written from the code by `tools/describe_python.py`; do not edit. What the words mean is in the
[README](../README.md), how the states change in [states.md](states.md).

```python
from agent_messaging import AgentMessaging

async with AgentMessaging[MyMessage](config) as sdk:  # both are optional
    ...
```

`MyMessage` (`M` below) is any type that pydantic can validate: it is checked when sent and is what every call gives
back. Without it, a message is any JSON value. Ids of agents and organizations are yours (`external_id`); durations are
seconds.

- **A wait is a window.** `timeout` is the patience of one call: `None` is the configured default, 0 looks once. When it
  ends, or the call is cancelled, what was asked or said stands, and calling again resumes.
- **A cancelled send may have happened.** An `idempotency_key` tells: the same key with the same payload within 24 hours
  gives the first result, and sends nothing.
- **Every call** may also raise `DatabaseUnavailableError` after bounded retries, `NotInitializedError` when the SDK is
  not open, and `InvalidArgumentError` for an argument out of its range.
"""

CONFIGURATION_HEAD = """\
# Configuration

Written from the code by `tools/describe_python.py`; do not edit. Environment variables, or arguments of the same name
in small letters: `Config(database_url=…)`. Durations are seconds, sizes bytes. An empty variable is none.

If neither `DATABASE_URL` nor any `POSTGRES_*` is given, the embedded database of this user is used: a private
PostgreSQL, started by the first of this user's processes and stopped after the last.
"""


def calls_of(service: type) -> dict[str, Callable[..., Any]]:
    """The public methods of a class, in the order in which they are written."""
    return {
        name: member
        for name, member in vars(service).items()
        if not name.startswith("_") and inspect.isfunction(member) and name not in INTERNAL
    }


def properties_of(service: type) -> dict[str, property]:
    return {name: member for name, member in vars(service).items() if isinstance(member, property)}


def documented(call: object) -> tuple[str, dict[str, str]]:
    """What a docstring says a call does, and the errors it names with their reasons."""
    text, _, raises = (inspect.getdoc(call) or "").partition("\nRaises:\n")
    named = r"[A-Z]\w*Error(?:, [A-Z]\w*Error)*"
    found: dict[str, str] = {}
    for names, reason in re.findall(rf"({named}): (.*?)(?=[\s.;]*(?:{named}: |$))", " ".join(raises.split())):
        found |= dict.fromkeys(names.split(", "), reason)
    if in_passing := re.search(rf"[;.]\s+[Rr]aises\s+({named})", text):
        found |= dict.fromkeys(in_passing[1].split(", "), _NOT_FOUND.get(in_passing[1], ""))
        text = f"{text[: in_passing.start()]}{text[in_passing.end() :]}"
    return text.strip(), found


def signature_of(path: str, call: Callable[..., Any]) -> str:
    """How a call is written, with types and defaults."""
    signature = inspect.signature(call)
    parameters = list(signature.parameters.values())[1:]
    written: list[str] = []
    starred = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            written.append("*")
        written.append(re.sub(r": '([^']*)'", r": \1", str(parameter), count=1).replace("'", '"'))
    if inspect.isasyncgenfunction(inspect.unwrap(call)):
        before, after = "async with ", ": ..."
    else:
        before = "await " if inspect.iscoroutinefunction(inspect.unwrap(call)) else ""
        gives = str(signature.return_annotation).strip("'").replace("builtins.", "")  # as `Tokens.list` must write it
        after = f" -> {gives}"
    line = f"{before}{path}({', '.join(written)}){after}"
    if len(line) <= 100:
        return line
    return "\n".join([f"{before}{path}(", *(f"    {parameter}," for parameter in written), f"){after}"])


def section(path: str, call: Callable[..., Any]) -> Iterator[str]:
    """One call: how it is written, what it does, what it raises."""
    text, raised = documented(call)
    name = path.rpartition(".")[2]
    yield f"### {path}\n"
    yield f"```python\n{signature_of(path, call)}\n```\n"
    yield f"{text}\n"
    if name in LIKE:
        yield f"Raises what `{LIKE[name]}` raises.\n"
    elif raised:
        yield "| error | when |\n|---|---|"
        yield from (f"| `{error}` | {reason} |" for error, reason in raised.items())
        yield ""


def all_errors() -> list[type[AgentMessagingError]]:
    """Every error, groups first, as they are written."""
    return [
        member
        for member in vars(errors).values()
        if inspect.isclass(member) and issubclass(member, AgentMessagingError)
    ]


def error_rows() -> Iterator[str]:
    yield "| error | is a kind of | |\n|---|---|---|"
    for error in all_errors():
        base = next((base.__name__ for base in error.__bases__ if issubclass(base, AgentMessagingError)), "")
        meaning = " ".join((inspect.getdoc(error) or "").split())
        yield f"| `{error.__name__}` | {f'`{base}`' if base else ''} | {meaning} |"


def model_rows() -> Iterator[str]:
    yield "| model | fields | |\n|---|---|---|"
    for name in models.__all__:
        model = getattr(models, name)
        meaning = " ".join((model.__doc__ or "").split())
        fields = model.model_fields if issubclass(model, BaseModel) else [str(member) for member in model]
        yield f"| `{name}` | {', '.join(f'`{field}`' for field in fields)} | {meaning} |"


def api_page() -> str:
    """The page of the Python API."""
    parts = [API_HEAD]
    for path, (service, title) in SERVICES.items():
        parts.append(f"## {title}\n")
        for name, call in calls_of(service).items():
            parts.extend(section(f"{path}.{name}", call))
        for name, member in properties_of(service).items():
            parts.append(f"### {path}.{name}\n\n{inspect.getdoc(member)}\n")
    parts.append("## As one agent\n")
    parts.append(f"`sdk.as_agent(external_id)` gives an `AgentView`. {' '.join((AgentView.__doc__ or '').split())}\n")
    parts.append("| call | | errors of |\n|---|---|---|")
    for name, call in calls_of(AgentView).items():
        text = " ".join(documented(call)[0].split())
        parts.append(f"| `{name}` | {text} | `{VIEW_OF[name]}` |")
    parts += ["\n## What comes back\n", *model_rows()]
    parts += ["\n## Errors\n", "Grouped by what a caller can do about it. Catch a group, or the one.\n", *error_rows()]
    return "\n".join(parts) + "\n"


def settings_rows(settings: type[BaseSettings]) -> Iterator[str]:
    yield "| variable | default | |\n|---|---|---|"
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        variable = str(getattr(alias, "choices", [""])[-1]) if alias else f"{prefix}{name}".upper()
        default = "" if field.default_factory else field.get_default()
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        words = str(default).lower() if isinstance(default, bool) else str(default)
        shown = "" if default is None or words == "" else f"`{words}`"
        yield f"| `{variable}` | {shown} | {field.description or ''} |"


def configuration_page() -> str:
    """The page of the settings."""
    return (
        "\n".join(
            [
                CONFIGURATION_HEAD,
                "## The library, and everything built on it\n",
                *settings_rows(Config),
                "\n## The MCP server\n",
                *settings_rows(Settings),
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    API.write_text(api_page(), encoding="utf-8")
    CONFIGURATION.write_text(configuration_page(), encoding="utf-8")
