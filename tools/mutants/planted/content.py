"""Bugs by which what is sent comes back changed, or makes an inbox unreadable: R10."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_CONTENT = "protocol/agent_messaging/content.py"
_REFUSED = "tests/protocol/test_content.py::test_what_could_not_come_back_is_refused_with_the_reason"

MUTANTS = (
    Mutant(
        name="nul-let-in",
        promise="R10",
        sentence="A NUL character reaches PostgreSQL, which refuses the whole batch.",
        file=_CONTENT,
        old='    if "\\0" in text:\n',
        new='    if text == "\\0\\0":\n',
        caught_by=(_REFUSED,),
    ),
    Mutant(
        name="half-a-surrogate-let-in",
        promise="R10",
        sentence="Half of a surrogate pair, which is no text, reaches the driver.",
        file=_CONTENT,
        old="        text.encode()\n    except UnicodeEncodeError:\n",
        new='        text.encode(errors="replace")\n    except UnicodeEncodeError:\n',
        caught_by=(_REFUSED,),
    ),
    Mutant(
        name="nan-let-in",
        promise="R10",
        sentence="NaN and infinity, which JSON does not know, are written into a message.",
        file=_CONTENT,
        old="""\
    _walk(value, depth=0)
    return _TO_TEXT(value)
""",
        new="""\
    if not isinstance(value, float):
        _walk(value, depth=0)
    return json.dumps(value, ensure_ascii=False)
""",
        caught_by=(_REFUSED,),
    ),
    Mutant(
        name="any-integer-let-in",
        promise="R10",
        sentence="An integer beyond 64 bits is accepted, and a reader in another language gets another number.",
        file=_CONTENT,
        old="MAX_INTEGER = 2**63 - 1\n",
        new="MAX_INTEGER = 2**200\n",
        caught_by=(_REFUSED,),
    ),
    Mutant(
        name="any-depth-let-in",
        promise="R10",
        sentence="A message nested a thousand levels deep is accepted, and its readers cannot read it.",
        file=_CONTENT,
        old="MAX_DEPTH = 64\n",
        new="MAX_DEPTH = 100_000\n",
        caught_by=(_REFUSED,),
    ),
    Mutant(
        name="keys-unlooked-at",
        promise="R10",
        sentence="A key that is a number is accepted, and comes back as text.",
        file=_CONTENT,
        old="                    if not isinstance(key, str):\n",
        new="                    if not isinstance(key, str) and not (key := str(key)):\n",
        caught_by=(_REFUSED,),
    ),
    Mutant(
        name="changed-in-silence",
        promise="R10",
        sentence="A field that its type leaves out in JSON is accepted, and gone when the message is read.",
        file=_CONTENT,
        old="        if not same:\n",
        new="        if same is None:\n",
        caught_by=("tests/protocol/test_content.py::test_a_message_that_its_type_would_change_is_refused",),
    ),
    Mutant(
        name="metadata-unlooked-at",
        promise="R10",
        sentence="Poison that is refused in a message gets in as metadata.",
        file=_CONTENT,
        old="    text = _encode_json(metadata)\n",
        new="    text = json.dumps(metadata, default=str)\n",
        caught_by=("tests/protocol/test_content.py::test_metadata_is_a_dict_of_json_values",),
    ),
    Mutant(
        name="a-message-that-blocks-its-inbox",
        promise="R10",
        sentence="One message of another type makes every read of the inbox fail.",
        file="protocol/agent_messaging/reading.py",
        old="                await self._set_aside(row, error)\n",
        new="                raise error\n",
        caught_by=("tests/protocol/test_message_types.py::test_a_message_of_another_type_is_neither_sent_nor_lost",),
    ),
    Mutant(
        name="a-handler-that-is-given-poison-for-ever",
        promise="R10",
        sentence="A handler that fails on a message gets it again and again, without end.",
        file="protocol/agent_messaging/handler_run.py",
        old="        if row.attempt >= engine.config.max_delivery_attempts:\n",
        new="        if row.attempt >= 1_000_000:\n",
        caught_by=(
            "tests/protocol/test_handler_failures.py::"
            "test_after_the_last_attempt_the_message_is_dead_and_the_asker_is_told",
        ),
    ),
    Mutant(
        name="a-number-sent-as-text",
        promise="R10",
        sentence="A message that is a number arrives as text.",
        file="mcp_server/agent_messaging_mcp/arguments.py",
        old="            wanted = self.arg_model.model_fields[name].annotation\n",
        new="            wanted = str\n",
        caught_by=("tests/mcp_server/test_arguments.py::test_a_message_is_taken_exactly_as_sent",),
    ),
)
