"""The protobuf wire format, beside protobuf itself."""

import io
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto

from app.errors import NotOnnxError
from app.ingest.wire import LENGTH, VARINT, Field, WireReader, length_header, varint


def fields_of(data: bytes) -> list[Field]:
    """The fields of a message that is all there is."""
    return list(WireReader(io.BytesIO(data)).fields(0, len(data)))


class Counting(io.BytesIO):
    """Bytes that note each read: where, and how many."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        data = super().read(size)
        self.reads.append((start, len(data)))
        return data


def padded(number: int, zeros: int) -> bytes:
    """A varint with more bytes than it needs."""
    data = varint(number)
    return data[:-1] + bytes([data[-1] | 0x80]) + b"\x80" * (zeros - 1) + b"\0" if zeros else data


@given(st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_integers_are_written_as_protobuf_does(number: int) -> None:
    """A varint has the bytes that protobuf gives it, behind the tag of one byte."""
    assert varint(number) == ModelProto(ir_version=number).SerializeToString()[1:]


@given(st.integers(1, 2**29 - 1), st.integers(0, 300))
@settings(deadline=None)
def test_headers_are_read_as_they_are_written(number: int, length: int) -> None:
    """A field with a header of ours has its number, and its content from the header to the end."""
    header = length_header(number, length)
    data = header + bytes(length)
    assert fields_of(data) == [Field(number, LENGTH, 0, len(header), len(data))]


SCALARS = st.builds(
    lambda number, value, zeros: padded(number << 3, zeros) + padded(value, 1),
    st.integers(1, 2000),
    st.integers(0, 2**56),
    st.integers(0, 2),
)
FIXED = st.builds(
    lambda number, wide: varint(number << 3 | (1 if wide else 5)) + b"\x7f" * (8 if wide else 4),
    st.integers(1, 2000),
    st.booleans(),
)
TEXTS = st.builds(
    lambda number, text: length_header(number, len(text)) + text,
    st.integers(1, 2000),
    st.binary(max_size=300),
)


@given(st.lists(st.one_of(SCALARS, FIXED, TEXTS).map(lambda data: [data] * (len(data) % 4))))
@settings(deadline=None)
def test_fields_tile_a_message(repeated: list[list[bytes]]) -> None:
    """Each byte of a message lies in one field, and fields end only where one was written to."""
    data = b"".join(field for same in repeated for field in same)
    ends, position = set(), 0
    for field in (field for same in repeated for field in same):
        position += len(field)
        ends.add(position)
    found = fields_of(data)
    assert [item.start for item in found] + [len(data)] == [0, *(item.end for item in found)]
    assert {item.end for item in found} <= ends
    assert sum(item.times for item in found) == sum(map(len, repeated))


@pytest.mark.parametrize(
    ("field", "payload_bytes"),
    [
        (b"\x38\x01", 1),
        (b"\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10),
        (b"\x25\x38\x38\x38\x38", 4),
        (b"\x51\x51\x51\x51\x51\x51\x51\x51\x51", 8),
        (b"\x80\x01\x05", 1),
        (b"\xb8\x00\x05", 1),
    ],
    ids=["varint", "long varint", "fixed32", "fixed64", "field 16", "padded tag"],
)
def test_scalars_in_a_row(field: bytes, payload_bytes: int) -> None:
    """200,000 scalars of one field have the bytes of 200,000 values, whatever came together."""
    found = fields_of(field * 200_000)
    assert sum(item.times for item in found) == 200_000
    assert sum(item.payload_bytes for item in found) == 200_000 * payload_bytes
    assert len({(item.number, item.wire_type) for item in found}) == 1


def test_scalars_of_small_tags_come_together() -> None:
    """As many scalars as one read holds come as one field: no more than one for each 4 KiB."""
    data = b"\x38\x01" * 200_000
    assert len(fields_of(data)) <= len(data) // 4096


def test_a_row_of_scalars_ends_with_its_message() -> None:
    """What follows behind the end of a message is no part of its last field."""
    reader = WireReader(io.BytesIO(b"\x38\x01" * 10))
    (field,) = reader.fields(4, 10)
    assert (field.start, field.end, field.times) == (4, 10, 3)


BROKEN = {
    "number 0": b"\x00\x00",
    "number 0, padded": b"\x80\x00\x00",
    "tag of 6 bytes": b"\x92\x80\x80\x80\x80\x00\x03abc",
    "tag beyond 32 bits": b"\x92\x80\x80\x80\x10\x03abc",
    "varint of 11 bytes": b"\x08" + b"\xff" * 10 + b"\x01",
    "varint without end": b"\x08\xff",
    "length of 11 bytes": b"\x12" + b"\x83" + b"\x80" * 9 + b"\x00abc",
    "length without end": b"\x12\x83",
    "length of 2^63": b"\x12" + varint(2**63) + b"abc",
    "length of 2^64-1": b"\x12" + varint(2**64 - 1) + b"abc",
    "length one too long": b"\x12\x04abc",
    "tag alone": b"\x12",
    "tag without end": b"\x92",
    "short fixed32": b"\x25abc",
    "short fixed64": b"\x21abcdefg",
    "wire type 6": b"\x0e\x00",
    "wire type 7": b"\x0f\x00",
    "open group": b"\x0b\x08\x01",
    "end of no group": b"\x0c",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("before", [0, 5000], ids=["first", "last"])
def test_what_protobuf_does_not_parse_is_refused(data: bytes, before: int) -> None:
    """What is no message is none for protobuf and none here, at the start and at the end."""
    data = b"\x08\x01" * before + data
    with pytest.raises(DecodeError):
        ModelProto.FromString(data)
    with pytest.raises(NotOnnxError, match=r"not an ONNX model, or it is truncated: .*; upload"):
        fields_of(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x92\x80\x80\x80\x00\x03abc",
        b"\x12" + padded(3, 9) + b"abc",
        b"\x08" + b"\xff" * 9 + b"\x7f",
        varint((2**29 - 1) << 3) + b"\x01",
    ],
    ids=["empty", "padded tag", "padded length", "longest varint", "largest number"],
)
def test_what_protobuf_parses_is_taken(data: bytes) -> None:
    """The oddest of what protobuf parses is a message here."""
    ModelProto.FromString(data)
    assert sum(item.end - item.start for item in fields_of(data)) == len(data)


def test_groups_are_refused() -> None:
    """A group, which protobuf would skip, is refused by its name."""
    data = b"\x0b\x08\x01\x0c"
    ModelProto.FromString(data)
    with pytest.raises(NotOnnxError, match="group"):
        fields_of(data)


def test_a_field_beyond_its_message_is_refused() -> None:
    """A field that fits the file but not the message around it is refused, by where it lies."""
    data = b"\x3a\x02\x12\x05abcde"
    reader = WireReader(io.BytesIO(data))
    with pytest.raises(NotOnnxError, match=r"field 2 at byte 2 reaches to byte 9.* at byte 4"):
        list(reader.fields(2, 4))
    reader = WireReader(io.BytesIO(b"\x38\x80\x01"))
    with pytest.raises(NotOnnxError, match=r"field 7 at byte 0 reaches to byte 3.* at byte 2"):
        list(reader.fields(0, 2))


def test_every_truncation_within_a_field_is_refused() -> None:
    """A message cut off anywhere but between two fields is refused; there, fields are fewer."""
    whole = TensorProto(dims=[300, 3], data_type=1, name="weight", raw_data=bytes(200))
    data = whole.SerializeToString()
    ends = {
        0,
        3,
        *(item.end for item in fields_of(data)),
    }  # 3: between the dims, which came together
    for length in range(len(data)):
        if length in ends:
            assert sum(item.times for item in fields_of(data[:length])) < 5
        else:
            with pytest.raises(NotOnnxError):
                fields_of(data[:length])
    assert sum(item.times for item in fields_of(data)) == 5


def test_reads_grow_and_shrink() -> None:
    """Small fields are read once each, in ever longer reads; after a jump reads are short again."""
    small, large = b"\x12\x64" + bytes(100), length_header(9, 10**7) + bytes(10**7)
    data = small * 20_000 + large + small * 10 + large
    file = Counting(data)
    found = list(WireReader(file).fields(0, len(data)))
    assert len(found) == 20_012
    bytes_read = sum(count for _, count in file.reads)
    assert bytes_read <= 20_000 * len(small) * 1.01 + 2 * 256 * 2**10
    assert len(file.reads) <= 7 + 20_000 * len(small) // (256 * 2**10) + 3
    assert file.reads[-1][1] <= 4096


def test_chunks_are_the_bytes_of_the_file() -> None:
    """Any part of a file comes whole, in pieces of at most 256 KiB."""
    data = bytes(range(256)) * 10_000
    reader = WireReader(io.BytesIO(data))
    for start, end in [(0, len(data)), (5, 6), (1000, 600_000), (600_000, 601_000), (7, 7)]:
        chunks = list(reader.chunks(start, end))
        assert b"".join(chunks) == data[start:end] == reader.read(start, end)
        assert max(map(len, chunks), default=0) <= 256 * 2**10


def test_a_file_that_shrinks_is_refused() -> None:
    """A file that loses its end while it is read is refused, like one that never had it."""
    data = b"\x12\x64" + bytes(100)
    file: Any = io.BytesIO(data * 1000)
    fields = WireReader(file).fields(0, 1000 * len(data))
    assert next(fields).wire_type != VARINT
    file.truncate(5000)
    with pytest.raises(NotOnnxError, match="shorter"):
        list(fields)
