"""A range of a blob, piece by piece."""

from collections.abc import Callable, Iterator

from app.errors import NotReadyError

PIECE_BYTES = 2**20
"""Of a piece at most."""


class Pieces(Iterator[bytes]):
    """Pieces of at most 1 MiB. Holds a file or a connection until its end, or until closed.

    Raises ``NotReadyError`` where the store fails in the middle.
    """

    def __init__(
        self, read: Callable[[int], bytes], close: Callable[[], None], left_bytes: int
    ) -> None:
        self._read = read
        self._close = close
        self._left_bytes = left_bytes

    def __next__(self) -> bytes:
        if not self._left_bytes:
            self.close()
            raise StopIteration
        try:
            piece = self._read(min(PIECE_BYTES, self._left_bytes))
            if not piece:
                raise NotReadyError(f"a blob ends {self._left_bytes} bytes before its end")
        except BaseException:
            self.close()
            raise
        self._left_bytes -= len(piece)
        return piece

    def close(self) -> None:
        """Give up what is left, and whatever was held for it. Again does nothing."""
        self._left_bytes = 0
        self._close()


def bounded(start: int, end: int | None, size_bytes: int) -> int:
    """Where a range ends. Raises ``ValueError`` for one that does not lie in the blob."""
    bound = size_bytes if end is None else end
    if not 0 <= start <= bound <= size_bytes:
        raise ValueError(f"bytes {start} to {bound} are no range of a blob of {size_bytes} bytes")
    return bound
