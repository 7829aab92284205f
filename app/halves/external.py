"""Data of a half that go to a file beside it: which they are, and where they come from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import ModelProto, StringStringEntryProto, TensorProto

from app.errors import InvalidModelError, MissingDataError
from app.ingest.element_types import ELEMENT_TYPES
from app.ingest.left_out import (
    FileRange,
    byte_count,
    entries_of,
    is_external,
    left_out_of,
)
from app.ingest.tensors import tensors_of_model

LARGEST_MODEL_BYTES = 2**31 - 2**20
"""Protobuf reads messages below 2 GiB; lengths may take more room once data are put back."""
PAGE_BYTES = 4096
"""Where data begin on a page, runtimes can map them instead of reading them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A range of a file."""

    path: Path
    range: FileRange


@dataclass(slots=True)
class DataFile:
    """A file of data in the making: what goes where. What is there once serves every tensor that
    has it."""

    name: str
    nbytes: int = 0
    offsets: dict[Source, int] = field(default_factory=dict)

    def place(self, source: Source) -> int:
        """Where the data of a source begin, in bytes."""
        if source not in self.offsets:
            self.nbytes += -self.nbytes % PAGE_BYTES
            self.offsets[source] = self.nbytes
            self.nbytes += source.range.nbytes
        return self.offsets[source]


def move_data(half: ModelProto, file: Path, name: str) -> DataFile:
    """Have the tensors of a half refer to a file of its own, in place; what that has to hold.

    External data of the whole's file go there, and all raw data if the half could not be read with
    them inside. Raises ``MissingDataError`` or ``InvalidModelError``.
    """
    data = DataFile(name)
    tensors = list(tensors_of_model(half))
    inside_bytes = sum(found.nbytes for found in map(left_out_of, tensors) if found is not None)
    moves_inside = half.ByteSize() + inside_bytes > LARGEST_MODEL_BYTES
    for tensor in tensors:
        inside = left_out_of(tensor)
        if inside is None:
            if is_external(tensor):
                _refer(tensor, data, _external_source(tensor, file))
        elif moves_inside:
            if not inside.is_raw:
                raise InvalidModelError(
                    f"the half is larger than 2 GiB, and the data of tensor {tensor.name!r} cannot "
                    "go to a file of their own, as they are not stored as raw data; save the "
                    "model with external data, and cut that"
                )
            _refer(tensor, data, Source(file, inside.ranges[0]))
    _require_files(data.offsets)
    return data


def lost_data(half: ModelProto) -> str | None:
    """The first tensor whose data are neither in the file nor said to be anywhere, if there is
    one: they were left out for good (``app.ingest.stripping``)."""
    for tensor in tensors_of_model(half):
        if is_external(tensor) and not left_out_of(tensor) and "location" not in entries_of(tensor):
            return str(tensor.name)
    return None


def _refer(tensor: TensorProto, data: DataFile, source: Source) -> None:
    entries = {
        "location": data.name,
        "offset": data.place(source),
        "length": source.range.nbytes,
    }
    del tensor.external_data[:]
    tensor.external_data.extend(
        StringStringEntryProto(key=key, value=str(value)) for key, value in entries.items()
    )


def _external_source(tensor: TensorProto, file: Path) -> Source:
    entries = entries_of(tensor)
    location = entries.get("location")
    if location is None:
        raise MissingDataError(
            f"the data of tensor {tensor.name!r} are not in the file, nor does it say where they "
            "are; take the file from which the weights were not stripped"
        )
    path = _inside(location, file, tensor.name)
    start = byte_count(entries.get("offset", "0"))
    length = byte_count(entries["length"]) if "length" in entries else _nbytes(tensor)
    if start is None or length is None:
        raise InvalidModelError(
            f"the external data of tensor {tensor.name!r} have no valid offset and length"
        )
    return Source(path, FileRange(start, start + length))


def _nbytes(tensor: TensorProto) -> int | None:
    known = ELEMENT_TYPES.get(tensor.data_type)
    return known.nbytes(prod(tensor.dims)) if known else None


def _inside(location: str, file: Path, name: str) -> Path:
    """A path as external data may state it: relative, and not out of the model's directory."""
    parts = PurePosixPath(location), PureWindowsPath(location)
    path = file.parent / location
    if any(part.is_absolute() or ".." in part.parts or part.drive for part in parts):
        raise _outside(location, name)
    # Caches of models link a model and its data to where these are; so beside either will do.
    homes = (file.parent.resolve(), file.resolve().parent)
    # (A text with a NUL is no path at all, and then there is no such file.)
    if "\0" not in location and not any(path.resolve().is_relative_to(home) for home in homes):
        raise _outside(location, name)
    return path


def _outside(location: str, name: str) -> InvalidModelError:
    return InvalidModelError(
        f"the external data of tensor {name!r} lie at {location[:200]!r}; ONNX allows only files "
        "in the directory of the model, or below it, and no links that lead out of it"
    )


def _require_files(sources: Iterable[Source]) -> None:
    """Raise ``MissingDataError`` unless every source is there, in full."""
    ends: dict[Path, int] = {}
    for source in sources:
        ends[source.path] = max(ends.get(source.path, 0), source.range.end)
    missing = sorted(str(path) for path in ends if not path.is_file())
    if missing:
        raise MissingDataError(
            f"the external data of the model are not there: {_listed(missing)}; put them beside "
            "the model as its exporter wrote them"
        )
    for path, end in ends.items():
        size_bytes = path.stat().st_size
        if size_bytes < end:
            raise MissingDataError(
                f"{path} ends at byte {size_bytes}, and the model has data up to byte {end} of it; "
                "it is not the file that belongs to the model, or it was cut short"
            )


def _listed(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:5])
    return shown if len(paths) <= 5 else f"{shown} and {len(paths) - 5} more"
