"""What of an ONNX file has to be read: all but the data of its weights.

The file is walked in the wire format, and the data of large tensors, wherever they lie (weights,
Constant nodes, bodies, functions, sparse tensors), are skipped by seeking. What is left parses as
the same model with those weights in external data. Long documentation goes as well: torch writes
stack traces into each node, and nothing in Kerf reads them. All else stays as it is, unknown
fields included.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Literal

from google.protobuf.message import DecodeError
from onnx import NodeProto, TensorProto

from app.errors import LimitExceededError
from app.ingest.constants import ARGUMENT_BYTES, ARGUMENT_TYPES, SMALL_BYTES
from app.ingest.left_out import KEY, MOST_RANGES, FileRange, mark
from app.ingest.limits import Limits
from app.ingest.messages import (
    ATTRIBUTE,
    GRAPH,
    MODEL,
    SPARSE_TENSOR,
    TENSOR,
    Message,
    field_number,
)
from app.ingest.wire import FIXED32, FIXED64, LENGTH, VARINT, Field, WireReader, length_header


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A model without its weights.

    ``content``: a serialised ModelProto. A tensor whose data were more than ``SMALL_BYTES`` has
    none there, but says where they are (``app.ingest.left_out``). ``has_data``: whether there were
    such tensors. ``dropped_bytes``: how much of the file was left out.
    """

    content: bytes
    dropped_bytes: int
    has_data: bool


def read_skeleton(
    file: BinaryIO,
    limits: Limits,
    small_weights: Literal["kept", "dropped"] = "kept",
    marks: Literal["forged", "own"] = "forged",
) -> Skeleton:
    """Read a ``.onnx`` file without its weights, in memory of the order of what is left.

    ``small_weights``: what becomes of tensors of no more than ``SMALL_BYTES`` that are none of the
    arguments on which shapes hang: those of another type than int64, of more than
    ``ARGUMENT_BYTES``. ``marks``: what a file that says where data were left out knows it from: of
    nobody else's word such marks are dropped; they are Kerf's own where the file is a skeleton.

    A file that protobuf parses has a skeleton that it parses, and the reverse, but for errors
    within what is skipped. The nesting of graphs counts from the main graph, or that of a
    function, which has 0. Raises ``NotOnnxError`` and ``LimitExceededError``.
    """
    reader = WireReader(file)
    small_bytes = SMALL_BYTES if small_weights == "kept" else ARGUMENT_BYTES
    scan = _Scan(reader, limits, small_bytes, keeps_marks=marks == "own")
    scan.copy(MODEL, lambda: reader.fields(0, reader.size_bytes), 0)
    return Skeleton(bytes(scan.kept), scan.dropped_bytes, scan.has_data)


_MARK = KEY.encode()
_EXTERNAL_DATA = field_number(TensorProto, "external_data")
_RAW_DATA = field_number(TensorProto, "raw_data")
_STRING_DATA = field_number(TensorProto, "string_data")
_NUMBERS = {
    field_number(TensorProto, "float_data"): FIXED32,
    field_number(TensorProto, "int32_data"): VARINT,
    field_number(TensorProto, "int64_data"): VARINT,
    field_number(TensorProto, "double_data"): FIXED64,
    field_number(TensorProto, "uint64_data"): VARINT,
}
"""The wire type of each field of numbers where it is not packed."""

_ATTRIBUTE_TAG = field_number(NodeProto, "attribute") << 3 | LENGTH
_ATTRIBUTE_TAGS = (bytes([_ATTRIBUTE_TAG]), bytes([_ATTRIBUTE_TAG | 0x80]))
"""How a node's attribute begins: a tag is one byte, unless somebody padded it."""

_PROTOBUF_NESTING = 33
"""Three messages lie between a graph and its body, and protobuf parses 100 in each other."""

_Fields = Callable[[], Iterator[Field]]
"""The fields of a message, from its first on at each call."""


