"""Files written beside their place and moved there when all of them are whole."""

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from app.errors import DiskFullError, MissingDataError
from app.ingest.left_out import FileRange

Progress = Callable[[int, int], None]
"""Called with the bytes that are written so far, and all that will be."""

PIECE_BYTES = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StagedFiles:
    """Files that appear in a directory all together, or not at all.

    Raises ``DiskFullError`` where there is no room, and ``OSError`` for what else may go wrong
    with files; nothing is left in either case.
    """

    def __init__(self, directory: Path, total_bytes: int, on_progress: Progress | None) -> None:
        self._directory = directory
        self._total_bytes = total_bytes
        self._on_progress = on_progress
        self._done_bytes = 0
        self._staged: dict[str, Path] = {}
        self._made: list[Path] = []

    def __enter__(self) -> "StagedFiles":
        self._report(0)
        directories = (self._directory, *self._directory.parents)
        self._made = [path for path in directories if not path.exists()]
        self._directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        is_done = False
        try:
            if kind is None:
                self._publish()
                is_done = True
        finally:
            for path in self._staged.values():
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            if not is_done:
                for path in self._made:
                    with suppress(OSError):
                        path.rmdir()
        if isinstance(error, OSError) and error.errno in _FULL:
            raise DiskFullError(
                f"there is no room in {self._directory} for {self._total_bytes} bytes; make room, "
                "or write elsewhere. Nothing has been written"
            ) from error

    @contextmanager
    def file(self, name: str) -> "Iterator[StagedFile]":
        """A file in the making; it gets its name when all are whole."""
        path = self._directory / f".{name}.{secrets.token_hex(4)}.part"
        self._staged[name] = path
        with path.open("xb", buffering=0) as file:
            yield StagedFile(file, self._report)
            os.fsync(file.fileno())

    def adopt(self, name: str, path: Path) -> None:
        """Have a file that is whole, and on the same disk, get its name with the others."""
        self._staged[name] = path

    def _publish(self) -> None:
        for name in self._staged:
            if (self._directory / name).is_dir():
                raise IsADirectoryError(
                    errno.EISDIR, os.strerror(errno.EISDIR), str(self._directory / name)
                )
        for name, path in self._staged.items():
            path.replace(self._directory / name)
        _sync_directory(self._directory)

    def _report(self, nbytes: int) -> None:
        self._done_bytes += nbytes
        if self._on_progress is not None:
            self._on_progress(self._done_bytes, self._total_bytes)


class StagedFile:
    """A file that is written from its start to its end."""

    def __init__(self, file: BinaryIO, report: Callable[[int], None]) -> None:
        self._file = file
        self._report = report
        self._at = 0

    def write(self, content: bytes) -> None:
        """Add bytes."""
        left = memoryview(content)
        while left:
            written = os.write(self._file.fileno(), left[:PIECE_BYTES])
            left = left[written:]
            self._report(written)
        self._at += len(content)

    def copy(self, source: BinaryIO, place: FileRange) -> None:
        """Add a range of another file, in pieces. Raises ``MissingDataError`` if it ends before."""
        source.seek(place.start)
        left_bytes = place.nbytes
        while left_bytes:
            piece = source.read(min(left_bytes, PIECE_BYTES))
            if not piece:
                raise MissingDataError(
                    f"{source.name} ended at byte {place.end - left_bytes} while it was read; the "
                    "model has more data in it"
                )
            self.write(piece)
            left_bytes -= len(piece)

    def skip_to(self, offset: int) -> None:
        """Fill up with zeros."""
        self.write(bytes(offset - self._at))


def _sync_directory(directory: Path) -> None:
    """So that the names outlast a loss of power as the contents do."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
