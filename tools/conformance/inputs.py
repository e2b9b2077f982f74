"""What the conformance suite calls to be asked something back: by a request of the server, as the protocol of 2025
has it, or by a result that names what is missing, as that of 2026 has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver import Context
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

NAME = {"name": {"type": "string"}}
CONFIRMATION = {"ok": {"type": "boolean"}}
_CHOICES = ["option1", "option2", "option3"]
_TITLED = [{"const": f"value{number}", "title": f"Option {number}"} for number in (1, 2, 3)]

DEFAULTS: dict[str, Any] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
ENUMS: dict[str, Any] = {
    "untitledSingle": {"type": "string", "enum": _CHOICES},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _CHOICES}},
    "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
}


def _form(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


async def _asked(ctx: Context[Any, Any], message: str, properties: dict[str, Any]) -> str:
    answer = await ctx.session.elicit_form(message, _form(properties), related_request_id=ctx.request_id)
    return f"action={answer.action}, content={json.dumps(answer.content)}"


async def test_elicitation(message: str, ctx: Context[Any, Any]) -> str:
    """Asks the person at the client."""
    return f"User response: {await _asked(ctx, message, {'response': {'type': 'string'}})}"


async def test_elicitation_sep1034_defaults(ctx: Context[Any, Any]) -> str:
    """Asks for values that have defaults."""
    return f"Elicitation completed: {await _asked(ctx, 'Who are you?', DEFAULTS)}"


async def test_elicitation_sep1330_enums(ctx: Context[Any, Any]) -> str:
    """Asks to choose, in the five ways there are."""
    return f"Elicitation completed: {await _asked(ctx, 'Which ones?', ENUMS)}"


async def test_sampling(prompt: str, ctx: Context[Any, Any]) -> str:
    """Asks the client's model."""
    answer = await ctx.session.send_request(
        _model(prompt, most=100), CreateMessageResult, metadata=ServerMessageMetadata(related_request_id=ctx.request_id)
    )
    return f"LLM response: {answer.content}"


def person(message: str, properties: dict[str, Any]) -> ElicitRequest:
    """A question to the person at the client."""
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=_form(properties)))


def _model(prompt: str, *, most: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=most))


def needs(state: str | None = None, /, **requests: InputRequest) -> InputRequiredResult:
    """What a tool gives that can go on only with answers to these."""
    return InputRequiredResult(input_requests=requests, request_state=state)


def said(ctx: Context[Any, Any], name: str, field: str) -> object:
    """What a person answered to the request `name`; None if there is no such answer."""
    answer = (ctx.input_responses or {}).get(name)
    content = answer.content if isinstance(answer, ElicitResult) else None
    return content.get(field) if content else None


async def test_input_required_result_elicitation(ctx: Context[Any, Any]) -> str | InputRequiredResult:
    """Needs a name."""
    name = said(ctx, "user_name", "name")
    return f"Hello, {name}!" if name else needs(user_name=person("What is your name?", NAME))


async def test_streaming_elicitation(ctx: Context[Any, Any]) -> str | InputRequiredResult:
    """Needs a name too, and reports progress before it says so."""
    await ctx.report_progress(1, 2)
    return await test_input_required_result_elicitation(ctx)


async def test_input_required_result_sampling(ctx: Context[Any, Any]) -> str | InputRequiredResult:
    """Needs the client's model."""
    if "capital_question" in (ctx.input_responses or {}):
        return "The model has answered."
    return needs(capital_question=_model("What is the capital of France?", most=100))


async def test_input_required_result_list_roots(ctx: Context[Any, Any]) -> str | InputRequiredResult:
    """Needs the client's roots."""
    if "client_roots" in (ctx.input_responses or {}):
        return "The roots are known."
    return needs(client_roots=ListRootsRequest())


async def test_input_required_result_request_state(ctx: Context[Any, Any]) -> str | InputRequiredResult:
    """Needs a confirmation, and its own state back."""
    if ctx.request_state == "asked" and said(ctx, "confirm", "ok"):
        return "state-ok"
    return needs("asked", confirm=person("Please confirm", CONFIRMATION))


async def test_input_required_result_tampered_state(ctx: Context[Any, Any]) -> str | InputRequiredResult:
    """Needs its own state back, unchanged."""
    return await test_input_required_result_request_state(ctx)


async def test_input_required_result_multiple_inputs(ctx: Context[Any, Any]) -> str | InputRequiredResult:
    """Needs three things at once."""
    requests: dict[str, InputRequest] = {
        "user_name": person("What is your name?", NAME),
        "greeting": _model("Generate a greeting", most=50),
        "client_roots": ListRootsRequest(),
    }
    if requests.keys() <= (ctx.input_responses or {}).keys():
        return "All three are there."
    return needs("asked", **requests)


async def test_input_required_result_multi_round(ctx: Context[Any, Any]) -> str | InputRequiredResult:
    """Needs a name, then a colour."""
    if ctx.request_state and (color := said(ctx, "step2", "color")):
        return f"{json.loads(ctx.request_state)['name']} likes {color}."
    if name := said(ctx, "step1", "name"):
        color = {"color": {"type": "string"}}
        return needs(json.dumps({"name": name}), step2=person("Step 2: What is your favorite color?", color))
    return needs(json.dumps({}), step1=person("Step 1: What is your name?", NAME))


async def test_input_required_result_capabilities(ctx: Context[Any, Any]) -> InputRequiredResult:
    """Needs whatever the client says it can give."""
    can = ctx.client_capabilities
    requests: dict[str, InputRequest] = {}
    if can and can.sampling is not None:
        requests["sample"] = _model("Say hello", most=50)
    if can and can.elicitation is not None:
        requests["ask"] = person("What is your name?", NAME)
    return needs("asked", **requests)


async def test_input_required_result_prompt(ctx: Context[Any, Any]) -> str | InputRequiredResult:
    """A prompt that needs to know more."""
    if context := said(ctx, "user_context", "context"):
        return f"Use this: {context}"
    return needs(user_context=person("What context should the prompt use?", {"context": {"type": "string"}}))


TOOLS: tuple[Callable[..., Any], ...] = (
    test_elicitation,
    test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
    test_sampling,
    test_streaming_elicitation,
    test_input_required_result_elicitation,
    test_input_required_result_sampling,
    test_input_required_result_list_roots,
    test_input_required_result_request_state,
    test_input_required_result_tampered_state,
    test_input_required_result_multiple_inputs,
    test_input_required_result_multi_round,
    test_input_required_result_capabilities,
)
