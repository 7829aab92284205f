"""Data inside a model: what a Constant node holds, and whether data can be told at all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from app.errors import InvalidModelError
from app.ingest.attributes import attributes_of
from app.ingest.operators import AI_ONNX, domain_of
from app.ingest.reasons import reason

SMALL_BYTES = 1024
"""Shapes, axes, scales and other arguments are far below this; weights mostly above."""

ARGUMENT_BYTES = 64
"""16 numbers of 4 bytes: more than the scales, bounds and limits of any operator."""

ARGUMENT_TYPES = frozenset({TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL})
"""Of these types, arguments of operators may be longer: shapes, paddings, words."""


def checked_values(tensor: TensorProto) -> NDArray[Any]:
    """The values of a tensor. Raises ``InvalidModelError`` where they do not fit its type and
    shape."""
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:
        raise InvalidModelError(
            f"the data of tensor {tensor.name!r} do not fit its type and shape: {reason(error)}"
        ) from error


def is_constant(node: NodeProto) -> bool:
    """Whether a node is ONNX's own Constant."""
    return node.op_type == "Constant" and domain_of(node) == AI_ONNX


def constant_tensor(node: NodeProto) -> TensorProto | None:
    """The tensor of a Constant node, named as its output; None for any other node.

    Raises ``InvalidModelError`` where it has no value, or one of the wrong type.
    """
    if not is_constant(node) or len(node.output) != 1:
        return None
    values = attributes_of(node)
    types = {attribute.name: attribute.type for attribute in node.attribute}
    if len(values) == 1 and "sparse_value" in values:
        return None
    for name, value in values.items():
        if len(values) != 1 or types[name] != _TYPES.get(name):
            break
        tensor = TensorProto()
        if name == "value":
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            return tensor
        dims = [len(value)] if isinstance(value, list) else []
        items = value if isinstance(value, list) else [value]
        return helper.make_tensor(node.output[0], _ELEMENT_TYPES[name], dims, items)
    raise InvalidModelError(
        f"Constant node {node.name!r} (of tensor {node.output[0]!r}) needs exactly one value of "
        "the type that its attribute's name states"
    )


def sparse_constant(node: NodeProto) -> SparseTensorProto | None:
    """The sparse tensor of a Constant node, named as its output; None for any other node."""
    if not is_constant(node) or len(node.output) != 1:
        return None
    for attribute in node.attribute:
        if attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"):
            sparse = SparseTensorProto()
            sparse.CopyFrom(attribute.sparse_tensor)
            sparse.values.name = node.output[0]
            return sparse
    return None


_TYPES = {
    "value": AttributeProto.TENSOR,
    "value_float": AttributeProto.FLOAT,
    "value_floats": AttributeProto.FLOATS,
    "value_int": AttributeProto.INT,
    "value_ints": AttributeProto.INTS,
    "value_string": AttributeProto.STRING,
    "value_strings": AttributeProto.STRINGS,
}
_ELEMENT_TYPES = {
    "value_float": TensorProto.FLOAT,
    "value_floats": TensorProto.FLOAT,
    "value_int": TensorProto.INT64,
    "value_ints": TensorProto.INT64,
    "value_string": TensorProto.STRING,
    "value_strings": TensorProto.STRING,
}
