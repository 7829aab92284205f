"""Files of uploads: content and hash, no names, and what happens when there is no room."""

import hashlib
import os
import random
import stat
from pathlib import Path

import anyio
import pytest

from app.errors import DiskFullError, NotReadyError
from app.services import spool as spool_module
from app.services.spool import PIECE_BYTES, PREFIX, Spool, SpooledFile


def pieces_of(content: bytes, seed: int) -> list[bytes]:
    draw = random.Random(seed)
    cuts = sorted(draw.randrange(len(content) + 1) for _ in range(40))
    return [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]


async def write_all(file: SpooledFile, pieces: list[bytes]) -> None:
    for piece in pieces:
        await file.write(piece)
    await file.flush()


@pytest.mark.parametrize("nbytes", [0, 1, PIECE_BYTES, 5 * PIECE_BYTES + 17])
def test_file_holds_what_was_written(tmp_path: Path, nbytes: int) -> None:
    """However content arrives, the file holds it in order, the hash is its own, and while it is
    there it has no name that others could open."""
    content = random.Random(nbytes).randbytes(nbytes)

    async def work() -> None:
        async with Spool(tmp_path / "uploads", 10).file() as file:
            await write_all(file, pieces_of(content, seed=nbytes))
            file.file.seek(0)
            assert file.file.read(nbytes + 1) == content
            assert file.sha256 == hashlib.sha256(content).hexdigest()
            assert list((tmp_path / "uploads").iterdir()) == []
        assert file.file.closed

    anyio.run(work)


def test_directory_is_private_and_made_when_needed(tmp_path: Path) -> None:
    """The directory is made by the first upload, for this user only, and again when it is gone."""
    directory = tmp_path / "data" / "uploads"
    spool = Spool(directory, 10)
    spool.clear()
    assert not directory.exists()

    async def work() -> None:
        for _ in range(2):
            async with spool.file():
                assert stat.S_IMODE(directory.stat().st_mode) & 0o077 == 0
            directory.rmdir()

    anyio.run(work)


def test_what_was_left_is_removed(tmp_path: Path) -> None:
    """Clearing removes files of uploads and nothing else."""
    (tmp_path / f"{PREFIX}left").touch()
    (tmp_path / "other").touch()
    Spool(tmp_path, 10).clear()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("nbytes", [10, 3 * PIECE_BYTES])
def test_disk_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    """An upload that would leave less than the reserve is refused before it is written."""
    monkeypatch.setattr(spool_module, "RESERVE_BYTES", 2**62)

    async def work() -> None:
        async with Spool(tmp_path, 10).file() as file:
            with pytest.raises(DiskFullError):
                await write_all(file, pieces_of(bytes(nbytes), seed=1))
            assert os.fstat(file.file.fileno()).st_size == 0

    anyio.run(work)


def test_failure_of_the_last_write_is_not_lost(tmp_path: Path) -> None:
    """A block that ends while a write is failing ends all the same, and closes the file."""

    async def work() -> None:
        async with Spool(tmp_path, 10).file() as file:
            file.file.close()
            await file.write(bytes(PIECE_BYTES))
            with pytest.raises(ValueError, match="closed"):
                await file.flush()

    anyio.run(work)


def test_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Where the directory cannot be made, the service says that it is not ready, and why."""
    (tmp_path / "file").touch()

    async def work() -> None:
        with pytest.raises(NotReadyError, match="Not a directory"):
            async with Spool(tmp_path / "file" / "uploads", 10).file():
                pass

    anyio.run(work)
