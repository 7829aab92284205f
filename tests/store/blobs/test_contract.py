"""What every blob store does, held against a directory and against an S3 server."""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.store.blobs import BlobNotFoundError, BlobStore
from tests.processes import open_files
from tests.store.blobs.files import MIB, LosingFile, LostFileError, content, file, keys, value

PART_BYTES = 8 * MIB
ON_ONE_STORE = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SIZES = st.one_of(
    st.integers(0, 5000),
    st.builds(int.__add__, st.sampled_from([MIB, PART_BYTES, 2 * PART_BYTES]), st.integers(-1, 1)),
)
NOT_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "A",
    "a b",
    "a+b",
    "~put-a",
    "a\n",
    "a\\b",
    "ä",
    "a\0b",
    "a" * 201,
]


@ON_ONE_STORE
@given(size_bytes=SIZES, seed=st.integers(0, 2**32))
def test_what_was_put_is_read(blobs: BlobStore, size_bytes: int, seed: int) -> None:
    """A file of any size is read as it was put, in place of the one before."""
    data = content(size_bytes, seed)
    blobs.put("models/one.onnx", file(data))
    assert value(blobs, "models/one.onnx") == data
    assert blobs.size_bytes("models/one.onnx") == size_bytes


def test_any_range_is_read(blobs: BlobStore) -> None:
    """A range is the bytes of that range, in pieces of 1 MiB at most, whatever its ends."""
    data = content(3 * MIB + 5)
    blobs.put("a", file(data))
    ends = st.one_of(
        st.integers(0, len(data)), st.sampled_from([0, MIB - 1, MIB, MIB + 1, len(data)])
    )

    @ON_ONE_STORE
    @given(bounds=st.tuples(ends, ends).map(sorted), open_end=st.booleans())
    def holds(bounds: list[int], open_end: bool) -> None:
        start, end = bounds[0], None if open_end else bounds[1]
        with closing(blobs.read("a", start, end)) as read:
            pieces = list(read)
        assert b"".join(pieces) == data[start:end]
        assert all(0 < len(piece) <= MIB for piece in pieces)

    holds()


@pytest.mark.parametrize(
    ("start", "end"), [(-1, None), (-3, -1), (0, 6), (6, None), (6, 6), (5, 6), (3, 2), (7, 9)]
)
def test_a_range_outside_the_blob_is_refused(blobs: BlobStore, start: int, end: int | None) -> None:
    """A range that does not lie in the blob is refused at the call, with the blob's size."""
    blobs.put("a", file(b"12345"))
    with pytest.raises(ValueError, match="of a blob of 5 bytes"):
        blobs.read("a", start, end)


def test_an_empty_blob_has_one_range(blobs: BlobStore) -> None:
    """Of an empty blob, its start to its end can be read, and nothing else."""
    blobs.put("a", file(b""))
    assert value(blobs, "a") == value(blobs, "a", 0, 0) == b""
    with pytest.raises(ValueError, match="of a blob of 0 bytes"):
        blobs.read("a", 0, 1)


def test_the_whole_file_is_put(blobs: BlobStore) -> None:
    """A file is put from its start, wherever it stands, and stays open, small or large."""
    for data in (b"12345", content(PART_BYTES + 1)):
        source = file(data)
        source.seek(3)
        blobs.put("a", source)
        assert value(blobs, "a") == data
        assert not source.closed


def test_a_key_without_a_blob(blobs: BlobStore) -> None:
    """Where there is no blob, reading raises at the call, and the rest finds nothing."""
    for start, end in ((0, None), (0, 0), (0, 1), (1, None)):
        with pytest.raises(BlobNotFoundError, match="there is no blob 'a/b'"):
            blobs.read("a/b", start, end)
    assert blobs.size_bytes("a/b") is None
    assert keys(blobs) == []
    blobs.delete("a/b")
    blobs.clear_leftovers()


def test_a_deleted_blob_is_gone(blobs: BlobStore) -> None:
    """A deleted blob is gone from every verb, and the one beside it is not."""
    blobs.put("a/b", file(b"1"))
    blobs.put("a/c", file(b"2"))
    blobs.delete("a/b")
    assert blobs.size_bytes("a/b") is None
    assert keys(blobs) == ["a/c"]
    with pytest.raises(BlobNotFoundError):
        blobs.read("a/b")


def test_a_listing_tells_key_size_and_age(blobs: BlobStore) -> None:
    """A listing has the key, the size and the time of each blob, in UTC."""
    blobs.put("models/one.onnx", file(b"12345"))
    (blob,) = blobs.list("models/")
    assert (blob.key, blob.size_bytes) == ("models/one.onnx", 5)
    assert blob.modified_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - blob.modified_at) < timedelta(minutes=5)


def test_a_listing_has_the_keys_of_a_prefix(blobs: BlobStore) -> None:
    """A listing has the keys that start with a text, wherever it ends in them, and no others."""
    for key in ("a/b/1", "a/b/2", "a/bc", "ab", "b/a/b"):
        blobs.put(key, file(b""))
    assert keys(blobs) == ["a/b/1", "a/b/2", "a/bc", "ab", "b/a/b"]
    assert keys(blobs, "a") == ["a/b/1", "a/b/2", "a/bc", "ab"]
    assert keys(blobs, "a/b") == ["a/b/1", "a/b/2", "a/bc"]
    assert keys(blobs, "a/b/") == ["a/b/1", "a/b/2"]
    assert keys(blobs, "a/b/2") == ["a/b/2"]
    assert keys(blobs, "/a") == keys(blobs, "c") == []


