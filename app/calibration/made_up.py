"""Weights made up where a model comes without them: its speed hardly depends on what they are.

They are drawn from a seed, such that a run is an ordinary one: no number is so small that the
processor takes a slow path, none grows beyond all bounds, what may be a variance or a scale is
positive, and what may be an index or a zero point is 0.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, StringStringEntryProto, TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from app.calibration.machine import memory_bytes
from app.errors import CannotRunError, WrongFileError
from app.halves.external import PAGE_BYTES, DataFile, move_data
from app.halves.pieces import nbytes_of_pieces, pieces_of
from app.halves.writing import Progress, StagedFiles
from app.ingest import Limits
from app.ingest.element_types import ELEMENT_TYPES
from app.ingest.left_out import FileRange, byte_count, entries_of, is_external, left_out_of
from app.ingest.parse import parse
from app.ingest.skeleton import read_skeleton
from app.ingest.tensors import tensors_of_model
from app.ingest.weights import nbytes_of

_SEED = 20_250_102
_BLOCK = 262_139
"""Numbers that are drawn; longer tensors repeat them. A prime, so that no two rows are alike."""


def with_made_up_weights(path: Path, directory: Path, on_progress: Progress | None = None) -> Path:
    """A model with the weights that a file lacks: ``path`` itself where it lacks none.

    Lacking are data that were stripped, and those in files that are not there. The model is written
    to ``directory``, under its own name, with all that the file does have; what is made up goes
    piece by piece to a file beside it. Raises ``IngestError``, ``CannotRunError`` where the
    weights are larger than this machine's memory or are strings, ``MissingDataError``,
    ``DiskFullError`` and ``OSError``.
    """
    with path.open("rb") as file:
        model = parse(read_skeleton(file, Limits()).content, Limits())
    _require_memory(path, model)
    if not any(_is_missing(tensor, path) for tensor in tensors_of_model(model)):
        return path
    written = directory / path.name
    if written.resolve() == path.resolve():
        raise WrongFileError(
            f"the model with made-up weights would replace {path}; write it to another directory"
        )
    weights = [_forgotten(item) for item in model.graph.initializer if _is_missing(item, path)]
    # What nodes and bodies hold is small, and goes inside.
    for tensor in [item for item in tensors_of_model(model) if _is_missing(item, path)]:
        _forgotten(tensor).raw_data = b"".join(made_up_data(tensor))
    data = move_data(model, path, f"{path.name}.data")
    places = [(_placed(tensor, data), tensor) for tensor in weights]
    _write(model, path, directory, data, places, on_progress)
    return written


def _write(
    model: ModelProto,
    path: Path,
    directory: Path,
    data: DataFile,
    places: Sequence[tuple[int, TensorProto]],
    on_progress: Progress | None,
) -> None:
    """Write a model and its data file; ``places``: what is made up, and where it begins there."""
    pieces = pieces_of(model)
    total_bytes = nbytes_of_pieces(pieces) + data.nbytes
    with path.open("rb") as file, StagedFiles(directory, total_bytes, on_progress) as staged:
        # The data first: a model never stands there without them.
        with staged.file(data.name) as out:
            for source, offset in data.offsets.items():
                out.skip_to(offset)
                with source.path.open("rb") as opened:
                    out.copy(opened, source.range)
            for offset, tensor in places:
                out.skip_to(offset)
                for content in made_up_data(tensor):
                    out.write(content)
        with staged.file(path.name) as out:
            for piece in pieces:
                if isinstance(piece, FileRange):
                    out.copy(file, piece)
                else:
                    out.write(piece)


def made_up_data(tensor: TensorProto) -> Iterator[bytes]:
    """The data of a tensor, as ``raw_data`` has them, in pieces. Raises ``CannotRunError``."""
    known = ELEMENT_TYPES[tensor.data_type]
    if known.bits == 0:
        raise CannotRunError(
            f"the data of tensor {tensor.name!r} are not there, and strings are not made up; take "
            "the file with its weights"
        )
    block = _block(tensor)
    left_bytes = nbytes_of(tensor)
    while left_bytes > 0:
        yield block[:left_bytes]
        left_bytes -= len(block)


def _block(tensor: TensorProto) -> bytes:
    known = ELEMENT_TYPES[tensor.data_type]
    dtype = np.dtype(tensor_dtype_to_np_dtype(tensor.data_type))
    is_vector = max(tensor.dims, default=1) == prod(tensor.dims)
    if known.is_floating and known.bits >= 8:
        magnitudes, signs = _drawn()
        # A product with such a matrix leaves numbers about as large as they are.
        terms = max(1, prod(tensor.dims) // max(tensor.dims, default=1))
        numbers = magnitudes if is_vector else magnitudes * signs / np.sqrt(terms)
        return numbers.astype(dtype).tobytes()
    if tensor.data_type == TensorProto.BOOL:
        return bytes([1]) * _BLOCK
    if known.bits <= 8 and not is_vector:
        return np.random.default_rng(_SEED).bytes(_BLOCK)
    return bytes(_BLOCK * max(1, dtype.itemsize))


@cache
def _drawn() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Magnitudes from 0.5 to 1.5, and signs."""
    random = np.random.default_rng(_SEED)
    magnitudes = random.uniform(0.5, 1.5, _BLOCK).astype(np.float32)
    return magnitudes, random.choice(np.array([-1, 1], dtype=np.float32), _BLOCK)


def _is_missing(tensor: TensorProto, path: Path) -> bool:
    """Whether the data are neither in the file nor in one that is there.

    A stripped file (``app.ingest.stripping``) says that they are in the file of its name from which
    they were stripped.
    """
    if not is_external(tensor) or left_out_of(tensor) is not None:
        return False
    entries = entries_of(tensor)
    if "location" not in entries:
        return True
    place = path.parent / entries["location"]
    if not place.is_file():
        return True
    end = (byte_count(entries.get("offset", "")) or 0) + nbytes_of(tensor)
    return place.samefile(path) and end > place.stat().st_size


def _forgotten(tensor: TensorProto) -> TensorProto:
    """The same, which does not say any more that its data are elsewhere."""
    tensor.ClearField("data_location")
    tensor.ClearField("external_data")
    return tensor


def _placed(tensor: TensorProto, data: DataFile) -> int:
    """Have a tensor refer to the end of a file in the making; where that is, in bytes."""
    nbytes = nbytes_of(tensor)
    data.nbytes += -data.nbytes % PAGE_BYTES
    offset = data.nbytes
    data.nbytes += nbytes
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", data.name), ("offset", offset), ("length", nbytes)):
        tensor.external_data.append(StringStringEntryProto(key=key, value=str(value)))
    return offset


def _require_memory(path: Path, model: ModelProto) -> None:
    weight_bytes = sum(map(nbytes_of, tensors_of_model(model)))
    most_bytes = memory_bytes()
    if most_bytes is not None and weight_bytes > most_bytes:
        raise CannotRunError(
            f"the weights of {path} take {weight_bytes / 1e9:.1f} GB, and this machine has "
            f"{most_bytes / 1e9:.1f} GB of memory; run it on a larger one"
        )
