"""What every blob store does."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from app.errors import NotFoundError
from app.store.blobs.pieces import Pieces

LEFTOVER_AGE_S = 86_400
"""How long nothing has happened to a ``put`` that is taken for dead."""


class BlobNotFoundError(NotFoundError):
    """A key that names no blob."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One blob of a listing; ``modified_at`` in UTC."""

    key: str
    size_bytes: int
    modified_at: datetime


class BlobStore(Protocol):
    """Blobs by key. Every call may come from any thread, and blocks it.

    Keys are names of lower-case letters, digits and ``._-``, with slashes between them (see
    ``app.store.blobs.keys``); any other raises ``ValueError``. A store that is out of reach, that
    refuses, or that is not there raises ``NotReadyError``, one without room ``DiskFullError``.
    """

    def put(self, key: str, file: BinaryIO) -> None:
        """Keep a file from its start to its end, in place of what the key named before.

        Whole or not at all: until the end there is what was there before. Durable when this
        returns. The file is read piece by piece, here, and stays open; it must be seekable. What
        it raises itself is passed on.
        """
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> Pieces:
        """The bytes from ``start`` up to ``end``, or all that follow, as they were at the call.

        Raises, at the call, ``BlobNotFoundError``, and ``ValueError`` for a range that does not
        lie in the blob. To be closed, unless it is read to its end.
        """
        ...

    def size_bytes(self, key: str) -> int | None:
        """How large a blob is; None where there is none."""
        ...

    def delete(self, key: str) -> None:
        """Remove a blob, if there is one. Who is reading it may read on from a directory; from
        S3 that is up to the server."""
        ...

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All blobs whose keys start with a text, "" for all, in no order to rely on.

        Fetched page by page, so the errors of the store come while it is iterated.
        """
        ...

    def clear_leftovers(self) -> None:
        """Remove what a ``put`` left whose process was killed a day ago or longer. No listing
        shows such remains, but they take room."""
        ...