def test_a_listing_of_many_pages(blobs: BlobStore) -> None:
    """A listing has more blobs than S3 gives in a page, each once."""
    many = [f"{number:04}" for number in range(1007)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda key: blobs.put(key, file(b"")), many))
    assert keys(blobs) == many


def test_puts_at_the_same_time_give_one_whole_value(blobs: BlobStore) -> None:
    """Of files that are put under one key at the same time, one is there, whole."""
    values = [content(PART_BYTES + MIB + number, number) for number in range(4)]
    values += [content(100 + number, number) for number in range(4)]
    for _ in range(3):
        with ThreadPoolExecutor(len(values)) as threads:
            list(threads.map(lambda data: blobs.put("a", file(data)), values))
        assert value(blobs, "a") in values


def test_a_reader_keeps_what_it_began_with(blobs: BlobStore) -> None:
    """Who reads a blob while it is replaced reads the old one to its end."""
    old = content(3 * MIB, 1)
    blobs.put("a", file(old))
    with closing(blobs.read("a")) as pieces:
        first = next(pieces)
        blobs.put("a", file(content(3 * MIB, 2)))
        assert first + b"".join(pieces) == old


@pytest.mark.parametrize("size_bytes", [1000, 3 * MIB, 3 * PART_BYTES])
def test_an_interrupted_put_changes_nothing(blobs: BlobStore, size_bytes: int) -> None:
    """A put whose file fails in the middle raises what the file raised, and changes nothing."""
    data = content(size_bytes)
    with pytest.raises(LostFileError):
        blobs.put("a", LosingFile(data, size_bytes // 2))
    assert keys(blobs) == []
    blobs.put("a", file(b"old"))
    with pytest.raises(LostFileError):
        blobs.put("a", LosingFile(data, size_bytes // 2))
    assert value(blobs, "a") == b"old"


@pytest.mark.parametrize("size_bytes", [1000, 3 * MIB, 3 * PART_BYTES])
def test_an_interrupt_passes_through_a_put(blobs: BlobStore, size_bytes: int) -> None:
    """A put that is interrupted from the keyboard ends with that, and changes nothing."""

    class Interrupted(io.BytesIO):
        def read(self, nbytes: int | None = -1, /) -> bytes:
            data = super().read(nbytes)
            if self.tell() > size_bytes // 2:
                raise KeyboardInterrupt
            return data

    with pytest.raises(KeyboardInterrupt):
        blobs.put("a", Interrupted(content(size_bytes)))
    assert keys(blobs) == []


@pytest.mark.parametrize("key", NOT_KEYS)
def test_what_cannot_be_a_key_is_refused(blobs: BlobStore, key: str) -> None:
    """A text that cannot be a key, such as one that leads out of a directory, is refused."""
    for call in (
        lambda: blobs.put(key, file(b"1")),
        lambda: blobs.read(key),
        lambda: blobs.size_bytes(key),
        lambda: blobs.delete(key),
    ):
        with pytest.raises(ValueError, match="cannot be the key of a blob"):
            call()
    assert keys(blobs) == []


def test_what_cannot_begin_a_key_is_refused(blobs: BlobStore) -> None:
    """A prefix that no key can have is refused at the call."""
    with pytest.raises(ValueError, match="cannot begin the key of a blob"):
        blobs.list("A")


@pytest.mark.parametrize("key", ["a", "0", "-", "_", ".a", "a..b", "a.b-c_d/e/0", "a" * 200])
def test_what_can_be_a_key_is_taken(blobs: BlobStore, key: str) -> None:
    """Every text that can be a key is one, to every verb."""
    blobs.put(key, file(b"1"))
    assert value(blobs, key) == b"1"
    assert keys(blobs, key[:1]) == [key]
    blobs.delete(key)
    assert blobs.size_bytes(key) is None


def test_no_descriptor_is_left(blobs: BlobStore) -> None:
    """What is closed before its end, or read to it, holds no file and no connection; nor a put."""
    data = content(16 * MIB)
    blobs.put("a", file(data))
    before = open_files(os.getpid())
    for read in (0, 1, 16):
        pieces = blobs.read("a")
        for _ in range(read):
            next(pieces)
        pieces.close()
        pieces.close()
        assert list(pieces) == []
        assert open_files(os.getpid()) <= before
    blobs.put("a", file(data))
    with pytest.raises(LostFileError):
        blobs.put("a", LosingFile(data, 10 * MIB))
    assert len(list(blobs.list(""))) == 1
    assert open_files(os.getpid()) <= before


def test_memory_is_bounded(url: str) -> None:
    """Putting and reading a blob of 200 MB takes less than 32 MiB more than one of 8 MB."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.store.blobs.large", url, str(200_000_000)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    print(url, result.stdout)
    assert int(result.stdout) < 32 * MIB
