"""A model without its weights, to be sent where they shall not go."""

from dataclasses import dataclass
from typing import BinaryIO

from onnx import StringStringEntryProto, TensorProto

from app.ingest.left_out import KEY, LeftOut, left_out_of
from app.ingest.limits import Limits
from app.ingest.parse import parse
from app.ingest.skeleton import read_skeleton
from app.ingest.tensors import tensors_of_model


@dataclass(frozen=True, slots=True)
class StrippedFile:
    """``content``: the bytes of a ``.onnx`` file; ``saved_bytes``: how much shorter it is."""

    content: bytes
    saved_bytes: int


def strip_file(file: BinaryIO, location: str, limits: Limits | None = None) -> StrippedFile:
    """Take the data of all weights out of a model.

    They become external data that lie in the file itself, whose name is ``location``: what is made
    of the stripped model works wherever that file is beside it. Data that the file does not have
    as raw bytes cannot be referred to, and are left out for good. What remains are data of
    64 bytes at most, and those of up to 1 KiB of the types of shapes and other arguments (int64,
    text, bool); and numbers that stand in attributes themselves, as those of a forest's trees do.
    Raises ``IngestError``.
    """
    limits = limits or Limits()
    size_bytes = file.seek(0, 2)
    model = parse(read_skeleton(file, limits, small_weights="dropped").content, limits)
    for tensor in tensors_of_model(model):
        data = left_out_of(tensor)
        if data is not None:
            _refer(tensor, data, location)
    content: bytes = model.SerializeToString()
    return StrippedFile(content, size_bytes - len(content))


def _refer(tensor: TensorProto, data: LeftOut, location: str) -> None:
    if not data.is_raw:
        kept = [entry for entry in tensor.external_data if entry.key != KEY]
        del tensor.external_data[:]
        tensor.external_data.extend(kept)
        return
    (place,) = data.ranges
    entries = {"location": location, "offset": place.start, "length": place.nbytes}
    del tensor.external_data[:]
    tensor.external_data.extend(
        StringStringEntryProto(key=key, value=str(value)) for key, value in entries.items()
    )
