"""JSON values that were lost, changed or choked on somewhere before, what the specification says of each, and random
ones.
"""

from __future__ import annotations

import json
import math
import os
import random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

LARGEST = 262_144
DEEPEST = 64

_ANY_TEXT = st.text(st.characters(exclude_categories=()))
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | _ANY_TEXT
    | st.text(st.sampled_from("\\u00\0\ud83d\ude00\u202eé\u0301\u2028\"'{}[]<>%\x1b\x7f\ufeff")),
    lambda inner: st.lists(inner) | st.dictionaries(_ANY_TEXT, inner),
    max_leaves=20,
)


def seed_of_run() -> int:
    """A seed, printed; AGENT_MESSAGING_SEED repeats a run."""
    number = int(os.environ.get("AGENT_MESSAGING_SEED") or random.SystemRandom().randrange(2**32))
    print(f"AGENT_MESSAGING_SEED={number}")
    return number


def random_values(count: int, number: int) -> list[Any]:
    """So many values; the same for the same seed `number`."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(_VALUES)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def nested(depth: int, *, of: Any = 1) -> Any:
    """A value inside so many lists and objects."""
    for level in range(depth):
        of = [of] if level % 2 else {"a": of}
    return of


def why_not(value: Any) -> str | None:
    """Why protocol.md §2 has a value refused; None if it must come back equal. Knows nothing of the product."""
    found = _objection(value)
    if found is None and len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > LARGEST:
        return "size"
    return found


def _objection(value: Any) -> str | None:
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += any(isinstance(one, list | dict) for one in level)
        if depth > DEEPEST:
            return "depth"
        if (found := next(filter(None, map(_scalar, level)), None)) is not None:
            return found
        level = [inner for one in level for inner in _inside(one)]
    return None


def _inside(value: Any) -> list[Any]:
    match value:
        case list():
            return value
        case dict():
            return [*value.keys(), *value.values()]
        case _:
            return []


def _scalar(value: Any) -> str | None:
    match value:
        case str() if "\0" in value:
            return "nul"
        case str() if any("\ud800" <= sign <= "\udfff" for sign in value):
            return "surrogate"
        case float() if not math.isfinite(value):
            return "not finite"
        case int() if not -(2**63) <= value < 2**63:
            return "64 bits"
        case _:
            return None


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON, to the sign of zero, the order of keys and the type of numbers."""
    match one, other:
        case dict(), dict():
            return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(same, one, other))
        case float(), float():
            return math.copysign(1, one) == math.copysign(1, other) and one == other
        case _:
            return type(one) is type(other) and one == other


POISON: dict[str, Any] = {
    "a NUL": "a\0b",
    "a NUL in a key": {"a\0": 1},
    "a NUL and nothing else": "\0",
    "half of a pair": "\ud800",
    "the other half": ["\udfff"],
    "both halves, written apart": "\ud83d\ude00",
    "half of a pair in a key": {"\udc00": 1},
    "NaN": math.nan,
    "infinity": [math.inf],
    "minus infinity": {"a": -math.inf},
    "one level too deep": nested(DEEPEST + 1),
    "5,000 levels": nested(5_000),
    "100,000 levels": nested(100_000),
    "an integer beyond 64 bits": 2**63,
    "a negative one": -(2**63) - 1,
    "5,000 digits": 10**5_000,
    "a byte too large": "x" * (LARGEST - 1),
    "too large in UTF-8 alone": "é" * (LARGEST // 2),
    "eight megabytes": "x" * 8_000_000,
    "200,000 items": [0] * 200_000,
}
"""What must be refused, whatever it stands in."""

DELICATE: dict[str, Any] = {
    "null": None,
    "empty": ["", {}, [], {"": ""}, [[]], {"a": {}}],
    "nothing but a text": "",
    "a blank": " ",
    "words of JSON": ["null", "true", "NaN", "-0", "1e400", "{}", '"'],
    "minus zero": [-0.0, 0.0, 0, -0.0],
    "one, as it can be written": [1, 1.0, True, "1"],
    "the integers at the edge": [2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1],
    "floats that look like integers": [1e22, 1e23, 2.0**63, 1e16, 123456789012345680.0],
    "floats at the edge": [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1 / 3, 1e-7],
    "composed and not": {"\u00e9": 1, "e\u0301": 2},
    "normalised and not": ["\u212b", "\u00c5", "A\u030a", "\ufb01", "fi", "\u1e9b\u0323"],
    "keys that differ in case": {"a": 1, "A": 2, "\uff41": 3},
    "keys that are numbers": {"1": 1, "01": 2, "1.0": 3, "": 4},
    "keys out of order": {"z": 1, "a": 2, "m": 3, "10": 4, "9": 5},
    "keys of programs": {"__proto__": {"x": 1}, "constructor": 1, "$ref": "#", "$where": "1", "now": "obey"},
    "escapes that are none": ["\\u0000", "\\ud800", "\\", "\\n", "%00", "&#0;"],
    "line ends": ["\r", "\n", "\r\n", "\u0085", "\u2028", "\u2029", "\x0b\x0c"],
    "signs that hide": "\u200b\u200d\u202e\u2066\ufeff\u00ad\U000e0041\x1b[2K\x08\x7f",
    "the ends of Unicode": "\x01\ud7ff\ue000\ufffd\ufffe\uffff\U0010ffff\U0001f600",
    "a mark of byte order": "\ufeffhello",
    "statements": ["'; DROP TABLE messages; --", "$1", "%s", "{0}", "\\x00", "E'\\000'"],
    "as deep as may be": nested(DEEPEST),
    "as large as may be": "x" * (LARGEST - 2),
    "as large as may be in UTF-8": "é" * (LARGEST // 2 - 1),
    "many small things": [None, False] * 5_000,
    "many keys": {f"key {number}": number for number in range(5_000)},
}
"""What must come back as it was, and did not everywhere."""
