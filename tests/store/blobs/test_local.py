"""Blobs in a directory: durability, remains of killed processes, full disks, foreign files."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import DiskFullError, NotReadyError
from app.store.blobs import BlobNotFoundError, BlobStore, open_blobs
from app.store.blobs.local import RESERVE_BYTES, UNFINISHED
from tests.store.blobs.files import MIB, content, file, keys, value

DAY_S = 86_400
LIMITED = """
import io, resource, sys
from app.errors import DiskFullError
from app.store.blobs import open_blobs

blobs = open_blobs(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
blobs.put("small", io.BytesIO(bytes(2_999_999)))
try:
    blobs.put("old", io.BytesIO(bytes(3_000_001)))
except DiskFullError as error:
    print(error)
"""
"""A program for which no file may be larger than 3 MB."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory that is not there yet."""
    return tmp_path / "kept" / "blobs"


@pytest.fixture
def blobs(directory: Path) -> BlobStore:
    """A store in it."""
    return open_blobs(directory.as_uri())


@contextmanager
def stalled_put(directory: Path, key: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process, in the middle of a put."""
    command = [sys.executable, "-m", "tests.store.blobs.stalled", directory.as_uri(), key]
    with subprocess.Popen([*command, str(3 * MIB)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "stopped\n"
            yield process
        finally:
            process.kill()


def unfinished(directory: Path) -> list[Path]:
    """The files of puts that are under way, or were."""
    return list(directory.glob(f"{UNFINISHED}*"))


def test_a_killed_put_leaves_what_was_there(directory: Path, blobs: BlobStore) -> None:
    """A process that is killed in a put leaves the old blob, and nothing that a listing shows."""
    blobs.put("a", file(b"old"))
    for key in ("a", "b"):
        with stalled_put(directory, key) as process:
            process.send_signal(signal.SIGKILL)
    assert len(unfinished(directory)) == 2
    assert keys(blobs) == ["a"]
    assert value(blobs, "a") == b"old"
    assert blobs.size_bytes("b") is None


def test_remains_go_after_a_day(directory: Path, blobs: BlobStore) -> None:
    """What a killed put left is removed when it is a day old, and what is under way is not."""
    blobs.put("a", file(b"1"))
    with stalled_put(directory, "b"):
        (young,) = unfinished(directory)
        with stalled_put(directory, "c"):
            pass
        (old,) = set(unfinished(directory)) - {young}
        a_day_ago = time.time() - DAY_S
        os.utime(old, (a_day_ago, a_day_ago))
        os.utime(young, (a_day_ago + 600, a_day_ago + 600))
        os.utime(directory / "a", (0, 0))
        blobs.clear_leftovers()
        assert unfinished(directory) == [young]
    assert keys(blobs) == ["a"]


def test_a_file_that_does_not_fit(directory: Path, blobs: BlobStore) -> None:
    """A put that the disk has no room for says so, leaves the old blob, and takes no room."""
    blobs.put("old", file(b"old"))
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, directory.as_uri()], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "no room for this file" in result.stdout
    assert value(blobs, "old") == b"old"
    assert keys(blobs) == ["old", "small"]
    assert unfinished(directory) == []


def test_room_is_left_for_the_database(directory: Path, blobs: BlobStore, tmp_path: Path) -> None:
    """A file that would take the last 64 MiB of the disk is refused before it is copied."""
    disk = os.statvfs(tmp_path)
    free_bytes = disk.f_bavail * disk.f_frsize

    class LargeFile(io.BytesIO):
        def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
            start_bytes = free_bytes - RESERVE_BYTES // 2 if whence == os.SEEK_END else 0
            return start_bytes + offset

        def read(self, _nbytes: int | None = -1, /) -> bytes:
            raise AssertionError("this file has been read")

    with pytest.raises(DiskFullError, match="no room for this file"):
        blobs.put("a", LargeFile())
    assert list(directory.iterdir()) == []


def test_what_is_not_a_directory(tmp_path: Path) -> None:
    """Where the directory cannot be, every verb says what failed."""
    (tmp_path / "file").touch()
    blobs = open_blobs((tmp_path / "file" / "blobs").as_uri())
    calls: list[Callable[[], object]] = [
        lambda: blobs.put("a", file(b"1")),
        lambda: blobs.read("a"),
        lambda: blobs.size_bytes("a"),
        lambda: blobs.delete("a"),
        lambda: list(blobs.list("")),
        blobs.clear_leftovers,
    ]
    for call in calls:
        with pytest.raises(NotReadyError, match=r"kept files cannot be .*: Not a directory"):
            call()


def test_nothing_is_made_before_the_first_put(directory: Path, blobs: BlobStore) -> None:
    """Only a put makes the directory, which other users cannot look into."""
    with pytest.raises(BlobNotFoundError):
        blobs.read("a")
    assert blobs.size_bytes("a") is None
    assert keys(blobs) == []
    blobs.delete("a")
    blobs.clear_leftovers()
    assert not directory.exists()
    blobs.put("a", file(b"1"))
    assert directory.stat().st_mode & 0o777 == 0o700


def test_one_key_may_begin_like_another(blobs: BlobStore) -> None:
    """A key may be another one and a slash and more, as in S3."""
    blobs.put("a", file(b"1"))
    blobs.put("a/b", file(b"2"))
    assert (value(blobs, "a"), value(blobs, "a/b")) == (b"1", b"2")
    blobs.delete("a")
    assert keys(blobs) == ["a/b"]


def test_files_of_others_are_not_listed(directory: Path, blobs: BlobStore) -> None:
    """What lies in the directory and is no blob is not listed, and stays."""
    blobs.put("a", file(b"1"))
    (directory / "README").touch()
    (directory / "lost+found").mkdir()
    (directory / "..+b").touch()
    os.utime(directory / "README", (0, 0))
    blobs.clear_leftovers()
    assert keys(blobs) == ["a"]
    assert {path.name for path in directory.iterdir()} == {"README", "lost+found", "..+b", "a"}


def test_a_blob_that_lost_its_end(directory: Path, blobs: BlobStore) -> None:
    """A blob that is cut short while it is read raises, rather than seem whole."""
    blobs.put("a", file(content(3 * MIB)))
    pieces = blobs.read("a")
    next(pieces)
    os.truncate(directory / "a", 2 * MIB)
    with pytest.raises(NotReadyError, match="ends 1048576 bytes before its end"):
        list(pieces)
