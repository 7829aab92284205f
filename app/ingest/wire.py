"""The protobuf wire format: the fields of a message, found in a file that is not read whole.

What is not asked for is skipped by seeking. The file is read through one small buffer and never
mapped, since mapped pages count as memory of the process. Format:
https://protobuf.dev/programming-guides/encoding/
"""

import os
import re
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from app.errors import NotOnnxError

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

_OTHERS = {
    3: "a group; ONNX has none",
    4: "the end of a group; ONNX has none",
    6: "of no known wire type",
    7: "of no known wire type",
}
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_VARINT_BYTES = 10
_TAG_BYTES = 5
_HEADER_BYTES = _TAG_BYTES + _VARINT_BYTES
_LARGEST_TAG = 2**32 - 1
_LARGEST_VARINT = 2**64 - 1
_CONTINUED = bytes(range(0x80, 0x100))
_SMALLEST_READ_BYTES = 4 * 2**10
_LARGEST_READ_BYTES = 256 * 2**10


class Field(NamedTuple):
    """Where a field lies in the file: its tag from ``start``, its value from ``value`` to ``end``.

    Scalars that follow each other with the same tag of one byte (a repeated field that is not
    packed) may come as one field of ``times`` scalars: each again begins with the tag.
    """

    number: int
    wire_type: int
    start: int
    value: int
    end: int
    times: int = 1

    @property
    def payload_bytes(self) -> int:
        """Bytes of the values, without tags and length."""
        if self.times == 1:
            return self.end - self.value
        return self.end - self.start - self.times * (self.value - self.start)


def varint(number: int) -> bytes:
    """A non-negative integer as protobuf writes it."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def length_header(number: int, length: int) -> bytes:
    """What stands before ``length`` bytes of content in field ``number``."""
    return varint(number << 3 | LENGTH) + varint(length)


class WireReader:
    """Fields and bytes of a seekable binary file, at any position and in any order.

    Reads that follow each other grow, up to 256 KiB; after a jump of 4 KiB or more they begin
    again with 4 KiB, so that next to nothing of what is skipped gets read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size_bytes = file.seek(0, os.SEEK_END)
        self._data = b""
        self._base = 0
        self._read_bytes = _SMALLEST_READ_BYTES

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message that lies from ``start`` to ``end``, in order.

        Raises ``NotOnnxError`` where it is none: a field that reaches beyond ``end``, a number
        too long, a tag that cannot be. Groups are refused as well; ONNX has none.
        """
        position = start
        while position < end:
            field = self._field(position, end)
            yield field
            position = field.end

    def chunks(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to ``end``, in pieces no longer than one read."""
        while start < end:
            at = start - self._base
            if not 0 <= at < len(self._data):
                self._load(start)
                at = 0
            chunk = self._data[at : at + end - start]
            yield chunk
            start += len(chunk)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``, for a few of them."""
        return b"".join(self.chunks(start, end))

    def _field(self, start: int, end: int) -> Field:
        at = start - self._base
        if at < 0 or at + _HEADER_BYTES > len(self._data):
            self._load(start)
            at = 0
        data, base = self._data, self._base
        try:
            tag = data[at]
            at += 1
            if tag >= 0x80:
                tag, at = _varint_at(data, at - 1, _TAG_BYTES)
            number, wire_type = tag >> 3, tag & 7
            if number == 0 or tag > _LARGEST_TAG:
                raise broken(f"the field at byte {start} has no valid number")
            value = at
            if wire_type == LENGTH:
                length, value = _varint_at(data, at, _VARINT_BYTES)
                at = value + length
            elif wire_type == VARINT:
                _, at = _varint_at(data, at, _VARINT_BYTES)
            elif wire_type in _FIXED_BYTES:
                at += _FIXED_BYTES[wire_type]
            else:
                raise broken(f"the field at byte {start} is {_OTHERS[wire_type]}")
        except IndexError:
            raise broken(f"it ends within the field at byte {start}") from None
        if base + at > end:
            raise broken(
                f"field {number} at byte {start} reaches to byte {base + at}, but what it is part "
                f"of ends at byte {end}"
            )
        field = Field(number, wire_type, start, base + value, base + at)
        if wire_type != LENGTH and data[at : at + 1] == data[start - base : start - base + 1]:
            return self._run(field, end)
        return field

    def _run(self, field: Field, end: int) -> Field:
        """A scalar with those of the same tag behind it, as far as the buffer holds them."""
        start = field.start - self._base
        pattern = _RUNS.get(self._data[start])
        match = pattern.match(self._data, start, end - self._base) if pattern else None
        if match is None:
            return field
        if field.wire_type == VARINT:  # tag and varint have one byte below 0x80 each
            times = len(match.group().translate(None, _CONTINUED)) // 2
        else:
            times = len(match.group()) // (1 + _FIXED_BYTES[field.wire_type])
        return field._replace(end=self._base + match.end(), times=times)

    def _load(self, position: int) -> None:
        """Fill the buffer from ``position`` on."""
        ahead = position - self._base - len(self._data)
        if self._base < position and ahead < _SMALLEST_READ_BYTES:
            self._read_bytes = min(2 * self._read_bytes, _LARGEST_READ_BYTES)
        else:
            self._read_bytes = _SMALLEST_READ_BYTES
        wanted_bytes = min(self._read_bytes, self.size_bytes - position)
        self._file.seek(position)
        self._data = self._file.read(wanted_bytes)
        self._base = position
        if len(self._data) < wanted_bytes:
            raise broken("it became shorter while it was read")


def _varint_at(data: bytes, at: int, longest: int) -> tuple[int, int]:
    """The varint at a place, and the place behind it; ``IndexError`` where the data end first."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    number = 0
    for index in range(longest):
        byte = data[at + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number & _LARGEST_VARINT, at + index + 1
    raise broken(f"a number is longer than {longest} bytes")


def _run_patterns() -> dict[int, re.Pattern[bytes]]:
    """By tag of one byte: one scalar field of that tag or more, whole."""
    values = {VARINT: rb"[\x80-\xff]{0,9}+[\x00-\x7f]", FIXED64: rb".{8}", FIXED32: rb".{4}"}
    return {
        number << 3 | wire_type: re.compile(
            rb"(?:\x%02x%b)++" % (number << 3 | wire_type, value), re.S
        )
        for number in range(1, 16)
        for wire_type, value in values.items()
    }


_RUNS = _run_patterns()


def broken(how: str) -> NotOnnxError:
    """The error for a file that is no ONNX model, and why it is none."""
    return NotOnnxError(
        f"the file is not an ONNX model, or it is truncated: {how}; upload the .onnx file as the "
        "exporter wrote it"
    )
