"""Weights leave the model before anything else looks at it.

Only their names, types and shapes are needed. What is small stays with its values, because shapes
may depend on it; what is large, or lies in external data, becomes a graph input of the same type,
so that the checker and shape inference see a valid model and nothing outside the upload is opened.
The weights of bodies (of If, Loop and Scan) are hoisted into the main graph first.
"""

from dataclasses import dataclass

from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    ValueInfoProto,
    helper,
)

from app.errors import InvalidModelError
from app.ingest.constants import SMALL_BYTES, checked_values, constant_tensor, is_external
from app.ingest.element_types import ELEMENT_TYPES
from app.ingest.hoisting import hoist_body_weights


@dataclass(frozen=True, slots=True)
class Weight:
    """Data that the model carries: type by ``TensorProto.DataType``, size in bytes."""

    dtype: int
    shape: tuple[int, ...]
    nbytes: int


def strip_weights(model: ModelProto) -> dict[str, Weight]:
    """Take the weights out of a model, in place; what was there, by name.

    Constant nodes count as weights, whatever they hold. Raises ``InvalidModelError`` for a weight
    without a valid type or shape.
    """
    graph = model.graph
    hoist_body_weights(graph)
    _constants_to_initializers(graph)
    weights: dict[str, Weight] = {}
    kept: list[TensorProto] = []
    stripped: list[ValueInfoProto] = []
    for tensor in graph.initializer:
        weight = _weight_of(tensor)
        weights[tensor.name] = weight
        if not is_external(tensor) and weight.nbytes <= SMALL_BYTES:
            checked_values(tensor)
            kept.append(tensor)
        else:
            stripped.append(helper.make_tensor_value_info(tensor.name, weight.dtype, weight.shape))
    for sparse in graph.sparse_initializer:
        name = sparse.values.name
        weights[name] = weight = _sparse_weight_of(sparse)
        stripped.append(helper.make_tensor_value_info(name, weight.dtype, weight.shape))
    # Old files list weights among the inputs, at times with another type than their own.
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend([*inputs, *stripped])
    del graph.initializer[:]
    del graph.sparse_initializer[:]
    graph.initializer.extend(kept)
    return weights


def _sparse_weight_of(sparse: SparseTensorProto) -> Weight:
    values, indices = _weight_of(sparse.values), _weight_of(sparse.indices)
    if any(extent < 0 for extent in sparse.dims):
        raise InvalidModelError(f"initializer {sparse.values.name!r} has no valid shape")
    return Weight(values.dtype, tuple(sparse.dims), values.nbytes + indices.nbytes)


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
        tensor = constant_tensor(node)
        if tensor is None:
            others.append(node)
        else:
            graph.initializer.append(tensor)
    if len(others) < len(graph.node):
        del graph.node[:]
        graph.node.extend(others)
