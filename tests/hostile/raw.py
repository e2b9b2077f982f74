"""Bodies that no JSON library writes and no client sends, to be written to a socket or a pipe as they are."""

from __future__ import annotations

import json
from typing import Any

Raw = dict[str, bytes]

_CALL = '{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"send","arguments":%s%s}}'


def calls(meta: str) -> Raw:
    """Calls of `send` whose JSON is well-formed and whose message is poison, written as only bytes can say it.

    `meta` is what the era wants in the parameters: a comma and a member, or nothing.
    """
    texts = {
        "a NUL": '"a\\u0000b"',
        "half of a pair": '"\\ud800"',
        "the other half in a key": '{"\\udc00":1}',
        "a number beyond every float": "1e400",
        "a negative one": "[-1e400]",
        "NaN": "NaN",
        "infinity": '{"a":-Infinity}',
        "5,000 digits": "9" * 5_000,
        "5,000 levels": "[" * 5_000 + "]" * 5_000,
        "100,000 levels": '{"a":' * 100_000 + "1" + "}" * 100_000,
        "100,000 lists": "[" * 100_000 + "]" * 100_000,
        "a raw control character": '"a\x01b"',
        "a raw NUL": '"a\x00b"',
        "a raw line feed": '"a\nb"',
        "a comment": '"a" /* not JSON */',
        "a comma too many": "[1,2,]",
        "single quotes": "'a'",
        "a leading zero": "012",
        "a bare word": "undefined",
    }
    return {name: (_CALL % (7, f'{{"to":"bob","message":{text}}}', meta)).encode() for name, text in texts.items()}


def bytes_of(meta: str) -> Raw:
    """What is no UTF-8, no JSON, or no JSON-RPC."""
    good = (_CALL % (7, '{"to":"bob","message":"x"}', meta)).encode()
    half = good.index(b'"x"') + 1
    return {
        "nothing": b"",
        "blanks": b"  \t ",
        "bytes that are no UTF-8": good[:half] + b"\xff\xfe\x80" + good[half:],
        "half a character": good[:half] + "é".encode()[:1] + good[half:],
        "an overlong character": good[:half] + b"\xc0\x80" + good[half:],
        "a surrogate in UTF-8": good[:half] + b"\xed\xa0\x80" + good[half:],
        "Latin-1": good[:half] + "é".encode("latin-1") + good[half:],
        "half a message": good[: len(good) // 2],
        "two messages": good + good,
        "a message and a half": good + good[: len(good) // 2],
        "HTTP": b"GET / HTTP/1.1\r",
        "noise": bytes(range(256)).replace(b"\n", b"").replace(b"\r", b"") * 20,
        "a gzip": b"\x1f\x8b\x08\x00" + good,
        "a batch": b"[" + good + b"," + good + b"]",
        "an empty batch": b"[]",
        "a batch of nothing": b"[null,1,[]]",
        "a number": b"42",
        "a text": b'"hello"',
        "null": b"null",
        "an empty object": b"{}",
        "another version": good.replace(b'"2.0"', b'"1.0"'),
        "a version that is a number": good.replace(b'"2.0"', b"2.0"),
        "no version": good.replace(b'"jsonrpc":"2.0",', b""),
        "an id that is null": good.replace(b'"id":7', b'"id":null'),
        "an id that is true": good.replace(b'"id":7', b'"id":true'),
        "an id that is a list": good.replace(b'"id":7', b'"id":[7]'),
        "an id that is an object": good.replace(b'"id":7', b'"id":{"a":1}'),
        "an id with a fraction": good.replace(b'"id":7', b'"id":7.5'),
        "an id of 5,000 digits": good.replace(b'"id":7', b'"id":' + b"7" * 5_000),
        "an id beyond every float": good.replace(b'"id":7', b'"id":1e999'),
        "a method that is none": good.replace(b"tools/call", b"tools/none"),
        "a method with a NUL": good.replace(b"tools/call", b"tools\\u0000call"),
        "a very long method": good.replace(b"tools/call", b"m" * 500_000),
        "a method that is a list": good.replace(b'"tools/call"', b'["tools/call"]'),
        "a method that is a path": good.replace(b"tools/call", b"../../etc/passwd"),
        "a method of ours": good.replace(b"tools/call", b"__init__"),
        "parameters that are a list": _with("params", [1, 2]),
        "parameters that are a text": _with("params", "x"),
        "a tool that is a list": _with("params", {"name": ["send"], "arguments": {}}),
        "a tool that is none": _with("params", {"name": "\u202esend\x1b[2K", "arguments": {}}),
        "a very long tool": _with("params", {"name": "s" * 500_000, "arguments": {}}),
        "arguments that are a list": _with("params", {"name": "send", "arguments": [1]}),
        "arguments that are a text": _with("params", {"name": "send", "arguments": "x"}),
        "an answer that nobody asked for": b'{"jsonrpc":"2.0","id":7,"result":{}}',
        "an error that nobody asked for": b'{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"x"}}',
        "an answer and an error": b'{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":-1,"message":"x"}}',
        "a notification that is none": b'{"jsonrpc":"2.0","method":"notifications/none","params":{"a":[]}}',
        "a cancellation of nothing": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}',
        "a cancellation of everything": b'{"jsonrpc":"2.0","method":"notifications/cancelled",'
        b'"params":{"requestId":{}}}',
        "progress of nothing": b'{"jsonrpc":"2.0","method":"notifications/progress",'
        b'"params":{"progressToken":1,"progress":1e999}}',
    }


def accepted(meta: str) -> Raw:
    """What looks wrong and is one message all the same: the one that every reader of JSON makes of it."""
    good = (_CALL % (7, '{"to":"bob","message":"x"}', meta)).encode()
    return {
        "a key given twice": good.replace(b'"message":"x"', b'"message":"y","message":"x"'),
        "a member that nobody knows": good.replace(b'"jsonrpc"', b'"extra":{"a":[1]},"jsonrpc"'),
        "keys written as escapes": good.replace(b'"message"', b'"\\u006dessage"'),
        "blanks all over": good.replace(b":", b" :\t ").replace(b",", b" , ") if not meta else good,
    }


def _with(member: str, value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", member: value}).encode()
