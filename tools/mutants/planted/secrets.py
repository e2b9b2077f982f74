"""Bugs by which something that somebody wrote, or that opens something, gets out: R18."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_SAFETY = "mcp_server/agent_messaging_mcp/log_safety.py"
_LOGS = "tests/mcp_server/test_logs.py::"
_CANARIES = "tests/mcp_server/test_log_canaries.py::"

MUTANTS = (
    Mutant(
        name="log-of-content",
        promise="R18",
        sentence="The log repeats the arguments of every call, and so what agents write to each other.",
        file="mcp_server/agent_messaging_mcp/calls.py",
        old="        line.gave(result, arguments)\n        await _park(view, result)\n",
        new="        line.gave(result, arguments)\n"
        '        logger.info("called with %s", arguments)\n'
        "        await _park(view, result)\n",
        caught_by=(f"{_CANARIES}test_nothing_that_somebody_wrote_reaches_the_log",),
    ),
    Mutant(
        name="handles-that-are-words",
        promise="R18",
        sentence="What stands in the field of a handle is told by the log, whatever it is.",
        file=_SAFETY,
        old="            if isinstance(value, str) and form.fullmatch(value):\n",
        new="            if isinstance(value, str) and (value or form.fullmatch(value)):\n",
        caught_by=(f"{_LOGS}test_handles_are_told_from_the_result_or_in_their_own_form_only",),
    ),
    Mutant(
        name="the-drivers-words-repeated",
        promise="R18",
        sentence="The log repeats what the driver says of a row, with the values in it.",
        file=_SAFETY,
        old='    return str(error) if any(base.__name__ in _OUTSPOKEN for base in type(error).__mro__) else ""\n',
        new="    return str(error)\n",
        caught_by=(f"{_LOGS}test_what_the_driver_says_of_values_is_not_repeated",),
    ),
    Mutant(
        name="libraries-words-repeated",
        promise="R18",
        sentence="The log repeats what a library says, with what it carries.",
        file=_SAFETY,
        old="    if not ours:\n        return _without_values(record)\n",
        new="",
        caught_by=(f"{_LOGS}test_of_libraries_only_what_holds_no_value_is_repeated",),
    ),
    Mutant(
        name="secrets-not-blotted-out",
        promise="R18",
        sentence="A token or a password that stands in a sentence is written as it is.",
        file=_SAFETY,
        old="        text = secret.sub(instead, text)\n",
        new="        text = secret.sub(instead, text) if not text else text\n",
        caught_by=(f"{_LOGS}test_what_has_the_form_of_a_secret_is_blotted_out_wherever_it_stands",),
    ),
    Mutant(
        name="queries-in-the-access-log",
        promise="R18",
        sentence="The access log has the query of each request, where some put their tokens.",
        file="mcp_server/agent_messaging_mcp/log_lines.py",
        old='"path": path.partition("?")[0],',
        new='"path": path,',
        caught_by=(f"{_LOGS}test_the_listener_writes_in_the_same_form_and_its_access_lines_are_off",),
    ),
    Mutant(
        name="labels-from-outside",
        promise="R18",
        sentence="The page of metrics has labels that callers have chosen.",
        file="mcp_server/agent_messaging_mcp/metrics.py",
        old="        self.calls[tool if tool in TOOLS else OTHER, status if status in STATUSES else OTHER] += 1\n",
        new="        self.calls[tool, status] += 1\n",
        caught_by=("tests/mcp_server/test_metrics.py::test_no_label_takes_a_value_that_is_not_known_here",),
    ),
    Mutant(
        name="a-password-in-an-error",
        promise="R18",
        sentence="A setting that cannot be used is refused with its value, which may be a password.",
        file="protocol/agent_messaging/config.py",
        old="env_ignore_empty=True, hide_input_in_errors=True\n",
        new="env_ignore_empty=True, hide_input_in_errors=False\n",
        caught_by=(
            "tests/protocol/test_config.py::test_a_bad_value_is_refused_by_the_name_of_its_field_without_repeating_it",
        ),
    ),
    Mutant(
        name="the-servers-defects-in-results",
        promise="R18",
        sentence="A defect of the server is told to the caller with its words, of SQL and paths.",
        file="mcp_server/agent_messaging_mcp/errors.py",
        old='    return MCPError(INTERNAL_ERROR, "Something went wrong inside the server; its log says what. '
        'Try again later.")\n',
        new='    return MCPError(INTERNAL_ERROR, f"Something went wrong inside the server: {error!r}. '
        'Try again later.")\n',
        caught_by=("tests/mcp_server/test_defects_told.py::test_a_defect_is_told_without_its_words",),
    ),
    Mutant(
        name="tokens-repeated",
        promise="R18",
        sentence="A token that somebody pastes for a prefix is repeated in the refusal.",
        file="protocol/agent_messaging/tokens.py",
        old='                "that is not the prefix of a token: eight small letters and digits, as in the list"\n',
        new='                f"{prefix!r} is not the prefix of a token: eight small letters and digits"\n',
        caught_by=(
            "tests/protocol/test_tokens.py::test_a_token_that_is_pasted_for_its_prefix_is_revoked_and_never_repeated",
        ),
    ),
)
