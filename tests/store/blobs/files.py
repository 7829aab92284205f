"""Files to put, and what is read back."""

import io
import random
from contextlib import closing
from typing import BinaryIO

from app.store.blobs import BlobStore

MIB = 2**20


class LostFileError(Exception):
    """What a ``LosingFile`` raises."""


class LosingFile(io.BytesIO):
    """A file that cannot be read beyond some byte."""

    def __init__(self, content: bytes, good_bytes: int) -> None:
        super().__init__(content)
        self._good_bytes = good_bytes

    def read(self, nbytes: int | None = -1, /) -> bytes:
        data = super().read(nbytes)
        if self.tell() > self._good_bytes:
            raise LostFileError
        return data


def content(nbytes: int, seed: int = 0) -> bytes:
    """Bytes that look like no others."""
    return random.Random(seed).randbytes(nbytes)


def file(data: bytes) -> BinaryIO:
    """A file that holds some bytes."""
    return io.BytesIO(data)


def value(blobs: BlobStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    """What a blob holds, or a range of it."""
    with closing(blobs.read(key, start, end)) as pieces:
        return b"".join(pieces)


def keys(blobs: BlobStore, prefix: str = "") -> list[str]:
    """The keys of a listing, sorted."""
    return sorted(blob.key for blob in blobs.list(prefix))
