"""Weights leave the model before anything else looks at it.

Only their names, types and shapes are needed. What is small stays with its values, because shapes
may depend on it; what is large, or lies in external data, becomes a graph input of the same type,
so that the checker and shape inference see a valid model and nothing outside the upload is opened.
The weights of bodies (of If, Loop and Scan) are hoisted into the main graph first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    ValueInfoProto,
    helper,
)

from app.errors import BadBindingError, InvalidModelError
from app.ingest.constants import (
    SMALL_BYTES,
    checked_values,
    constant_tensor,
    sparse_constant,
)
from app.ingest.element_types import ELEMENT_TYPES
from app.ingest.hoisting import hoist_body_weights
from app.ingest.left_out import is_external, left_out_bytes
from app.ingest.notes import listed
from app.ingest.value_types import value_type_of


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
    constants_to_initializers(graph)
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


def adopt_parameters(
    model: ModelProto, inputs: Sequence[str], weights: Mapping[str, Weight], names: Sequence[str]
) -> dict[str, Weight]:
    """The weights that graph inputs are by the word of whoever uploads the model.

    ``inputs``: names of the graph inputs that are none by themselves, their dimensions bound.
    Raises ``BadBindingError`` for a name that is no graph input, or has no size.
    """
    types = {value.name: value_type_of(value.type) for value in model.graph.input}
    adopted = {}
    for position, name in enumerate(names):
        loc = ("parameters", position)
        if name in weights:
            continue
        if name not in inputs:
            raise BadBindingError(
                f"parameters names {name!r}, which is no input of the model; its inputs are "
                f"{listed(inputs)}",
                loc=loc,
            )
        known = types[name]
        if known.nbytes is None or known.shape is None:
            raise BadBindingError(
                f"parameters names {name!r}, whose size is not known; a parameter has a type and "
                "a shape",
                loc=loc,
            )
        adopted[name] = Weight(known.dtype, known.shape, known.nbytes)
    return adopted


def _sparse_weight_of(sparse: SparseTensorProto) -> Weight:
    values, indices = _weight_of(sparse.values), _weight_of(sparse.indices)
    if any(extent < 0 for extent in sparse.dims):
        raise InvalidModelError(f"initializer {sparse.values.name!r} has no valid shape")
    return Weight(values.dtype, tuple(sparse.dims), values.nbytes + indices.nbytes)


def _weight_of(tensor: TensorProto) -> Weight:
    return Weight(tensor.data_type, tuple(tensor.dims), nbytes_of(tensor))


def nbytes_of(tensor: TensorProto) -> int:
    """Bytes of a tensor's data: by type and shape, wherever they lie; of strings, as stored.

    Raises ``InvalidModelError`` for one without a valid type or shape, and where the data that
    were left out while reading have another size.
    """
    element_type = ELEMENT_TYPES.get(tensor.data_type)
    if element_type is None or any(extent < 0 for extent in tensor.dims):
        raise InvalidModelError(f"tensor {tensor.name!r} has no valid element type and shape")
    left_out = left_out_bytes(tensor)
    if tensor.data_type == TensorProto.STRING:
        return left_out or sum(map(len, tensor.string_data))
    nbytes = element_type.nbytes(prod(tensor.dims))
    if left_out is not None and left_out != nbytes:
        raise InvalidModelError(
            f"the data of tensor {tensor.name!r} are {left_out} bytes; its type and shape "
            f"{list(tensor.dims)} take {nbytes}"
        )
    return nbytes


def constants_to_initializers(graph: GraphProto) -> None:
    """Turn the Constant nodes of a graph into initializers, in place."""
    others: list[NodeProto] = []
    for node in graph.node:
        tensor = constant_tensor(node)
        sparse = sparse_constant(node)
        if tensor is not None:
            graph.initializer.append(tensor)
        elif sparse is not None:
            graph.sparse_initializer.append(sparse)
        else:
            others.append(node)
    if len(others) < len(graph.node):
        del graph.node[:]
        graph.node.extend(others)
