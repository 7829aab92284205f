"""Run as a program: put and read a large blob, and print how much memory that took at most.

``python -m tests.store.blobs.large URL BYTES``, in bytes beyond what a small blob takes.
"""

import os
import sys
import tempfile
from typing import BinaryIO, cast

from app.store.blobs import open_blobs
from tests.processes import resident_bytes

SMALL_BYTES = 2**23 + 1
"""Of a blob that takes all the ways which a large one takes."""


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resident_bytes([os.getpid()], "VmHWM")


def main(url: str, size_bytes: int) -> None:
    blobs = open_blobs(url)

    def put_and_read(nbytes: int) -> None:
        with tempfile.TemporaryFile() as file:
            file.truncate(nbytes)
            blobs.put("large", cast(BinaryIO, file))
        assert sum(map(len, blobs.read("large"))) == nbytes

    put_and_read(SMALL_BYTES)
    before_bytes = peak_bytes()
    put_and_read(size_bytes)
    print(peak_bytes() - before_bytes)
    blobs.delete("large")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
