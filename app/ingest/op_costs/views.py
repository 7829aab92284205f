"""What a cost function may see of a node, and typed access to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from numpy.typing import NDArray

Shape = tuple[int, ...]
Side = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class TensorView:
    """One input or output of a node.

    `shape` is None when unknown, `dtype` is an `onnx.TensorProto.DataType` value (0 when
    unknown) and `value` is given only for small constants.
    """

    shape: Shape | None
    dtype: int
    value: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node: an optional input or output that is left out is None, or beyond the tuple's end.

    `attributes` holds plain Python values as `onnx.helper.get_attribute_value` returns them, and
    `opset` is the version of the node's own domain.
    """

    domain: str
    op_type: str
    inputs: tuple[TensorView | None, ...]
    outputs: tuple[TensorView | None, ...]
    attributes: Mapping[str, Any]
    opset: int


class UnknownShape(ValueError):  # noqa: N818  (the name callers know)
    """A shape, or a value that decides one, is needed for the cost and is not known."""

    def __init__(self, node: NodeView, side: Side, index: int, what: str = "shape") -> None:
        super().__init__(f"{node.op_type}: the {what} of {side} {index} is unknown")
        self.op_type = node.op_type
        self.side: Side = side
        self.index = index
        self.what = what


class InvalidNode(ValueError):  # noqa: N818  (the name callers know)
    """The node's shapes or attributes contradict its operator's definition."""

    def __init__(self, node: NodeView, problem: str) -> None:
        super().__init__(f"{node.op_type}: {problem}")
        self.op_type = node.op_type


def _find(node: NodeView, side: Side, index: int) -> TensorView | None:
    tensors = node.inputs if side == "input" else node.outputs
    return tensors[index] if index < len(tensors) else None


def _shape(node: NodeView, side: Side, index: int, rank: int) -> Shape:
    tensor = _find(node, side, index)
    if tensor is None or tensor.shape is None:
        raise UnknownShape(node, side, index)
    shape = tuple(int(extent) for extent in tensor.shape)
    if len(shape) < rank:
        raise InvalidNode(node, f"{side} {index} has rank {len(shape)}, below {rank}")
    if any(extent < 0 for extent in shape):
        raise InvalidNode(node, f"{side} {index} has a negative extent: {shape}")
    return shape


def input_shape(node: NodeView, index: int, *, rank: int = 0) -> Shape:
    """Shape of an input, of at least `rank` dimensions."""
    return _shape(node, "input", index, rank)


def output_shape(node: NodeView, index: int = 0, *, rank: int = 0) -> Shape:
    """Shape of an output, of at least `rank` dimensions."""
    return _shape(node, "output", index, rank)


def input_elements(node: NodeView, index: int = 0) -> int:
    """Number of elements of an input."""
    return prod(input_shape(node, index))


def output_elements(node: NodeView, index: int = 0) -> int:
    """Number of elements of an output."""
    return prod(output_shape(node, index))


def has_input(node: NodeView, index: int) -> bool:
    """Whether the optional input is given."""
    return _find(node, "input", index) is not None


def has_output(node: NodeView, index: int) -> bool:
    """Whether the optional output is asked for."""
    return _find(node, "output", index) is not None


def scalar_input(node: NodeView, index: int) -> int | None:
    """Integer value of a constant input of one element, None when not known."""
    tensor = _find(node, "input", index)
    if tensor is None or tensor.value is None or tensor.value.size != 1:
        return None
    if tensor.value.dtype.kind not in "iub":
        raise InvalidNode(node, f"input {index} must be an integer, got {tensor.value!r}")
    return int(tensor.value.reshape(-1)[0])


def integer(node: NodeView, name: str, default: int | None = None) -> int:
    """An integer attribute; one without a default is required."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise InvalidNode(node, f"attribute {name} must be an integer, got {value!r}")
    return int(value)


def positive(node: NodeView, name: str, default: int | None = None) -> int:
    """An integer attribute that counts something and so is at least 1."""
    value = integer(node, name, default)
    if value < 1:
        raise InvalidNode(node, f"attribute {name} must be at least 1, got {value}")
    return value


def real(node: NodeView, name: str, default: float) -> float:
    """A floating-point attribute."""
    value = node.attributes.get(name, default)
    if not isinstance(value, (int, float)):
        raise InvalidNode(node, f"attribute {name} must be a number, got {value!r}")
    return float(value)


def items(node: NodeView, name: str) -> list[Any]:
    """A list attribute, empty when absent."""
    value = node.attributes.get(name, ())
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        raise InvalidNode(node, f"attribute {name} must be a list, got {value!r}")
    return list(value)


def text(node: NodeView, name: str, default: str) -> str:
    """A string attribute."""
    value = node.attributes.get(name, default)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise InvalidNode(node, f"attribute {name} must be a string, got {value!r}")
    return value


def extents(node: NodeView, name: str) -> Shape:
    """A required list attribute of non-negative integers, such as `kernel_shape`."""
    values = items(node, name)
    if not values or not all(isinstance(value, int) and value >= 0 for value in values):
        raise InvalidNode(node, f"attribute {name} must list extents, got {values!r}")
    return tuple(int(value) for value in values)


def axis_of(node: NodeView, axis: int, rank: int) -> int:
    """The axis counted from the front."""
    if not -rank <= axis < rank:
        raise InvalidNode(node, f"axis {axis} is outside rank {rank}")
    return axis % rank


def broadcast(node: NodeView, first: Shape, second: Shape) -> Shape:
    """Shape of two tensors under multidirectional (NumPy) broadcasting."""
    rank = max(len(first), len(second))
    left = (1,) * (rank - len(first)) + first
    right = (1,) * (rank - len(second)) + second
    for a, b in zip(left, right, strict=True):
        if a != b and 1 not in (a, b):
            raise InvalidNode(node, f"shapes {first} and {second} do not broadcast")
    return tuple(b if a == 1 else a for a, b in zip(left, right, strict=True))


def quotient(dividend: int, divisor: int) -> int:
    """Whole number of groups; nothing to divide gives 0."""
    return dividend // divisor if divisor else 0


def log2_ceil(count: int) -> int:
    """Least number of halvings that bring `count` down to 1."""
    return max(count - 1, 0).bit_length()
