"""What may be a key: nothing that leads out of a directory, or that a store would spell otherwise.

There are no upper-case letters, because some file systems do not tell them from lower-case ones.
"""

import re

MOST_CHARACTERS = 200
"""Of a key: as a file name it fits file systems, and in S3 it leaves room for a prefix."""
_NAMES = re.compile(r"[a-z0-9._-]+(/[a-z0-9._-]+)*")
_PREFIX = re.compile(r"[a-z0-9/._-]*")


def is_key(text: str) -> bool:
    """Whether a text can be a key."""
    return (
        len(text) <= MOST_CHARACTERS
        and _NAMES.fullmatch(text) is not None
        and not {".", ".."} & set(text.split("/"))
    )


def check_key(key: str) -> None:
    """Raise ``ValueError`` unless a text can be a key."""
    if not is_key(key):
        raise ValueError(
            f"{key!r} cannot be the key of a blob; a key is names of a-z, 0-9, '.', '_' and '-' "
            f"with slashes between them, {MOST_CHARACTERS} characters at most, and no name of it "
            "is '.' or '..'"
        )


def check_prefix(prefix: str) -> None:
    """Raise ``ValueError`` for a text that has characters which no key has."""
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError(
            f"{prefix!r} cannot begin the key of a blob; keys have a-z, 0-9, '.', '_', '-' and '/'"
        )
