"""Bugs by which a peer's text gets out of its block: R16."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_RENDERING = "mcp_server/agent_messaging_mcp/rendering.py"
_TEXT = "mcp_server/agent_messaging_mcp/text.py"
_TESTS = "tests/mcp_server/test_rendering.py::"

MUTANTS = (
    Mutant(
        name="one-fence-for-all",
        promise="R16",
        sentence="Every result has the same fence, which a peer can therefore write.",
        file=_RENDERING,
        old="        mark = secrets.token_hex(3)\n",
        new='        mark = "0" * 5 + str(len(entries) * 0)\n',
        caught_by=(f"{_TESTS}test_a_fence_is_not_used_twice_and_not_in_what_it_fences",),
    ),
    Mutant(
        name="a-guessed-fence-stands",
        promise="R16",
        sentence="A fence that a peer has guessed is used all the same.",
        file=_RENDERING,
        old="        if not any(mark in body.text for entry in entries for body in entry.bodies) and not any(\n",
        new="        if mark or not any(\n",
        caught_by=(f"{_TESTS}test_a_guessed_fence_is_replaced",),
    ),
    Mutant(
        name="events-out-of-their-fence",
        promise="R16",
        sentence="What happened in a meeting, with what peers wrote about it, stands outside of every fence.",
        file=_RENDERING,
        old='        parts.append("\\n".join([f"[{mark} events]", *map(one_line, result.events), f"[/{mark}]"]))\n',
        new='        parts.append("\\n".join(map(one_line, result.events)))\n',
        caught_by=(f"{_TESTS}test_no_hostile_text_leaves_its_block",),
    ),
    Mutant(
        name="hidden-text-stays-hidden",
        promise="R16",
        sentence="Characters that show nothing, or turn the direction of writing round, get to the model as they are.",
        file=_TEXT,
        old="    return _BEYOND_ASCII.sub(replace, text)\n",
        new="    return text or _BEYOND_ASCII.sub(replace, text)\n",
        caught_by=("tests/mcp_server/test_text.py::test_nothing_hidden_is_left_in_hostile_text",),
    ),
    Mutant(
        name="blank-letters-pass",
        promise="R16",
        sentence="Letters that every font draws as nothing get to the model as they are.",
        file=_TEXT,
        old="        or character in _BLANK\n",
        new="",
        caught_by=("tests/mcp_server/test_text.py::test_nothing_hidden_is_left_in_hostile_text",),
    ),
    Mutant(
        name="sentences-broken-by-peers",
        promise="R16",
        sentence="A peer's name or title breaks a sentence of the server into lines of its own.",
        file=_TEXT,
        old='    text = _LINE_BREAKS.sub(" ", visible(text)).strip()\n',
        new="    text = visible(text).strip()\n",
        caught_by=("tests/mcp_server/test_text.py::test_a_sentence_of_the_server_is_one_line",),
    ),
    Mutant(
        name="a-page-without-a-fence",
        promise="R16",
        sentence="On the pages of resources peers' words stand among those of the server.",
        file=_RENDERING,
        old="    for entry in entries:\n        parts.extend(_block(entry, mark))\n    if older:\n",
        new="    for entry in entries:\n"
        '        parts.extend([f"- {entry.label}", *(body.text for body in entry.bodies)] if mark else [])\n'
        "    if older:\n",
        caught_by=(f"{_TESTS}test_a_page_fences_what_peers_wrote",),
    ),
    Mutant(
        name="results-without-a-bound",
        promise="R16",
        sentence="One long message fills the whole context of the model that reads it.",
        file=_TEXT,
        old="LONGEST_BODY = 6_000\n",
        new="LONGEST_BODY = 6_000_000\n",
        caught_by=(f"{_TESTS}test_a_result_stays_below_eight_thousand_tokens",),
    ),
)
