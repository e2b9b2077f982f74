"""What tools publish about their arguments, and what they accept: more than they publish, never anything
else in silence.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Annotated, Any, cast

from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from agent_messaging_mcp import logs
from agent_messaging_mcp.rendering import rendered
from agent_messaging_mcp.results import Json, Refusal
from agent_messaging_mcp.text import names, one_line

Content = Annotated[Any, Field(description="Text, or JSON as text.")]
"""A message: published as a string, any JSON value is accepted, and a string is taken exactly as it was
sent.
"""

WaitSeconds = Annotated[float, Field(description="Longest time to hold this call, 0 to look once.")]

OUTPUT: dict[str, Json] = {
    "type": "object",
    "properties": {
        "now": {"type": "string"},
        "status": {"type": "string"},
        "question": {"type": "string"},
        "answer": {"type": "object"},
        "meeting": {"type": "string"},
        "turn": {"type": "integer"},
        "seconds_left": {"type": "integer"},
        "said": {"type": "array", "items": {"type": "object"}},
        "items": {"type": "array", "items": {"type": "object"}},
        "cursor": {"type": "string"},
        "next": {"type": "string"},
        "also": {"type": "string"},
    },
    "required": ["now", "status"],
}
"""The same for every tool: the fields have the same names everywhere."""

_IN_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list of names",
}


class ToolArguments(FuncMetadata):
    """Checks a call's arguments: nothing is guessed from text, and what is wrong is said in one sentence."""

    tool: str
    published: dict[str, dict[str, Any]]
    required: frozenset[str]
    count: Callable[[str, str], None]
    overdrawn: Callable[[], CallToolResult | None]

    def validate_arguments(self, arguments_to_validate: dict[str, Any]) -> dict[str, Any]:
        """Pass the arguments on unchecked: raised from here, a refusal would carry the SDK's own words."""
        return {"sent": arguments_to_validate}

    def call_fn(
        self,
        fn: Callable[..., Any],
        fn_is_async: bool,
        arguments: dict[str, Any],
        arguments_to_pass_directly: dict[str, Any] | None = None,
    ) -> CoroutineType[Any, Any, CallToolResult]:
        """Give what the tool is to do, and be gone: what is awaited here would be kept by every held call."""
        # Before they are looked at: a call that is refused for its arguments costs as much as another.
        if (refused := self.overdrawn()) is not None:
            return _given(refused)
        try:
            checked = super().validate_arguments(self._known(arguments["sent"]))
        except ValueError as wrong:
            refusal = Refusal(f"{self._explained(wrong, arguments['sent'])} Nothing was done.")
            with logs.called(self.tool, count=self.count) as line:
                line.gave(refusal, {})
            return _given(rendered(refusal))
        return fn(**checked, **(arguments_to_pass_directly or {}))

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Read lists that come as text, and drop neutral values: strict hosts must send every argument."""
        return {name: self._read(name, value) for name, value in data.items() if not self._says_nothing(name, value)}

    def _known(self, sent: dict[str, Any]) -> dict[str, Any]:
        if unknown := [one_line(name, 60) for name in sent if name not in self.published]:
            raise ValueError(f"{self.tool} has no argument {', '.join(unknown)}; it has {self._names()}.")
        return sent

    def _says_nothing(self, name: str, value: object) -> bool:
        if name in self.required:
            return False
        return value is None or (value == "" and self.published[name]["type"] != "string")

    def _read(self, name: str, value: Any) -> Any:
        published = self.published[name]["type"]
        if published == "string" and isinstance(value, int | float) and not isinstance(value, bool):
            wanted = self.arg_model.model_fields[name].annotation
            return str(value) if wanted is str else value
        if published == "array" and (isinstance(value, str) or _all_text(value)):
            return names(value)
        return value

    def _explained(self, refused: ValueError, sent: dict[str, Any]) -> str:
        if not isinstance(refused, ValidationError):
            return str(refused)
        details = refused.errors()
        missing = [str(detail["loc"][0]) for detail in details if detail["type"] == "missing"]
        sentences = (
            [f"{self.tool} needs {' and '.join(missing)}; its arguments are {self._names()}."] if missing else []
        )
        wrong = {str(detail["loc"][0]): detail for detail in details if detail["type"] != "missing"}
        sentences += [self._ill_typed(name, detail, sent) for name, detail in wrong.items()]
        return " ".join(sentences)

    def _ill_typed(self, name: str, detail: ErrorDetails, sent: dict[str, Any]) -> str:
        value = one_line(json.dumps(sent.get(name), ensure_ascii=False), 60)
        return f"{name} must be {_IN_WORDS[self.published[name]['type']]}, and is {value}."

    def _names(self) -> str:
        return ", ".join(name if name in self.required else f"{name} (optional)" for name in self.published)


async def _given(result: CallToolResult) -> CallToolResult:
    return result


def _all_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(inner, str) for inner in cast("list[object]", value))


def published(
    function: Callable[..., Awaitable[object]],
    *,
    name: str,
    description: str,
    annotations: ToolAnnotations,
    context_argument: str,
    count: Callable[[str, str], None],
    overdrawn: Callable[[], CallToolResult | None] = lambda: None,
) -> Tool:
    """A tool with the schemas that every host accepts: one `type` each, and no keyword that any of them
    refuses.
    """
    tool = Tool.from_function(
        function,
        name=name,
        description=description,
        annotations=annotations,
        context_kwarg=context_argument,
        structured_output=False,
    )
    tool.parameters = slim(tool.parameters)
    tool.fn_metadata = ToolArguments(
        arg_model=tool.fn_metadata.arg_model,
        output_schema=cast("dict[str, Any]", OUTPUT),
        tool=name,
        published=tool.parameters["properties"],
        required=frozenset(tool.parameters.get("required", ())),
        count=count,
        overdrawn=overdrawn,
    )
    return tool


def slim(schema: dict[str, Any]) -> dict[str, Any]:
    """An input schema without titles, defaults and unions. What has no type is published as a string."""
    properties: dict[str, Any] = {}
    for name, field in schema.get("properties", {}).items():
        slimmed = {"type": field.get("type", "string")}
        slimmed |= {key: field[key] for key in ("description", "items") if key in field}
        properties[name] = slimmed
    required = {"required": schema["required"]} if schema.get("required") else {}
    return {"type": "object", "properties": properties, **required}
