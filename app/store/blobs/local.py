"""Blobs in a local directory: one file each, with "+" for the slashes of its key.

There are no directories in it, so one key may begin like another, as in S3, and none stay empty.
"""

import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from app.errors import DiskFullError, NotReadyError
from app.store.blobs.contract import LEFTOVER_AGE_S, BlobInfo, BlobNotFoundError
from app.store.blobs.keys import check_key, check_prefix, is_key
from app.store.blobs.pieces import PIECE_BYTES, Pieces, bounded

RESERVE_BYTES = 2**26
"""Left free on the disk, because the database may be on it as well."""
UNFINISHED = "~put-"
"""What the name of a file starts with until it is whole; no key has this character."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalBlobs:
    """A ``BlobStore`` in a directory, which is made when first written to, for this user only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, key: str, file: BinaryIO) -> None:
        """See ``BlobStore``."""
        path = self._path(key)
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        with self._unfinished(size_bytes) as (descriptor, unfinished):
            while piece := file.read(PIECE_BYTES):
                with _failures("written"):
                    _write_whole(descriptor, piece)
            with _failures("written"):
                os.fsync(descriptor)
                unfinished.replace(path)
        with _failures("written"):
            _sync(self._directory)

    def read(self, key: str, start: int = 0, end: int | None = None) -> Pieces:
        """See ``BlobStore``."""
        with _failures("read"):
            try:
                file = self._path(key).open("rb", buffering=0)
            except FileNotFoundError as error:
                raise BlobNotFoundError(f"there is no blob {key!r}") from error
            try:
                bound = bounded(start, end, os.fstat(file.fileno()).st_size)
                file.seek(start)
            except BaseException:
                file.close()
                raise

        def read(nbytes: int) -> bytes:
            with _failures("read"):
                return file.read(nbytes)

        return Pieces(read, file.close, bound - start)

    def size_bytes(self, key: str) -> int | None:
        """See ``BlobStore``."""
        with _failures("read"):
            try:
                return self._path(key).stat().st_size
            except FileNotFoundError:
                return None

    def delete(self, key: str) -> None:
        """See ``BlobStore``."""
        with _failures("written"):
            try:
                self._path(key).unlink()
            except FileNotFoundError:
                return
            _sync(self._directory)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """See ``BlobStore``."""
        check_prefix(prefix)
        return (
            BlobInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
            for name, status in self._files()
            if is_key(key := name.replace("+", "/")) and key.startswith(prefix)
        )

    def clear_leftovers(self) -> None:
        """See ``BlobStore``."""
        dead_at = time.time() - LEFTOVER_AGE_S
        for name, status in self._files():
            if name.startswith(UNFINISHED) and status.st_mtime < dead_at:
                with _failures("written"):
                    (self._directory / name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._directory / key.replace("/", "+")

    @contextmanager
    def _unfinished(self, size_bytes: int) -> Iterator[tuple[int, Path]]:
        """A new file by its descriptor and path, removed unless it has another name by the end."""
        with _failures("written"):
            if not self._directory.is_dir():
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync(self._directory.parent)
            disk = os.statvfs(self._directory)
            if disk.f_bavail * disk.f_frsize < size_bytes + RESERVE_BYTES:
                raise _disk_full()
            descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=self._directory)
        try:
            yield descriptor, Path(name)
        finally:
            os.close(descriptor)
            Path(name).unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        with _failures("read"):
            try:
                entries = os.scandir(self._directory)
            except FileNotFoundError:
                return
            with entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        # Removed since the directory was read.
                        continue
                    if stat.S_ISREG(status.st_mode):
                        yield entry.name, status


def _write_whole(descriptor: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _failures(verb: str) -> Iterator[None]:
    """Turn errors of the file system into the contract's."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full() from error
        raise NotReadyError(
            f"the directory of kept files cannot be {verb}: {error.strerror}"
        ) from error


def _disk_full() -> DiskFullError:
    return DiskFullError(
        "there is no room for this file on the disk where the service keeps files; try again "
        "later, or have its operator make room"
    )