class _Scan:
    """One walk through a file. What is kept gathers in ``kept``."""

    def __init__(
        self, reader: WireReader, limits: Limits, small_bytes: int, keeps_marks: bool
    ) -> None:
        self.kept = bytearray()
        self.dropped_bytes = 0
        self.has_data = False
        self._small_bytes = small_bytes
        self._keeps_marks = keeps_marks
        self._reader = reader
        self._limits = limits
        self._nesting = min(limits.nesting, _PROTOBUF_NESTING)

    def copy(self, message: Message, fields: _Fields, depth: int) -> None:
        """Keep what is to be kept of a message; ``depth``: of the graph that it lies in, or is."""
        if message is TENSOR:
            self._copy_tensor(fields)
            return
        done: set[int] = set()
        for item in fields():
            child = message.children.get(item.number)
            if child is None or item.wire_type != LENGTH:
                self._copy_other(message, item)
            elif item.number not in message.single:
                is_body = message is ATTRIBUTE and child is GRAPH
                self._copy_child(item, child, depth + is_body)
            elif item.number not in done:
                done.add(item.number)
                self._copy_single(fields, item, child, depth)

    def _copy_single(self, fields: _Fields, item: Field, child: Message, depth: int) -> None:
        """Copy a child of which there is one, with all pieces of it behind ``item``."""

        def pieces() -> Iterator[Field]:
            return (piece for piece in fields() if _are_alike(piece, item))

        def inside() -> Iterator[Field]:
            for piece in pieces():
                yield from self._reader.fields(piece.value, piece.end)

        if len(list(islice(pieces(), 2))) == 1:
            self._copy_child(item, child, depth)
        else:
            self._nest(item.number, child, inside, depth)

    def _copy_child(self, item: Field, child: Message, depth: int) -> None:
        if item.end - item.start <= self._small_bytes:
            data = self._reader.read(item.start, item.end)
            is_flat = child in (TENSOR, SPARSE_TENSOR)
            is_plain = self._keeps_marks or _MARK not in data
            if is_plain and (is_flat or _most_levels(data) <= self._nesting - depth):
                self._append(data)
                return
        if depth > self._nesting:
            raise self._too_deep()
        self._nest(item.number, child, lambda: self._reader.fields(item.value, item.end), depth)

    def _nest(self, number: int, child: Message, fields: _Fields, depth: int) -> None:
        """Copy what is in a child, and put in front how long it has become."""
        start = len(self.kept)
        self.copy(child, fields, depth)
        header = length_header(number, len(self.kept) - start)
        self._make_room(len(header))
        self.kept[start:start] = header

    def _copy_tensor(self, fields: _Fields) -> None:
        """Keep a tensor whose data are small, with the data last; mark it if they are not."""
        data = _TensorData(self._reader)
        start = len(self.kept)
        for item in fields():
            if not data.take(item) and not self._is_forged(item):
                self._copy_other(TENSOR, item)
        self.dropped_bytes += data.file_bytes
        if data.payload_bytes > SMALL_BYTES or (
            data.payload_bytes > self._small_bytes and _is_weight(bytes(self.kept[start:]))
        ):
            self.has_data = True
            self._append(data.mark())
        else:
            content = data.fields()
            self._append(content)
            self.dropped_bytes -= len(content)

    def _is_forged(self, item: Field) -> bool:
        """Whether a field of a tensor is a mark that Kerf did not make."""
        if self._keeps_marks or item.number != _EXTERNAL_DATA or item.wire_type != LENGTH:
            return False
        self._make_room(item.end - item.start)
        return _MARK in self._reader.read(item.value, item.end)

    def _copy_other(self, message: Message, item: Field) -> None:
        """Copy what holds no tensor, unless it is long documentation."""
        is_documentation = item.number in message.documentation and item.wire_type == LENGTH
        if is_documentation and item.payload_bytes > SMALL_BYTES:
            self.dropped_bytes += item.end - item.start
            return
        self._make_room(item.end - item.start)
        for chunk in self._reader.chunks(item.start, item.end):
            self.kept += chunk

    def _append(self, data: bytes) -> None:
        self._make_room(len(data))
        self.kept += data

    def _make_room(self, more_bytes: int) -> None:
        if len(self.kept) + more_bytes > self._limits.graph_bytes:
            raise LimitExceededError(
                f"the model is larger than {self._limits.graph_bytes} bytes without the data of "
                "its weights, which is the limit of this service (KERF_GRAPH_BYTES)"
            )

    def _too_deep(self) -> LimitExceededError:
        limit = "is the limit of this service (KERF_NESTING)"
        if self._nesting < self._limits.nesting:
            limit = "is as deep as protobuf reads"
        return LimitExceededError(
            f"graphs are nested more than {self._nesting} deep, which {limit}"
        )


