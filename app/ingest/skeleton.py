"""What of an ONNX file has to be read: all but the data of its weights.

The file is walked in the wire format, and the data of large tensors, wherever they lie (weights,
Constant nodes, bodies, functions, sparse tensors), are skipped by seeking. What is left parses as
the same model with those weights in external data. Long documentation goes as well: torch writes
stack traces into each node, and nothing in Kerf reads them. All else stays as it is, unknown
fields included.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from onnx import ModelProto, NodeProto, StringStringEntryProto, TensorProto

from app.errors import LimitExceededError
from app.ingest.constants import SMALL_BYTES
from app.ingest.limits import Limits
from app.ingest.wire import FIXED32, FIXED64, LENGTH, VARINT, Field, WireReader, length_header


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A model without its weights.

    ``content``: a serialised ModelProto. A tensor whose data were more than ``SMALL_BYTES`` has
    none there, but ``data_location`` EXTERNAL; the last of its ``external_data`` is then the
    ``length`` in bytes of its data, if these were ``raw_data`` or strings. ``dropped_bytes``:
    how much of the file was left out.
    """

    content: bytes
    dropped_bytes: int


def read_skeleton(file: BinaryIO, limits: Limits) -> Skeleton:
    """Read a ``.onnx`` file without its weights, in memory of the order of what is left.

    A file that protobuf parses has a skeleton that it parses, and the reverse, but for errors
    within what is skipped. The nesting of graphs counts from the main graph, or that of a
    function, which has 0. Raises ``NotOnnxError`` and ``LimitExceededError``.
    """
    reader = WireReader(file)
    scan = _Scan(reader, limits)
    scan.copy(_MODEL, lambda: reader.fields(0, reader.size_bytes), 0)
    return Skeleton(bytes(scan.kept), scan.dropped_bytes)


@dataclass(frozen=True, slots=True, eq=False)
class _Message:
    """A type of message in which tensors lie, or which is one; its fields by number.

    ``single``: children that have a meaning only as a whole. Protobuf allows any message to be
    written in pieces; a graph in pieces can be read piece by piece, a tensor can not.
    """

    children: dict[int, "_Message"] = field(default_factory=dict)
    single: set[int] = field(default_factory=set)
    documentation: set[int] = field(default_factory=set)


def _messages() -> dict[str, _Message]:
    """Every type of message from which a tensor can be reached, by name."""
    types = ModelProto.DESCRIPTOR.file.message_types_by_name
    found: set[str] = set()
    more = {"TensorProto"}
    while more > found:
        found = more
        more = found | {
            name for name in types if found.intersection(_children(types[name]).values())
        }
    messages = {name: _Message() for name in found}
    for name, message in messages.items():
        numbers = {item.name: item.number for item in types[name].fields}
        message.single.update(numbers[key] for key in _SINGLE & numbers.keys())
        message.documentation.update(numbers[key] for key in _DOCUMENTATION & numbers.keys())
        for number, child in _children(types[name]).items():
            if child in found:
                message.children[number] = messages[child]
    return messages


def _children(descriptor: Any) -> dict[int, str]:
    return {item.number: item.message_type.name for item in descriptor.fields if item.message_type}


def _number(message: Any, name: str) -> int:
    number: int = message.DESCRIPTOR.fields_by_name[name].number
    return number


_DOCUMENTATION = {"doc_string", "metadata_props"}
_SINGLE = {"t", "sparse_tensor", "values", "indices"}
_MESSAGES = _messages()
_MODEL = _MESSAGES["ModelProto"]
_GRAPH = _MESSAGES["GraphProto"]
_ATTRIBUTE = _MESSAGES["AttributeProto"]
_TENSOR = _MESSAGES["TensorProto"]
_SPARSE_TENSOR = _MESSAGES["SparseTensorProto"]

_RAW_DATA = _number(TensorProto, "raw_data")
_STRING_DATA = _number(TensorProto, "string_data")
_NUMBERS = {
    _number(TensorProto, "float_data"): FIXED32,
    _number(TensorProto, "int32_data"): VARINT,
    _number(TensorProto, "int64_data"): VARINT,
    _number(TensorProto, "double_data"): FIXED64,
    _number(TensorProto, "uint64_data"): VARINT,
}
"""The wire type of each field of numbers where it is not packed."""

