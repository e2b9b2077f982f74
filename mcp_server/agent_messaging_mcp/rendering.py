"""Results as models and programs read them. Each form is complete by itself, for hosts pass on only one of
the two.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

import mcp_types as types

from agent_messaging_mcp.results import Body, Entry, Json, Refusal, Result
from agent_messaging_mcp.text import one_line, visible


def rendered(result: Result | Refusal, also: str = "") -> types.CallToolResult:
    """The answer to a tool call. An error is text only, so that every host shows the same."""
    match result:
        case Refusal(text):
            return types.CallToolResult(is_error=True, content=[_text(text)])
        case Result():
            return types.CallToolResult(
                content=[_text(as_text(result, also))], structured_content=as_structure(result, also)
            )


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def as_structure(result: Result, also: str = "") -> dict[str, Json]:
    """What programs, and the models of most hosts, read: `now` first, `also` last, peers' words as plain
    JSON strings.
    """
    structure: dict[str, Json] = {"now": result.now, "status": result.status, **result.facts}
    if result.about:
        structure |= _fields(result.about)
    if result.answer:
        structure["answer"] = _fields(result.answer)
    if result.events:
        structure["events"] = [visible(event) for event in result.events]
    if result.said is not None:
        structure["said"] = [_fields(entry) for entry in result.said]
    if result.items is not None:
        structure["items"] = [_fields(entry) for entry in result.items]
    if result.next:
        structure["next"] = result.next
    structure["also"] = also
    return structure


def _fields(entry: Entry) -> dict[str, Json]:
    fields: dict[str, Json] = dict(entry.facts)
    for body in entry.bodies:
        fields[body.name] = body.text
        if body.is_json:
            fields["json"] = True
        if body.rest:
            fields["rest"] = body.rest
    return fields


def as_text(result: Result, also: str = "") -> str:
    """What happened and what to do, then the material with peers' words fenced in, then what else waits."""
    entries = [entry for entry in (result.about, result.answer) if entry]
    blocks = [*entries, *(result.said or ()), *(result.items or ())]
    mark = _fresh_mark(blocks, result.events)
    parts = [result.now]
    if result.about:
        parts.extend(_block(result.about, mark))
    if result.answer:
        parts.extend(_block(result.answer, mark))
    if result.events:
        parts.append("\n".join([f"[{mark} events]", *map(one_line, result.events), f"[/{mark}]"]))
    for entry in (*(result.said or ()), *(result.items or ())):
        parts.extend(_block(entry, mark))
    if also:
        parts.append(also)
    return "\n".join(parts)


def _fresh_mark(entries: list[Entry], events: tuple[str, ...]) -> str:
    """A fence that nothing inside it contains, were it guessed."""
    while True:
        mark = secrets.token_hex(3)
        if not any(mark in body.text for entry in entries for body in entry.bodies) and not any(
            mark in event for event in events
        ):
            return mark


def _block(entry: Entry, mark: str) -> Iterator[str]:
    if not entry.bodies:
        yield f"- {entry.label}"
        return
    lines = [f"[{mark} {entry.label}]"]
    match entry.bodies:
        case (Body(name="text") as only,):
            lines.append(only.text)
        case several:
            # Indented, so that no line of one part looks like the beginning of another.
            lines += [f"{body.name}: {body.text}".replace("\n", "\n    ") for body in several]
    lines.append(f"[/{mark}]")
    for body in entry.bodies:
        if body.rest:
            lines[-1] += f" (cut: {body.whole} characters in all; the rest: {body.rest})"
    yield "\n".join(lines)


def as_markdown(heading: str, lines: Sequence[str], entries: Sequence[Entry], older: str = "") -> str:
    """A resource's page: facts in the server's words, then peers' words fenced in, then the link to the
    older page.
    """
    mark = _fresh_mark(list(entries), ())
    parts = [f"# {heading}", *lines]
    for entry in entries:
        parts.extend(_block(entry, mark))
    if older:
        parts.append(f"[Older]({older})")
    return "\n\n".join(parts) + "\n"
