"""Weights leave the model before anything else looks at it.

Only their names, types and shapes are needed. What is small stays with its values, because shapes
may depend on it; what is large, or lies in external data, becomes a graph input of the same type,
so that the checker and shape inference see a valid model and nothing outside the upload is opened.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from app.errors import InvalidModelError
from app.ingest.element_types import ELEMENT_TYPES

SMALL_BYTES = 1024
"""Shapes, axes, scales and other arguments are far below this; weights mostly above."""


@dataclass(frozen=True, slots=True)
class Weight:
    """Data that the model carries: type by ``TensorProto.DataType``, size in bytes."""

    dtype: int
    shape: tuple[int, ...]
    nbytes: int


def strip_weights(model: ModelProto) -> dict[str, Weight]:
    """Take the weights of the main graph out of a model, in place; what was there, by name.

    Constant nodes count as weights, whatever they hold. Raises ``InvalidModelError`` for a weight
    without a valid type or shape.
    """
    graph = model.graph
    _constants_to_initializers(graph)
    weights: dict[str, Weight] = {}
    kept: list[TensorProto] = []
    inputs = {value.name for value in graph.input}
    for tensor in graph.initializer:
        weight = _weight_of(tensor)
        weights[tensor.name] = weight
        if tensor.data_location != TensorProto.EXTERNAL and weight.nbytes <= SMALL_BYTES:
            kept.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, weight.shape)
            )
    for sparse in graph.sparse_initializer:
        values = _weight_of(sparse.values)
        indices = _weight_of(sparse.indices)
        name = sparse.values.name
        weights[name] = Weight(values.dtype, tuple(sparse.dims), values.nbytes + indices.nbytes)
        if name not in inputs:
            graph.input.append(helper.make_tensor_value_info(name, values.dtype, sparse.dims))
    del graph.initializer[:]
    del graph.sparse_initializer[:]
    graph.initializer.extend(kept)
    return weights


def _weight_of(tensor: TensorProto) -> Weight:
    element_type = ELEMENT_TYPES.get(tensor.data_type)
    if element_type is None or any(extent < 0 for extent in tensor.dims):
        raise InvalidModelError(f"initializer {tensor.name!r} has no valid element type and shape")
    elements = 1
    for extent in tensor.dims:
        elements *= extent
    if tensor.data_type == TensorProto.STRING:
        nbytes = sum(map(len, tensor.string_data))
    else:
        nbytes = element_type.nbytes(elements)
    return Weight(tensor.data_type, tuple(tensor.dims), nbytes)


def _constants_to_initializers(graph: GraphProto) -> None:
    others: list[NodeProto] = []
    for node in graph.node:
        constants = list(_constant_tensors(node))
        graph.initializer.extend(constants)
        if not constants:
            others.append(node)
    if len(others) < len(graph.node):
        del graph.node[:]
        graph.node.extend(others)


def _constant_tensors(node: NodeProto) -> Iterator[TensorProto]:
    """The tensor of a Constant node, named as its output; nothing for any other node."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
        return
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
        elif attribute.name in _CONSTANT_ATTRIBUTES:
            dims = [] if not isinstance(value, list) else [len(value)]
            items = value if isinstance(value, list) else [value]
            code = _CONSTANT_ATTRIBUTES[attribute.name]
            tensor = helper.make_tensor(node.output[0], code, dims, items)
        else:
            continue
        yield tensor
        return


_CONSTANT_ATTRIBUTES = {
    "value_float": TensorProto.FLOAT,
    "value_floats": TensorProto.FLOAT,
    "value_int": TensorProto.INT64,
    "value_ints": TensorProto.INT64,
    "value_string": TensorProto.STRING,
    "value_strings": TensorProto.STRING,
}
