"""A model of 1.9 GB, weights inside, uploaded to a fresh service over loopback.

The yardsticks are of the same run: what the disk takes when the file is copied in the same pieces
to the same place, and what a split takes when nobody uploads.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from app.services.spool import PIECE_BYTES
from benchmarks.http import Connection, request_bytes, scenario
from tests.large_models import write_large_model
from tests.processes import resident_bytes, watched
from tests.server import DEMO_BYTES, Server, serving, uploaded

WEIGHTS, WIDTH = 28, 4096
"""Of 67 MB each."""
UPLOADS = 3
SPLITS = 500
PAUSE_S = 0.005
"""Between two splits: one client among others, not a load of its own."""
MB = 1e6
PLACE = Path("data")
"""Where the service keeps its files unless told otherwise: on a disk, unlike /tmp perhaps."""


def run(console: Console) -> None:
    """Print seconds, speed, memory, and the time of a split meanwhile, of a few uploads."""
    table = Table(title="Upload of a model with its weights inside")
    for column in (
        "upload",
        "seconds",
        "MB/s",
        "copying the file, MB/s",
        "memory beyond idle, MB",
        "split, usual (median us)",
        "split, meanwhile (median us)",
        "meanwhile / usual",
    ):
        table.add_column(column, justify="right")
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=PLACE) as name:
        directory = Path(name)
        path = directory / "large.onnx"
        nbytes = write_large_model(path, WEIGHTS, WIDTH)
        for number in range(1, UPLOADS + 1):
            (directory / str(number)).mkdir()
            with serving(directory / str(number)) as server:
                table.add_row(str(number), *_row(server, path, nbytes))
    with suppress(OSError):  # It stays where there is anything else in it.
        PLACE.rmdir()
    console.print(table)
    console.print(
        f"{nbytes / MB:.0f} MB. Memory: the most that service, zygote and workers hold together, "
        "pages that they share counted for each, less what they hold when idle.\n"
    )


def _row(server: Server, path: Path, nbytes: int) -> list[str]:
    model_id = uploaded(server.client(), DEMO_BYTES)["id"]
    # The tables that this upload goes on to build have their own worker, which must be gone.
    while len(server.processes()) > 2:
        time.sleep(0.01)
    body = {"model_id": model_id, **scenario(), "store": False}
    request = request_bytes("/split", body)
    _splits(server, request, 50)
    usual_s = statistics.median(_splits(server, request, SPLITS))
    copy_s = _copy(path, server.data_dir)
    idle_bytes = resident_bytes(server.processes())
    with watched(server.pid) as peak, _splitting(server, request) as times, path.open("rb") as file:
        started = time.perf_counter()
        answer = httpx.post(f"{server.url}/models", files={"file": file}, timeout=600)
        seconds = time.perf_counter() - started
    answer.raise_for_status()
    meanwhile_s = statistics.median(times)
    return [
        f"{seconds:.1f}",
        f"{nbytes / MB / seconds:.0f}",
        f"{nbytes / MB / copy_s:.0f}",
        f"{(peak.nbytes - idle_bytes) / MB:.0f}",
        f"{usual_s * 1e6:.0f}",
        f"{meanwhile_s * 1e6:.0f}",
        f"{meanwhile_s / usual_s:.2f}x",
    ]


def _copy(path: Path, directory: Path) -> float:
    """Seconds to copy a file as an upload is written: piece by piece, to a file without a name."""
    with path.open("rb") as source, tempfile.TemporaryFile(buffering=0, dir=directory) as target:
        started = time.perf_counter()
        while piece := source.read(PIECE_BYTES):
            target.write(piece)
        return time.perf_counter() - started


def _splits(
    server: Server, request: bytes, count: int | None, ended: threading.Event | None = None
) -> list[float]:
    """Seconds of each of some splits, or of all until an event."""
    connection = Connection(server.port)
    times: list[float] = []
    while len(times) != count and not (ended and ended.is_set()):
        started = time.perf_counter()
        connection.exchange(request)
        times.append(time.perf_counter() - started)
        time.sleep(PAUSE_S)
    connection.close()
    return times


@contextmanager
def _splitting(server: Server, request: bytes) -> Iterator[list[float]]:
    """A client that asks for splits during a block; afterwards, how long each took, in seconds."""
    times: list[float] = []
    ended = threading.Event()
    thread = threading.Thread(target=lambda: times.extend(_splits(server, request, None, ended)))
    thread.start()
    try:
        yield times
    finally:
        ended.set()
        thread.join()
