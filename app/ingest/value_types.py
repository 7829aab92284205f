"""Types of values: what onnx states of one, as far as costs and cuts care."""

from dataclasses import dataclass
from math import prod

from onnx import TensorProto, TypeProto, helper

from app.ingest.element_types import ELEMENT_TYPES


@dataclass(frozen=True, slots=True)
class ValueType:
    """Element type by ``TensorProto.DataType`` (0 where unknown); ``shape`` None where any extent
    is unknown; ``container``: the whole type's name, such as ``sequence(float32)``, where it is
    not a dense tensor."""

    dtype: int
    shape: tuple[int, ...] | None
    container: str = ""

    @property
    def nbytes(self) -> int | None:
        """Bytes of a value; None where only running the model would tell.

        So it is of strings, and of sequences and what else has no extent of its own.
        """
        element_type = ELEMENT_TYPES.get(self.dtype)
        if self.container or self.shape is None or element_type is None:
            return None
        if self.dtype == TensorProto.STRING:
            return None
        return element_type.nbytes(prod(self.shape))

    @property
    def dtype_name(self) -> str:
        """The element type's name, such as ``float32``, or that of the container."""
        return self.container or _element_name(self.dtype)

    @property
    def is_floating(self) -> bool:
        """Whether a gradient comes back for it in training."""
        element_type = ELEMENT_TYPES.get(self.dtype)
        return element_type is not None and element_type.is_floating


UNKNOWN = ValueType(0, None)


def value_type_of(proto: TypeProto | None) -> ValueType:
    """What a type states; ``UNKNOWN`` for None."""
    if proto is None:
        return UNKNOWN
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        tensor_type = proto.tensor_type
        return ValueType(tensor_type.elem_type, _shape_of(proto))
    if kind is None:
        return UNKNOWN
    return ValueType(0, None, _name_of(proto))


def has_shape(proto: TypeProto | None) -> bool:
    """Whether a type is that of a tensor with every extent known."""
    return proto is not None and _shape_of(proto) is not None


def merged(first: TypeProto | None, second: TypeProto | None) -> TypeProto | None:
    """The first type with its gaps filled from the second, where these agree otherwise."""
    if first is None or first.WhichOneof("value") is None:
        return second
    if second is None or first.WhichOneof("value") != second.WhichOneof("value"):
        return first
    if not first.HasField("tensor_type"):
        return first
    mine, other = first.tensor_type, second.tensor_type
    if mine.elem_type and other.elem_type and mine.elem_type != other.elem_type:
        return first
    filled = TypeProto()
    filled.CopyFrom(first)
    filled.tensor_type.elem_type = mine.elem_type or other.elem_type
    if not other.HasField("shape"):
        return filled
    if not mine.HasField("shape"):
        filled.tensor_type.shape.CopyFrom(other.shape)
    elif len(mine.shape.dim) == len(other.shape.dim):
        for dim, theirs in zip(filled.tensor_type.shape.dim, other.shape.dim, strict=True):
            if not dim.HasField("dim_value") and theirs.HasField("dim_value"):
                dim.dim_value = theirs.dim_value
    return filled


def tensor_type(dtype: int, shape: tuple[int, ...] | None) -> TypeProto:
    """The type of a tensor; without a shape where that is None."""
    proto: TypeProto = helper.make_tensor_type_proto(dtype, shape)
    return proto


def _shape_of(proto: TypeProto) -> tuple[int, ...] | None:
    if not proto.HasField("tensor_type") or not proto.tensor_type.HasField("shape"):
        return None
    dims = proto.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def _name_of(proto: TypeProto) -> str:
    """A type as text, such as ``sequence(map(int64, float32))``."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return _element_name(proto.tensor_type.elem_type)
    if kind == "sparse_tensor_type":
        return f"sparse({_element_name(proto.sparse_tensor_type.elem_type)})"
    if kind == "sequence_type":
        return f"sequence({_name_of(proto.sequence_type.elem_type)})"
    if kind == "optional_type":
        return f"optional({_name_of(proto.optional_type.elem_type)})"
    if kind == "map_type":
        key = _element_name(proto.map_type.key_type)
        return f"map({key}, {_name_of(proto.map_type.value_type)})"
    return "unknown"


def _element_name(dtype: int) -> str:
    element_type = ELEMENT_TYPES.get(dtype)
    return element_type.name if element_type is not None else "unknown"
