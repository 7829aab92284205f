"""Large models are cut in little memory: a short form of what ``make bench`` does with 3 GB."""

from collections.abc import Callable
from pathlib import Path

from onnx import ModelProto

from app.ingest.left_out import entries_of
from tests.halves.large_cuts import MARK_BYTES, Chain, measured_cut

CHAIN = Chain(layers=400, width=512)
BOUND_BYTES = 60 * 2**20


def test_a_large_model_is_cut_in_little_memory(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """420 MB of weights in 400 tensors are cut by a process that takes less than 60 MiB more than
    it had when all was imported; every weight is where its half says it is."""
    path = tmp_path / "model.onnx"
    CHAIN.write(path)
    assert CHAIN.nbytes > 400e6
    done = measured_cut(path, CHAIN.nodes, CHAIN.layers, tmp_path / "out")
    assert done.memory_bytes < BOUND_BYTES
    assert done.nbytes > CHAIN.nbytes
    held = [*weights_of(tmp_path / "out", "device"), *weights_of(tmp_path / "out", "server")]
    assert held == list(range(CHAIN.layers))
    record_property(
        "figures",
        f"cutting {CHAIN.nbytes / 1e6:.0f} MB: {done.memory_bytes / 1e6:.0f} MB of memory beyond "
        "the start",
    )


def weights_of(directory: Path, side: str) -> list[int]:
    """The layers whose weights a half has, each found by its marks at the place that is stated."""
    proto = ModelProto.FromString((directory / f"{side}.onnx").read_bytes())
    found = []
    with (directory / f"{side}.onnx.data").open("rb") as file:
        for tensor in proto.graph.initializer:
            layer = int(tensor.name.removeprefix("w"))
            entries = entries_of(tensor)
            start, length = int(entries["offset"]), int(entries["length"])
            assert length == CHAIN.each_bytes
            for place in (start, start + length - MARK_BYTES):
                file.seek(place)
                assert file.read(MARK_BYTES) == CHAIN.mark(layer)
            found.append(layer)
    return found
