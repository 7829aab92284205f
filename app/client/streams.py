"""Bodies of requests in pieces, for either client: one that waits and one that awaits."""

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice

import httpx
from anyio import to_thread

Progress = Callable[[int, int], None]
"""Called with the bytes that have been sent or received so far, and all that will be."""


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that httpx sends piece by piece. ``nbytes``: its length."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The same pieces; subclasses say how to come by them without holding up others."""
        for piece in self:
            yield piece


class Counted(Stream):
    """A body of known length that reports a piece when the next is asked for: by then it is sent.

    ``pieces`` may read a disk, and does so in a thread where others would have to wait.
    """

    def __init__(
        self, pieces: httpx.SyncByteStream, nbytes: int, on_progress: Progress | None
    ) -> None:
        super().__init__(nbytes)
        self._pieces = pieces
        self._on_progress = on_progress

    def __iter__(self) -> Iterator[bytes]:
        sent_bytes = 0
        for piece in self._pieces:
            yield piece
            sent_bytes += len(piece)
            self._report(sent_bytes)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces, sent_bytes = iter(self._pieces), 0

        def several() -> bytes:
            return b"".join(islice(pieces, _PIECES_AT_ONCE))

        while piece := await to_thread.run_sync(several):
            yield piece
            sent_bytes += len(piece)
            self._report(sent_bytes)

    def _report(self, sent_bytes: int) -> None:
        if self._on_progress is not None:
            self._on_progress(sent_bytes, self.nbytes)


_PIECES_AT_ONCE = 16
"""Of the 64 KiB in which httpx reads a file: a thread for each would cost more than reading it."""


class Pieces(Stream):
    """Bytes that are in memory, in pieces of what a connection takes at a time."""

    def __init__(self, content: memoryview) -> None:
        super().__init__(len(content))
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self.nbytes, _PIECE_BYTES):
            yield bytes(self._content[start : start + _PIECE_BYTES])


_PIECE_BYTES = 2**16
