"""Where the processes of one service keep their metrics, so that any of them can tell those of all.

prometheus-client keeps metrics in files that are mapped into memory, some for each process; whoever
is asked adds up what is in all of them. Here each process has a place with a number, and the files
are named by it. Whoever starts after one has died takes the lowest free place, and counts on where
the dead one ended: no count ever falls, and there are no more files than processes at a time.

A place is held by a lock on a file, which the system takes away from a process however it ends.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""By which prometheus-client, and every process of a service, knows the directory."""
_PREFIX = "metrics-"
_IN_USE, _ENTRY, _STARTS, _WORKERS = "in-use", "entry", "starts", "workers"


@dataclass(frozen=True, eq=False)
class Place:
    """The place of this process, held for as long as it lives.

    ``is_restart``: whether as many processes as the service is to have were started before.
    """

    directory: Path
    number: int
    is_restart: bool
    _held: tuple[IO[bytes], ...]

    def leave(self) -> None:
        """Take back what tells of this moment: nobody is here any more. Counts stay."""
        _remove_gauges(self.directory, self.number)


@contextmanager
def shared_by(workers: int, data_dir: Path) -> Iterator[None]:
    """Have the processes that are started in the block share their metrics, if they are several; a
    new directory is made for that, and gone at the end."""
    if workers == 1:
        # What a variable from elsewhere may name is not Kerf's.
        os.environ.pop(VARIABLE, None)
        yield
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(data_dir)
    new = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=data_dir))
    (new / _WORKERS).write_text(str(workers))
    with _held(new / _IN_USE, fcntl.LOCK_SH):
        # Only now has it a name by which another service may take it for a leftover.
        directory = new.rename(data_dir / new.name.removeprefix("."))
        os.environ[VARIABLE] = str(directory)
        try:
            yield
        finally:
            os.environ.pop(VARIABLE)
            shutil.rmtree(directory, ignore_errors=True)


def joined() -> Place | None:
    """This process's place in the directory that the environment names; None if it names none of
    Kerf's."""
    directory = Path(os.environ.get(VARIABLE, os.devnull))
    if not (directory / _WORKERS).exists():
        return None
    in_use = (directory / _IN_USE).open("ab")
    fcntl.flock(in_use, fcntl.LOCK_SH)
    # One enters at a time, so that nobody takes what another is about to take.
    with _held(directory / _ENTRY, fcntl.LOCK_EX):
        for number in count():
            place = (directory / f"place-{number}").open("ab")
            if _locked(place, fcntl.LOCK_EX):
                break
            place.close()
        # Of whoever was killed here.
        _remove_gauges(directory, number)
        with (directory / _STARTS).open("ab") as starts:
            starts.write(b".")
            starts.flush()
            started = starts.tell()
    expected = int((directory / _WORKERS).read_text())
    return Place(directory, number, started > expected, (in_use, place))


def _remove_gauges(directory: Path, number: int) -> None:
    for path in directory.glob(f"gauge_*_{number}.db"):
        path.unlink(missing_ok=True)


def _remove_leftovers(data_dir: Path) -> None:
    """Remove the directories of services that were killed, and have no process left."""
    for directory in data_dir.glob(f"{_PREFIX}*"):
        try:
            with (directory / _IN_USE).open("ab") as in_use:
                if _locked(in_use, fcntl.LOCK_EX):
                    shutil.rmtree(directory, ignore_errors=True)
        except OSError:
            # Another service that starts at this moment was faster.
            continue


@contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, how)
        yield


def _locked(file: IO[bytes], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
