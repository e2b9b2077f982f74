"""The edge through which content passes: what cannot be stored and given back equal is refused here, before
the database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from agent_messaging.errors import InvalidMessageError

M = TypeVar("M")

MAX_DEPTH = 64
MAX_METADATA = 65_536
MAX_INTEGER = 2**63 - 1
MIN_INTEGER = -(2**63)
_TO_TEXT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_SUSPECT = re.compile(r"\\u0000|\d{19}")  # a NUL, or digits enough for an integer beyond 64 bits


class Codec(Generic[M]):
    """Turns messages of one type into JSON text and back. With no type, a message is any JSON value.

    `max_bytes` bounds the UTF-8 text of one message.
    """

    def __init__(self, message_type: object | None, *, max_bytes: int) -> None:
        untyped = message_type is None or message_type is Any
        self._adapter: TypeAdapter[Any] | None = None if untyped else TypeAdapter(cast("Any", message_type))
        self._max_bytes = max_bytes

    def encode(self, message: M) -> str:
        """Write a message as JSON text; raises InvalidMessageError with the reason."""
        text = _encode_json(message) if self._adapter is None else self._encode_typed(message)
        if len(text) * 4 > self._max_bytes and (size := len(text.encode())) > self._max_bytes:
            raise InvalidMessageError(
                f"the message is {size} bytes of JSON and at most {self._max_bytes} are accepted; send less, or a "
                "reference to it"
            )
        return text

    def decode(self, text: str) -> M:
        """Read a message back; raises InvalidMessageError if it is not of this type."""
        if self._adapter is None:
            return cast("M", json.loads(text))
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            raise InvalidMessageError(
                f"the stored message is not of this program's message type: {_reasons(error)}"
            ) from error

    def _encode_typed(self, message: M) -> str:
        adapter = cast("TypeAdapter[Any]", self._adapter)
        try:
            checked = adapter.validate_python(message)
            text = adapter.dump_json(checked, round_trip=True).decode()
        except ValidationError as error:
            raise InvalidMessageError(f"the message is not of the message type: {_reasons(error)}") from error
        except (PydanticSerializationError, UnicodeError, RecursionError, ValueError) as error:
            raise InvalidMessageError(f"the message cannot be written as JSON: {_cause(error)}") from error
        if _SUSPECT.search(text) or text.count("[") + text.count("{") > MAX_DEPTH:
            _walk(_parse(text), depth=0)
        try:
            # With what was given, not with what validation made of it: accepted means that it comes back equal.
            same = bool(adapter.validate_json(text) == message)
        except (ValidationError, ValueError) as error:
            raise InvalidMessageError(f"the message could not be read back: {_cause(error)}") from error
        if not same:
            raise InvalidMessageError(
                "the message would come back changed (NaN, infinity, or a field that its type leaves out or alters in "
                "JSON)"
            )
        return text


def encode_metadata(metadata: dict[str, Any] | None) -> str | None:
    """Write metadata as JSON text; raises InvalidMessageError."""
    if metadata is None:
        return None
    if not isinstance(metadata, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidMessageError(f"metadata is a dict, not {type(metadata).__name__}")
    text = _encode_json(metadata)
    if len(text) > MAX_METADATA:
        raise InvalidMessageError(
            f"the metadata is {len(text)} characters of JSON and at most {MAX_METADATA} are accepted"
        )
    return text


def decode_metadata(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)


def checked_text(value: str | None, *, name: str, limit: int, error: Callable[[str], Exception]) -> str | None:
    """Give a short text (a title, a name) back if PostgreSQL can hold it; raises `error` with the reason."""
    if value is None:
        return None
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise error(f"{name} is text, not {type(value).__name__}")
    if len(value) > limit:
        raise error(f"{name} has {len(value)} characters and at most {limit} are accepted")
    if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
        raise error(f"{name} holds a NUL character or half of a surrogate pair")
    return value


def _encode_json(value: object) -> str:
    if isinstance(value, BaseModel):
        raise InvalidMessageError(
            f"{type(value).__name__} is a model; use AgentMessaging[{type(value).__name__}] to send and receive it"
        )
    _walk(value, depth=0)
    return _TO_TEXT(value)


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except (RecursionError, ValueError) as error:
        raise InvalidMessageError(f"the message cannot be read back: {_cause(error)}") from error


def _walk(value: object, *, depth: int) -> None:
    """Refuse what JSON, PostgreSQL or a reader in another language would change."""
    match value:
        case None | bool():
            pass
        case int():
            if not MIN_INTEGER <= value <= MAX_INTEGER:
                raise InvalidMessageError("the message holds an integer beyond 64 bits; send it as text")
        case float():
            if value != value or value in (float("inf"), float("-inf")):
                raise InvalidMessageError("the message holds NaN or infinity, which JSON does not know")
        case str():
            _check_text(value)
        case list() | dict():
            if depth >= MAX_DEPTH:
                raise InvalidMessageError(f"the message is nested deeper than {MAX_DEPTH} levels")
            if isinstance(value, dict):
                for key in cast("dict[object, object]", value):
                    if not isinstance(key, str):
                        raise InvalidMessageError(f"the message has a key that is no text: {type(key).__name__}")
                    _check_text(key)
            children = (
                cast("dict[str, object]", value).values() if isinstance(value, dict) else cast("list[object]", value)
            )
            for child in children:
                _walk(child, depth=depth + 1)
        case _:
            raise InvalidMessageError(
                f"the message holds a {type(value).__name__}, which is no JSON value; use AgentMessaging[YourType] for "
                "other types"
            )


def _check_text(text: str) -> None:
    if "\0" in text:
        raise InvalidMessageError("the message holds a NUL character (U+0000), which PostgreSQL cannot store")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidMessageError("the message holds half of a surrogate pair, which is no text") from None


def _reasons(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'value'}: {detail['msg']}"
        for detail in error.errors(include_input=False)[:3]
    )


def _cause(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return _reasons(error)
    return (str(error) or type(error).__name__).splitlines()[0][:200]
