"""What a tensor says whose data reading left out: how large they are, and where the file has them.

Such a tensor has ``data_location`` EXTERNAL, and among its ``external_data`` ``length`` (bytes of
its data, if these were ``raw_data`` or strings) and ``kerf.data``: ``raw 10-20`` for raw data from
byte 10 up to byte 20 of the file, or ``fields 10-20,30-40`` for the fields of any other data, tags
included, or nothing where they are in too many pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import StringStringEntryProto, TensorProto

KEY = "kerf.data"
MOST_DIGITS = 20
"""Of a count of bytes; Python refuses to read numbers of thousands of digits."""
MOST_RANGES = 1000
"""Nobody but an adversary writes one tensor in so many pieces."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of a file, from ``start`` up to ``end``."""

    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Where the data of a tensor lie in its file: those of ``raw_data``, or fields with tags."""

    is_raw: bool
    ranges: tuple[FileRange, ...]

    @property
    def nbytes(self) -> int:
        return sum(item.nbytes for item in self.ranges)


def mark(length_bytes: int | None, is_raw: bool, ranges: Sequence[FileRange]) -> TensorProto:
    """The fields by which a tensor says that its data were left out."""
    places = ",".join(f"{item.start}-{item.end}" for item in ranges)
    value = f"{'raw' if is_raw else 'fields'} {places}" if len(ranges) <= MOST_RANGES else ""
    entries = [StringStringEntryProto(key=KEY, value=value)]
    if length_bytes is not None:
        entries.append(StringStringEntryProto(key="length", value=str(length_bytes)))
    return TensorProto(data_location=TensorProto.EXTERNAL, external_data=entries)


def is_external(tensor: TensorProto) -> bool:
    """Whether the data are not in the message."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def entries_of(tensor: TensorProto) -> dict[str, str]:
    """The entries of a tensor's ``external_data``; of equal keys the last counts."""
    return {_text(entry.key): _text(entry.value) for entry in tensor.external_data}


def left_out_bytes(tensor: TensorProto) -> int | None:
    """Bytes of data that the file holds but reading left out, where it is known."""
    entries = entries_of(tensor)
    if not is_external(tensor) or ("location" in entries and KEY not in entries):
        return None
    return byte_count(entries.get("length", ""))


def left_out_of(tensor: TensorProto) -> LeftOut | None:
    """Where in the file the data of a tensor lie; None where they were not left out, were in too
    many pieces, or the tensor says so in words that are none of ``mark``."""
    entries = entries_of(tensor)
    if not is_external(tensor) or not entries.get(KEY):
        return None
    kind, _, places = entries[KEY].partition(" ")
    ranges: list[FileRange] = []
    for place in places.split(","):
        start, end = map(byte_count, place.partition("-")[::2])
        if start is None or end is None or start > end:
            return None
        ranges.append(FileRange(start, end))
    if kind not in ("raw", "fields") or (kind == "raw" and len(ranges) > 1):
        return None
    return LeftOut(kind == "raw", tuple(ranges))


def byte_count(text: str) -> int | None:
    """A count of bytes as ``external_data`` states it; None for what is no such count."""
    return int(text) if text.isdecimal() and len(text) < MOST_DIGITS else None


def _text(value: str | bytes) -> str:
    """Protobuf gives text that is not UTF-8 as bytes."""
    return value if isinstance(value, str) else value.decode(errors="replace")
