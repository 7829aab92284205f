"""ONNX element types: their names, widths, and whether a gradient comes back for them."""

from dataclasses import dataclass

from onnx import TensorProto


@dataclass(frozen=True, slots=True)
class ElementType:
    """``bits``: width of one element as stored, 0 where it has none of its own (strings)."""

    name: str
    bits: int
    is_floating: bool

    def nbytes(self, elements: int) -> int:
        """Bytes of so many elements, packed; a last byte that is not full counts whole."""
        return (elements * self.bits + 7) // 8


_FLOATING_BITS = {
    "float4e2m1": 4,
    "float6e2m3": 6,
    "float6e3m2": 6,
    "float8e4m3fn": 8,
    "float8e4m3fnuz": 8,
    "float8e5m2": 8,
    "float8e5m2fnuz": 8,
    "float8e8m0": 8,
    "float16": 16,
    "bfloat16": 16,
    "float": 32,
    "double": 64,
    "complex64": 64,
    "complex128": 128,
}
_OTHER_BITS = {
    "bool": 8,
    "string": 0,
    "int2": 2,
    "uint2": 2,
    "int4": 4,
    "uint4": 4,
    "int8": 8,
    "uint8": 8,
    "int16": 16,
    "uint16": 16,
    "int32": 32,
    "uint32": 32,
    "int64": 64,
    "uint64": 64,
}
_NAMES = {"float": "float32", "double": "float64"}
"""Where numpy's name is the better known one."""


def _table() -> dict[int, ElementType]:
    table = {}
    for key, code in TensorProto.DataType.items():
        name = key.lower()
        if name in _FLOATING_BITS:
            table[code] = ElementType(_NAMES.get(name, name), _FLOATING_BITS[name], True)
        elif name in _OTHER_BITS:
            table[code] = ElementType(name, _OTHER_BITS[name], False)
    return table


ELEMENT_TYPES = _table()
"""By ``TensorProto.DataType``; ``UNDEFINED`` has no entry."""

DATA_TYPES = {known.name: code for code, known in ELEMENT_TYPES.items()}
"""``TensorProto.DataType`` by name."""