class _TensorData:
    """The data of one tensor: of small data the fields, of large data the size alone."""

    def __init__(self, reader: WireReader) -> None:
        self.file_bytes = 0
        self._reader = reader
        self._raw: Field | None = None
        self._typed = bytearray()
        self._typed_bytes = 0
        self._string_bytes: int | None = None
        self._ranges: list[FileRange] = []

    @property
    def payload_bytes(self) -> int:
        """Bytes of the values as they are encoded; a string counts one more than it has."""
        return self._typed_bytes + (self._raw.payload_bytes if self._raw else 0)

    def take(self, item: Field) -> bool:
        """Take a field that holds data; False for any other.

        Of several ``raw_data`` the last counts, as everywhere in protobuf.
        """
        if item.number == _RAW_DATA and item.wire_type == LENGTH:
            self._raw = item
        elif item.number == _STRING_DATA and item.wire_type == LENGTH:
            self._string_bytes = (self._string_bytes or 0) + item.payload_bytes
            self._take_typed(item, item.payload_bytes + 1)
        elif item.number in _NUMBERS and item.wire_type in (LENGTH, _NUMBERS[item.number]):
            self._take_typed(item, item.payload_bytes)
        else:
            return False
        self.file_bytes += item.end - item.start
        return True

    def _take_typed(self, item: Field, payload_bytes: int) -> None:
        self._typed_bytes += payload_bytes
        self._add_range(item)
        if self._typed_bytes > SMALL_BYTES:
            self._typed.clear()
        elif payload_bytes:  # there may be any number of packed fields with nothing in them
            self._typed += self._reader.read(item.start, item.end)

    def _add_range(self, item: Field) -> None:
        """Remember where a field lies; far too many pieces are not told apart any more."""
        if self._ranges and self._ranges[-1].end == item.start:
            self._ranges[-1] = FileRange(self._ranges[-1].start, item.end)
        elif len(self._ranges) <= MOST_RANGES:
            self._ranges.append(FileRange(item.start, item.end))

    def fields(self) -> bytes:
        """The fields of small data, as the file has them."""
        raw = self._reader.read(self._raw.start, self._raw.end) if self._raw else b""
        return bytes(self._typed) + raw

    def mark(self) -> bytes:
        """The fields by which a tensor says where its data are."""
        length = self._raw.payload_bytes if self._raw else self._string_bytes
        if self._raw and not self._ranges:
            ranges = [FileRange(self._raw.value, self._raw.end)]
        else:
            raw = [FileRange(self._raw.start, self._raw.end)] if self._raw else []
            ranges = [*self._ranges, *raw]
        is_raw = self._raw is not None and not self._ranges
        content: bytes = mark(length, is_raw, ranges).SerializeToString()
        return content


def _is_weight(header: bytes) -> bool:
    """Whether a tensor, without its data, is of a type that arguments of operators do not have
    when they are longer than ``ARGUMENT_BYTES``."""
    try:
        data_type = TensorProto.FromString(header).data_type
    except DecodeError:
        return False
    return data_type not in ARGUMENT_TYPES


def _are_alike(one: Field, other: Field) -> bool:
    return one.number == other.number and one.wire_type == other.wire_type


def _most_levels(data: bytes) -> int:
    """How many graphs at most lie in each other in a child, tag included.

    Each lies in an attribute, and all but the child itself in one of a node. The bytes with which
    such attributes begin may stand in names, too.
    """
    return 1 + sum(data.count(tag) for tag in _ATTRIBUTE_TAGS)
