"""Files on their way, in and out: on disk, not in memory, and gone when nobody holds them."""

import errno
import hashlib
import os
import tempfile
import threading
from asyncio import Future, ensure_future
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from anyio import CancelScope, CapacityLimiter, to_thread

from app.errors import BusyError, DiskFullError, NotReadyError

PIECE_BYTES = 2**20
"""Written and hashed at a time, in a thread, while the next piece arrives."""
RESERVE_BYTES = 2**26
"""Left free on the disk, because the database may be on it as well."""
MOST_WRITERS = 4
"""Threads that write uploads; a slow disk takes no other threads from the service."""
PREFIX = "upload-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Spool:
    """A directory for uploads. Made when first used, and readable by this user only.

    Its files have no names wherever the file system can do without, and none but for a moment
    elsewhere, so that they end with the process that holds them. ``most_file_bytes``: how large a
    file may be, for whoever receives it. ``most_files``: that arrive or wait at a time.
    """

    def __init__(self, directory: Path, most_file_bytes: int, most_files: int = 64) -> None:
        self.most_file_bytes = most_file_bytes
        self._most_files = most_files
        self._files = 0
        self._directory = directory
        self._writers = CapacityLimiter(MOST_WRITERS)

    @property
    def files_under_way(self) -> int:
        """How many files arrive, or wait to be read."""
        return self._files

    def clear(self) -> None:
        """Remove what a killed process left. A file that another one has open stays readable."""
        for path in self._directory.glob(f"{PREFIX}*"):
            path.unlink(missing_ok=True)

    @asynccontextmanager
    async def file(self) -> "AsyncIterator[SpooledFile]":
        """A new file that is gone when the block ends. Raises ``BusyError``, ``NotReadyError`` or
        ``DiskFullError``."""
        if self._files >= self._most_files:
            raise BusyError(
                f"{self._files} uploads are under way or wait to be read, as many as this service "
                "takes at a time (KERF_QUEUE_UPLOADS); try again"
            )
        self._files += 1
        try:
            opened = await to_thread.run_sync(self._open, limiter=self._writers)
            spooled = SpooledFile(opened, self._writers)
            try:
                yield spooled
            finally:
                with CancelScope(shield=True):
                    await spooled.close()
        finally:
            self._files -= 1

    def hold(self, pieces: Iterable[bytes]) -> BinaryIO:
        """A file of bytes to be sent, open at its start; gone when it is closed.

        Raises ``NotReadyError`` or ``DiskFullError``.
        """
        file = self._open()
        try:
            for piece in pieces:
                _require_room(file, len(piece))
                _write_whole(file, piece)
            file.seek(0)
        except OSError as error:
            file.close()
            if error.errno in _FULL:
                raise _disk_full() from error
            raise
        except BaseException:
            file.close()
            raise
        return file

    def _open(self) -> BinaryIO:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return tempfile.TemporaryFile(buffering=0, prefix=PREFIX, dir=self._directory)
        except OSError as error:
            if error.errno in _FULL:
                raise _disk_full() from error
            raise NotReadyError(
                f"uploads cannot be kept in the data directory: {error.strerror}"
            ) from error


class SpooledFile:
    """A file that is written as its content arrives, and hashed on the way."""

    def __init__(self, file: BinaryIO, writers: CapacityLimiter) -> None:
        self.file = file
        self._writers = writers
        self._digest = hashlib.sha256()
        self._nbytes = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._writing: Future[None] | None = None
        self._lock = threading.Lock()

    @property
    def sha256(self) -> str:
        """Of all that has been written, after ``flush``."""
        return self._digest.hexdigest()

    @property
    def nbytes(self) -> int:
        """Of all that has been added."""
        return self._nbytes

    async def write(self, data: bytes) -> None:
        """Add data. Raises ``DiskFullError``, perhaps for data that were added before."""
        self._nbytes += len(data)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= PIECE_BYTES:
            await self._written()
            pieces, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._writing = ensure_future(
                to_thread.run_sync(self._write, pieces, limiter=self._writers)
            )

    async def flush(self) -> None:
        """Return when all has been written. Raises ``DiskFullError``."""
        await self._written()
        pieces, self._waiting, self._waiting_bytes = self._waiting, [], 0
        await to_thread.run_sync(self._write, pieces, limiter=self._writers)

    async def close(self) -> None:
        """Give the file up."""
        with suppress(DiskFullError, OSError):
            await self._written()
        # Freeing a large file takes as long as that takes.
        await to_thread.run_sync(self._close, limiter=self._writers)

    async def _written(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    def _write(self, pieces: list[bytes]) -> None:
        size = sum(map(len, pieces))
        # Held, because a request that is cut short closes the file, whose number then is another's.
        with self._lock:
            try:
                _require_room(self.file, size)
                for piece in pieces:
                    _write_whole(self.file, piece)
            except OSError as error:
                if error.errno in _FULL:
                    raise _disk_full() from error
                raise
        for piece in pieces:
            self._digest.update(piece)

    def _close(self) -> None:
        with self._lock:
            self.file.close()


def _require_room(file: BinaryIO, nbytes: int) -> None:
    """Raise ``DiskFullError`` where so many bytes more would leave too little on a file's disk."""
    disk = os.fstatvfs(file.fileno())
    if disk.f_bavail * disk.f_frsize < nbytes + RESERVE_BYTES:
        raise _disk_full()


def _write_whole(file: BinaryIO, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(file.fileno(), left) :]


def _disk_full() -> DiskFullError:
    return DiskFullError(
        "there is no room for this on the service's disk; try again later, or have its operator "
        "make room"
    )
