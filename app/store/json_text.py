"""JSON of stored rows, to text and back: fast for what is usual, and whole for what is not."""

import json
from typing import Any

import orjson


def dumps(value: Any) -> str:
    """The text of a value. Integers beyond 64 bits and lone surrogates, which orjson refuses, are
    written by the standard library."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"))


def loads(text: str | bytes) -> Any:
    """The value of a text that ``dumps`` wrote; NaN and infinities, which older versions may have
    written, included."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
