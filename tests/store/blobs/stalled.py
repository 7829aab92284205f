"""Run as a program: a put that stops for good in the middle, to be killed.

``python -m tests.store.blobs.stalled URL KEY GOOD_BYTES`` prints a line when it has stopped.
"""

import io
import sys
import threading

from app.store.blobs import open_blobs


class StallingFile(io.BytesIO):
    """A file that cannot be read to its end, because that never comes."""

    def __init__(self, good_bytes: int) -> None:
        super().__init__(bytes(2 * good_bytes))
        self._good_bytes = good_bytes

    def read(self, nbytes: int | None = -1, /) -> bytes:
        data = super().read(nbytes)
        if self.tell() > self._good_bytes:
            print("stopped", flush=True)
            threading.Event().wait()
        return data


if __name__ == "__main__":
    url, key, good_bytes = sys.argv[1:]
    open_blobs(url).put(key, StallingFile(int(good_bytes)))
