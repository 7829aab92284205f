"""What a model is fed with: numbers drawn from a seed, or those of a file."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

from app.errors import CannotRunError
from app.ingest.attributes import attributes_of
from app.ingest.dimensions import bind
from app.ingest.limits import Limits
from app.ingest.parse import parse
from app.ingest.skeleton import read_skeleton
from app.ingest.value_types import value_type_of

Array = NDArray[Any]

_INDICES = (TensorProto.INT32, TensorProto.INT64)
"""The types that ONNX allows for indices."""
_SAFE_INDICES = 2
"""0 and 1: there are such indices along nearly every axis, as masks have no others."""
_FIRST_LETTER, _PAST_LETTERS, _LONGEST_WORD = ord("a"), ord("z") + 1, 8


def seeded_feeds(model: Path, dims: Mapping[str, int], seed: int) -> dict[str, Array]:
    """A value for each input of a model; the same for the same seed.

    ``dims`` as an upload binds them (``app.ingest.dimensions``). Floating-point numbers are normal.
    Integers of a type that may be an index are 0 or 1, unless the input is an index into weights
    (token ids): then they go up to the end of the shortest such axis. Other integers take all
    values of their type. Strings are words. Raises ``IngestError`` as ingest does, and
    ``CannotRunError`` for an input that is no tensor, or whose rank is not stated.
    """
    with model.open("rb") as file:
        proto = parse(read_skeleton(file, Limits()).content, Limits())
    inputs = list(_inputs(proto.graph))
    bind(proto, [value.name for value in inputs], dims)
    bounds = _index_bounds(proto)
    random = np.random.default_rng(seed)
    return {value.name: _drawn(value, bounds, random) for value in inputs}


def load_feeds(path: Path) -> dict[str, Array]:
    """The arrays of a ``.npz`` file, by their names. Raises ``CannotRunError`` for another file,
    and ``OSError``."""
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if isinstance(arrays, np.ndarray):
                raise CannotRunError(
                    f"{path} holds one array without a name; save the inputs with "
                    "numpy.savez(file, name=array, ...)"
                )
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        # What numpy says is left out: it advises to load what might run code.
        raise CannotRunError(
            f"{path} is no .npz file of arrays of numbers or texts; save the inputs with "
            "numpy.savez(file, name=array, ...)"
        ) from error


def _inputs(graph: GraphProto) -> Iterator[ValueInfoProto]:
    """The graph inputs that have no default."""
    defaults = {tensor.name for tensor in graph.initializer}
    defaults.update(sparse.values.name for sparse in graph.sparse_initializer)
    return (value for value in graph.input if value.name not in defaults)


def _drawn(value: ValueInfoProto, bounds: Mapping[str, int], random: Generator) -> Array:
    known = value_type_of(value.type)
    if known.container or known.shape is None:
        what = f"is a {known.container}" if known.container else "has no rank in the file"
        raise CannotRunError(
            f"inputs are made up for tensors only, and {value.name!r} {what}; give the inputs "
            "yourself"
        )
    shape, dtype = known.shape, np.dtype(tensor_dtype_to_np_dtype(known.dtype))
    if known.dtype == TensorProto.STRING:
        return _words(shape, random)
    if known.dtype == TensorProto.BOOL:
        return random.integers(0, 2, shape).astype(np.bool_)
    if dtype.kind == "c":
        return (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(dtype)
    if known.is_floating:
        return np.asarray(random.normal(size=shape), dtype=dtype)
    if known.dtype in _INDICES:
        return random.integers(0, bounds.get(value.name, _SAFE_INDICES), shape, dtype=dtype)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return random.integers(0, _SAFE_INDICES, shape).astype(dtype)


def _words(shape: Sequence[int], random: Generator) -> Array:
    words = np.empty(shape, dtype=object)
    for place in np.ndindex(*shape):
        length = random.integers(1, _LONGEST_WORD, endpoint=True)
        words[place] = "".join(map(chr, random.integers(_FIRST_LETTER, _PAST_LETTERS, length)))
    return words


def _index_bounds(model: ModelProto) -> dict[str, int]:
    """For each name by which Gather nodes of the main graph pick from weights, how long the
    shortest axis is along which they do; by way of what changes neither values nor their range."""
    extents = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    bounds: dict[str, int] = {}
    for node in reversed(model.graph.node):
        if node.op_type == "Gather" and node.input[0] in extents:
            axis, shape = attributes_of(node).get("axis", 0), extents[node.input[0]]
            if isinstance(axis, int) and -len(shape) <= axis < len(shape):
                _lower(bounds, node.input[1], shape[axis])
        elif node.op_type in _SAME_VALUES and node.output[0] in bounds:
            _lower(bounds, node.input[0], bounds[node.output[0]])
    return bounds


_SAME_VALUES = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def _lower(bounds: dict[str, int], name: str, bound: int) -> None:
    bounds[name] = max(1, min(bound, bounds.get(name, bound)))