_ATTRIBUTE_TAG = _number(NodeProto, "attribute") << 3 | LENGTH
_ATTRIBUTE_TAGS = (bytes([_ATTRIBUTE_TAG]), bytes([_ATTRIBUTE_TAG | 0x80]))
"""How a node's attribute begins: a tag is one byte, unless somebody padded it."""

_PROTOBUF_NESTING = 33
"""Three messages lie between a graph and its body, and protobuf parses 100 in each other."""

_Fields = Callable[[], Iterator[Field]]
"""The fields of a message, from its first on at each call."""


class _Scan:
    """One walk through a file. What is kept gathers in ``kept``."""

    def __init__(self, reader: WireReader, limits: Limits) -> None:
        self.kept = bytearray()
        self.dropped_bytes = 0
        self._reader = reader
        self._limits = limits
        self._nesting = min(limits.nesting, _PROTOBUF_NESTING)

    def copy(self, message: _Message, fields: _Fields, depth: int) -> None:
        """Keep what is to be kept of a message; ``depth``: of the graph that it lies in, or is."""
        if message is _TENSOR:
            self._copy_tensor(fields)
            return
        done: set[int] = set()
        for item in fields():
            child = message.children.get(item.number)
            if child is None or item.wire_type != LENGTH:
                self._copy_other(message, item)
            elif item.number not in message.single:
                is_body = message is _ATTRIBUTE and child is _GRAPH
                self._copy_child(item, child, depth + is_body)
            elif item.number not in done:
                done.add(item.number)
                self._copy_single(fields, item, child, depth)

    def _copy_single(self, fields: _Fields, item: Field, child: _Message, depth: int) -> None:
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

    def _copy_child(self, item: Field, child: _Message, depth: int) -> None:
        if item.end - item.start <= SMALL_BYTES:
            data = self._reader.read(item.start, item.end)
            is_flat = child in (_TENSOR, _SPARSE_TENSOR)
            if is_flat or _most_levels(data) <= self._nesting - depth:
                self._append(data)
                return
        if depth > self._nesting:
            raise self._too_deep()
        self._nest(item.number, child, lambda: self._reader.fields(item.value, item.end), depth)

    def _nest(self, number: int, child: _Message, fields: _Fields, depth: int) -> None:
        """Copy what is in a child, and put in front how long it has become."""
        start = len(self.kept)
        self.copy(child, fields, depth)
        header = length_header(number, len(self.kept) - start)
        self._make_room(len(header))
        self.kept[start:start] = header

    def _copy_tensor(self, fields: _Fields) -> None:
        """Keep a tensor whose data are small, with the data last; mark it if they are not."""
        data = _TensorData(self._reader)
        for item in fields():
            if not data.take(item):
                self._copy_other(_TENSOR, item)
        self.dropped_bytes += data.file_bytes
        if data.payload_bytes > SMALL_BYTES:
            self._append(data.mark())
        else:
            content = data.fields()
            self._append(content)
            self.dropped_bytes -= len(content)

    def _copy_other(self, message: _Message, item: Field) -> None:
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
        if self._typed_bytes > SMALL_BYTES:
            self._typed.clear()
        elif payload_bytes:  # there may be any number of packed fields with nothing in them
            self._typed += self._reader.read(item.start, item.end)

    def fields(self) -> bytes:
        """The fields of small data, as the file has them."""
        raw = self._reader.read(self._raw.start, self._raw.end) if self._raw else b""
        return bytes(self._typed) + raw

    def mark(self) -> bytes:
        """The fields by which a tensor says that its data lie elsewhere."""
        length = self._raw.payload_bytes if self._raw else self._string_bytes
        entries = []
        if length is not None:
            entries.append(StringStringEntryProto(key="length", value=str(length)))
        mark = TensorProto(data_location=TensorProto.EXTERNAL, external_data=entries)
        content: bytes = mark.SerializeToString()
        return content


def _are_alike(one: Field, other: Field) -> bool:
    return one.number == other.number and one.wire_type == other.wire_type


def _most_levels(data: bytes) -> int:
    """How many graphs at most lie in each other in a child, tag included.

    Each lies in an attribute, and all but the child itself in one of a node. The bytes with which
    such attributes begin may stand in names, too.
    """
    return 1 + sum(data.count(tag) for tag in _ATTRIBUTE_TAGS)
