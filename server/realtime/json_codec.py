"""JSON for python-socketio by orjson, in the shape that library expects; it knows no packet."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

MAX_DEPTH = 32
# A text that does not end is taken to the end of the message: tried anew from each quote in it, it would cost minutes.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


class PayloadRefused(ValueError):
    """Well-formed JSON that no handler should see."""


def dumps(value: object, **_: object) -> str:
    """python-socketio passes `separators`, and wants text."""
    return orjson.dumps(value).decode()


def loads(text: str | bytes) -> Any:
    """Raises PayloadRefused for nesting beyond MAX_DEPTH, lone surrogates and NaN, ValueError for what is not JSON."""
    if isinstance(text, bytes):
        text = text.decode()
    if text.count("[") + text.count("{") > MAX_DEPTH and _nests_too_deep(text):
        raise PayloadRefused(f"The payload nests deeper than {MAX_DEPTH} levels")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # JSON.stringify writes lone surrogates as escapes, Python's json writes NaN. Neither is worth a connection.
        json.loads(text)
        raise PayloadRefused("The payload holds broken Unicode, or a number such as NaN") from None


def _nests_too_deep(text: str) -> bool:
    depth = 0
    for token in _TOKENS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif token[0] in "]}":
            depth -= 1
    return False
