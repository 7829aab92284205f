"""Ids of what is stored: 32 lower-case hexadecimal digits."""

import re

_ID = re.compile(r"[0-9a-f]{32}")


def is_id(text: str) -> bool:
    """Whether a text can be an id at all; no other text is ever asked of the database."""
    return _ID.fullmatch(text) is not None
