"""The tools for messages, questions and conversations between two agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

from mcp_types import ToolAnnotations
from pydantic import Field

from agent_messaging.errors import (
    ConversationEndedError,
    ConversationTimeoutError,
    HandlerFailedError,
    QuestionDeclinedError,
    WaitInterruptedError,
)
from agent_messaging_mcp.arguments import Content, WaitSeconds
from agent_messaging_mcp.calls import Call
from agent_messaging_mcp.results import MOST_ITEMS, Refusal, Result, fitting
from agent_messaging_mcp.text import call, counted, names
from agent_messaging_mcp.tools.conversation_results import (
    answered_by,
    closed,
    declined_by,
    interrupted,
    message_entry,
    sent,
    waits_for,
)
from agent_messaging_mcp.tools.declared import ToolSpec
from agent_messaging_mcp.tools.directory import presence
from agent_messaging_mcp.tools.positions import position
from agent_messaging_mcp.waits import Stopping

if TYPE_CHECKING:
    from agent_messaging.models import Answer

EVERYBODY = "*"
_DEFAULT_REPLY_WITHIN = 3_600.0
_MOST_PRESENCES = 10

Key = Annotated[str, Field(description="Repeating a call with the same key does nothing twice.")]
WithAgent = Annotated[str, Field(description="The other agent.")]


async def send(
    call_: Call,
    to: Annotated[
        Any,
        Field(description="One agent, several separated by commas, or * for every other agent you can reach."),
    ],
    message: Content,
    key: Key = "",
) -> Result | Refusal:
    recipients = list(dict.fromkeys(names(to)))
    if EVERYBODY in recipients:
        home = (await call_.view.me()).organization_id
        recipients = [
            agent.external_id
            for agent in await call_.view.agents(limit=1_000)
            if agent.reachable and agent.organization_id == home and agent.external_id != call_.me
        ]
        if not recipients:
            return Result(
                status="nobody",
                happened="Not sent: there is no other agent that could read it.",
                do=f"see who is registered with {call('list_agents')}.",
                next=call("list_agents"),
            )
    elif len(recipients) == 1:
        await call_.view.send(recipients[0], message, idempotency_key=key or None)
        return sent([await call_.view.agent(recipients[0])])
    if not recipients:
        return Refusal(f"Not sent: `to` names nobody. Now: choose with {call('list_agents')}.")
    await call_.view.notify(recipients, message, idempotency_key=key or None)
    return sent([await call_.view.agent(name) for name in recipients[:_MOST_PRESENCES]], recipients)


async def send_and_wait(
    call_: Call,
    to: Annotated[Any, Field(description="The agent to ask.")],
    message: Content,
    wait_seconds: WaitSeconds = 45,
    reply_within_seconds: Annotated[
        float, Field(description="How long the question stays open, 3600 unless given.")
    ] = _DEFAULT_REPLY_WITHIN,
    key: Key = "",
) -> Result | Refusal:
    asked = names(to)
    if len(asked) != 1 or asked[0] == EVERYBODY:
        return Refusal(
            f"Not asked: one agent at a time. Now: ask one, or tell several with {call('send', to=..., message=...)}."
        )
    recipient = asked[0]
    reply_by = reply_within_seconds if reply_within_seconds > 0 else _DEFAULT_REPLY_WITHIN
    return await _outcome(
        call_,
        recipient,
        wait_seconds,
        lambda window: call_.view.ask(
            recipient,
            message,
            timeout=window,
            reply_by=reply_by,
            idempotency_key=key or None,
            interruptible=True,
            reattach=not key,
            consume=False,
        ),
        open_for=reply_by,
    )


async def wait_for_answer(call_: Call, question: str, recipient: str, wait_seconds: float) -> Result | Refusal:
    """Go on waiting for the answer to a question that was asked; what a task does, and no tool of its own."""
    return await _outcome(
        call_,
        recipient,
        wait_seconds,
        lambda window: call_.view.wait_for_answer(question, timeout=window, interruptible=True, consume=False),
    )


async def _outcome(
    call_: Call,
    recipient: str,
    wait_seconds: float,
    wait: Callable[[float], Awaitable[Answer[Any]]],
    *,
    open_for: float | None = None,
) -> Result:
    """What becomes of a question while its asker waits. `open_for`: how long it stands from when it is asked."""
    try:
        answer = await call_.hold(wait_seconds, wait)
    except ConversationTimeoutError as ended:
        if ended.expired:
            return closed(
                "expired",
                f"{recipient} did not answer {ended.handle} in time, so it has expired",
                ended.handle,
            )
        return waits_for(recipient, ended.handle, f"{presence(await call_.view.agent(recipient))}", open_for)
    except WaitInterruptedError as ended:
        return interrupted(recipient, ended.handle)
    except HandlerFailedError as ended:
        return closed("failed", f"{recipient} failed on {ended.handle} at every attempt", ended.handle)
    except QuestionDeclinedError as ended:
        return declined_by(recipient, ended)
    except ConversationEndedError:
        return closed("conversation_ended", f"{recipient} or you ended the conversation before the answer", None)
    except Stopping:
        return waits_for(recipient, None, "the server is about to restart", None)
    return await answered_by(call_, answer)


async def reply(
    call_: Call,
    question: Annotated[str, Field(description="As in the inbox: q2k9.")],
    message: Content,
    decline: Annotated[bool, Field(description="True: you will not answer; message is the reason.")] = False,
) -> Result:
    content = None if decline and message == "" else message
    stored = await call_.view.reply(question, content, decline=decline)
    asker = await call_.view.agent(stored.asker)
    late = " It was late: the question had expired, and your answer is in its inbox." if stored.late else ""
    done = "Declined" if decline else "Answered"
    return Result(
        status="declined" if decline else "answered",
        happened=f"{done} {question} from {stored.asker} ({presence(asker)}).{late}",
        do="carry on with your work.",
        facts={"question": question},
        subjects=frozenset({question}),
    )


async def end_conversation(call_: Call, with_agent: WithAgent) -> Result:
    await call_.view.end_conversation(with_agent)
    return Result(
        status="ended",
        happened=f"The conversation with {with_agent} has ended; open questions between you are cancelled.",
        do=f"carry on with your work; {call('send', to=with_agent, message=...)} would begin a new one.",
    )


async def get_conversation(
    call_: Call,
    with_agent: WithAgent,
    after: Annotated[str, Field(description="Only what came after this number; left out: the newest.")] = "",
    limit: Annotated[int, Field(description="At most 20.")] = MOST_ITEMS,
) -> Result:
    at = position(after)
    most = max(1, min(limit or MOST_ITEMS, MOST_ITEMS))
    page = await call_.view.conversation(with_agent, after_seq=at.after_seq, limit=most)
    messages = page.messages
    entries = [message_entry(with_agent, message, at.start if message.seq == at.within else 0) for message in messages]
    newest = at.after_seq is None
    shown = tuple(reversed(fitting(reversed(entries)))) if newest else fitting(entries)
    messages = messages[len(messages) - len(shown) :] if newest else messages[: len(shown)]
    if not messages:
        return Result(
            status="empty",
            happened=f"Nothing {'more ' if after else ''}between you and {with_agent}.",
            do="carry on with your work.",
            items=(),
        )
    first, last = messages[0].seq or 0, messages[-1].seq or 0
    if newest:
        older = first - 1
        next_ = (
            call("get_conversation", with_agent=with_agent, after=str(max(older - MOST_ITEMS, 0))) if older > 0 else ""
        )
        do = f"read older ones with {next_}, or carry on." if next_ else "carry on with your work."
    else:
        unseen = page.has_more or len(shown) < len(entries)
        next_ = call("get_conversation", with_agent=with_agent, after=str(last)) if unseen else ""
        do = f"read on with {next_}." if next_ else "carry on with your work."
    return Result(
        status="messages",
        happened=f"{counted(len(messages), 'message')} of you and {with_agent}, number {first} to {last}.",
        do=do,
        next=next_,
        items=shown,
    )


_SENDS = {"read_only_hint": False, "destructive_hint": False, "open_world_hint": False}

TOOLS = (
    ToolSpec(
        send,
        "Tell other agents something without waiting. To one agent it continues your conversation; "
        "to several it is a one-way notice. "
        "Says whether they are online.",
        ToolAnnotations(title="Send", idempotent_hint=False, **_SENDS),
    ),
    ToolSpec(
        send_and_wait,
        "Ask one agent a question and wait for the answer. If the wait ends first, the question stays open "
        "and the answer comes to your inbox: do other work, do not ask again.",
        ToolAnnotations(title="Ask", idempotent_hint=False, **_SENDS),
    ),
    ToolSpec(
        reply,
        "Answer a question from your inbox, once. "
        "Answer rather than leave it open; decline with a reason if you cannot.",
        ToolAnnotations(title="Reply", idempotent_hint=False, **_SENDS),
    ),
    ToolSpec(
        end_conversation,
        "End the conversation with an agent. Cancels open questions between you; the history stays.",
        ToolAnnotations(
            title="End conversation",
            read_only_hint=False,
            destructive_hint=True,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    ),
    ToolSpec(
        get_conversation,
        "Read what you and another agent wrote to each other, read or not. Marks nothing.",
        ToolAnnotations(
            title="Read conversation",
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    ),
)
