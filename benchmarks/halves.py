"""A model of 3 GB, weights in external data, cut in two; and one of 2.5 GB with its weights inside,
which is more than protobuf reads.

The yardstick is of the same run: what the disk takes when as many bytes are copied from the same
files, in the same pieces, to the same place, and synchronised as well.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.halves.writing import PIECE_BYTES
from tests.halves.large_cuts import DATA, Chain, measured_cut
from tests.large_models import write_large_model

EXTERNAL = Chain(layers=180, width=2048)
"""Of 16.8 MB each."""
INSIDE, WIDTH = 37, 4096
"""Of 67 MB each; the server half has all of them, 2.5 GB."""
CUTS = 5
MB = 1e6
PLACE = Path("data")
"""On a disk, unlike /tmp perhaps."""


def run(console: Console) -> None:
    """Print seconds, speed and memory of a few cuts of each."""
    table = Table(title="Cutting large models in two, to files")
    for column in (
        "model",
        "cut",
        "MB written",
        "seconds",
        "MB/s",
        "copying, MB/s",
        "memory beyond start, MB",
    ):
        table.add_column(column, justify="right")
    PLACE.mkdir(exist_ok=True)
    for title, is_external in (("external data", True), ("weights inside", False)):
        with tempfile.TemporaryDirectory(prefix="bench-", dir=PLACE) as name:
            path = Path(name) / "large.onnx"
            if is_external:
                EXTERNAL.write(path)
                nodes, on_device, source = EXTERNAL.nodes, EXTERNAL.layers, path.parent / DATA
            else:
                write_large_model(path, INSIDE, WIDTH)
                nodes, on_device, source = Chain(INSIDE, WIDTH).nodes, 0, path
            # Where nothing has been written before, the first to write is the slowest.
            _copy(source, path.parent / "copy", source.stat().st_size)
            for number in range(1, CUTS + 1):
                table.add_row(title, str(number), *_row(path, nodes, on_device, source))
    with suppress(OSError):  # It stays where there is anything else in it.
        PLACE.rmdir()
    console.print(table)
    console.print(
        "Memory: the most that the process holds, less what it holds when all is imported.\n"
    )


def _row(path: Path, nodes: Sequence[str], on_device: int, source: Path) -> list[str]:
    directory = path.parent / "halves"
    done = measured_cut(path, nodes, on_device, directory)
    for file in directory.iterdir():
        file.unlink()
    copy_s = _copy(source, path.parent / "copy", done.nbytes)
    return [
        f"{done.nbytes / MB:.0f}",
        f"{done.seconds:.1f}",
        f"{done.nbytes / MB / done.seconds:.0f}",
        f"{done.nbytes / MB / copy_s:.0f}",
        f"{done.memory_bytes / MB:.0f}",
    ]


def _copy(source: Path, target: Path, nbytes: int) -> float:
    """Seconds to copy so many bytes of a file, or as many as it has."""
    started = time.perf_counter()
    with source.open("rb") as file, target.open("wb", buffering=0) as out:
        while nbytes > 0 and (piece := file.read(min(PIECE_BYTES, nbytes))):
            out.write(piece)
            nbytes -= len(piece)
        os.fsync(out.fileno())
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds
