"""A download on its way to a file, which is as it was before until all has come."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import httpx

from app.client.answers import media_type_of, url_of
from app.client.errors import InterruptedDownloadError, UnexpectedAnswerError, reason
from app.client.streams import Progress
from app.errors import DiskFullError

PIECE_BYTES = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PartFile:
    """A file under another name beside its target, whose place it takes when it is complete.

    A context manager: unless ``complete`` has been called when the block ends, however it ends,
    the target is as it was, and nothing else is left.
    """

    def __init__(self, target: Path) -> None:
        """Raises ``DiskFullError`` and ``OSError``: there is no such directory, or the target is
        no regular file."""
        if target.exists() and not target.is_file():
            # Renaming would put a file in the place of a device, or fail after all has come.
            raise FileExistsError(errno.EEXIST, "it is there, and is no regular file", str(target))
        self._target = target
        self._path = target.with_name(f".kerf-{secrets.token_hex(8)}.part")
        self._is_complete = False
        try:
            self._file = self._path.open("xb", buffering=0)
        except OSError as error:
            self._raise(error)

    def write(self, data: bytes) -> None:
        """Add data. Raises ``DiskFullError`` and ``OSError``."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._raise(error)

    def complete(self) -> None:
        """Have it on the disk, under its name. Raises ``DiskFullError`` and ``OSError``."""
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self._path.replace(self._target)
        except OSError as error:
            self._raise(error)
        self._is_complete = True
        _sync_directory(self._target.parent)

    def _raise(self, error: OSError) -> NoReturn:
        if error.errno not in _FULL:
            raise error
        raise DiskFullError(
            f"there is no room for {self._target} on its disk; make some and download it again"
        ) from error

    def __enter__(self) -> "PartFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if not self._is_complete:
            self._path.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Keep a new name over a loss of power, where the system can."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass
class Arriving:
    """What has come of a body. ``expected_bytes``: None where the answer does not say."""

    response: httpx.Response
    target: Path
    on_progress: Progress | None
    expected_bytes: int | None
    received_bytes: int = 0

    @classmethod
    def of(cls, response: httpx.Response, target: Path, on_progress: Progress | None) -> "Arriving":
        """The body of a good answer, from which nothing has been read.

        Raises ``UnexpectedAnswerError`` where its end could not be told from an interruption.
        """
        headers, url = response.headers, url_of(response)
        declared = headers.get("content-length")
        media_type = media_type_of(response)
        if media_type.startswith("text/") or "json" in media_type:
            raise UnexpectedAnswerError(
                f"{url} answers with {media_type}, which is no half of a model; is that the "
                "address of a Kerf service?"
            )
        is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        if declared is None and response.http_version.startswith("HTTP/1") and not is_chunked:
            raise UnexpectedAnswerError(
                f"{url} does not say how long the file is, so its end cannot be told from an "
                "interruption; is there a proxy of HTTP/1.0 between?"
            )
        if "content-encoding" in headers:
            raise UnexpectedAnswerError(
                f"{url} comes in the encoding {headers['content-encoding']}, though none was "
                "asked for"
            )
        return cls(response, target, on_progress, None if declared is None else int(declared))

    def add(self, nbytes: int) -> None:
        """Say that more has come, and is written."""
        self.received_bytes += nbytes
        if self.on_progress is not None:
            self.on_progress(self.received_bytes, self.expected_bytes or self.received_bytes)

    def end(self) -> None:
        """Raises ``InterruptedDownloadError`` where the body ended too early."""
        if self.expected_bytes not in (None, self.received_bytes):
            raise self._interrupted(self.received_bytes, "the connection ended")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise ``InterruptedDownloadError`` where the connection breaks in the block."""
        try:
            yield
        except httpx.TransportError as error:
            is_late = isinstance(error, httpx.TimeoutException)
            why = "nothing more came" if is_late else reason(error)
            raise self._interrupted(self.response.num_bytes_downloaded, why) from error

    def _interrupted(self, received_bytes: int, why: str) -> InterruptedDownloadError:
        of = "" if self.expected_bytes is None else f" of {self.expected_bytes}"
        return InterruptedDownloadError(
            f"the download of {url_of(self.response)} was interrupted after {received_bytes}{of} "
            f"bytes ({why}); {self.target} is as it was; download it again",
            received_bytes,
            self.expected_bytes,
        )
