"""The values of a graph that hang on shapes and small constants alone."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TypeProto, helper
from onnx.reference import ReferenceEvaluator

from app.ingest.constants import checked_values

Array = NDArray[Any]

MOST_ELEMENTS = 4096
"""Arguments of shapes are far smaller; this bounds what is kept."""
MOST_BROADCAST = 2**20
"""Broadcasting makes at most as many elements as the product of its operands' counts."""

# fmt: off
ARITHMETIC = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "Div", "Equal", "Floor", "Gather", "Greater",
    "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg",
    "Not", "Or", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round",
    "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
})
# fmt: on
"""Operators that exporters compute shapes with; none makes more elements than it reads, but for
broadcasting."""


def known_values(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Values of at most ``MOST_ELEMENTS`` elements that can be told from shapes and constants.

    The nodes of ``model`` stand in topological order; ``shapes`` holds what is known of its
    values. A node whose evaluation fails is passed over: it will be reported by what needs it.
    """
    values = {
        tensor.name: checked_values(tensor)
        for tensor in model.graph.initializer
        if prod(tensor.dims) <= MOST_ELEMENTS
    }
    constants = set(values)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        try:
            with np.errstate(all="ignore"):
                results = _evaluate(node, values, shapes, model)
        except Exception:  # noqa: BLE001, S112 - hostile arguments raise whatever numpy does
            continue
        for name, value in results.items():
            if value.size <= MOST_ELEMENTS:
                values[name] = value
    return {name: value for name, value in values.items() if name not in constants}


def _evaluate(
    node: NodeProto,
    values: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    model: ModelProto,
) -> dict[str, Array]:
    if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
        return {node.output[0]: _shape_value(node, shapes[node.input[0]])}
    arguments = [values[name] for name in node.input if name in values]
    if len(arguments) < sum(map(bool, node.input)) or not _is_affordable(node, arguments):
        return {}
    return _run(node, values, model)


def _shape_value(node: NodeProto, shape: tuple[int, ...]) -> Array:
    if node.op_type == "Size":
        return np.array(prod(shape), dtype=np.int64)
    attributes = {item.name: item.i for item in node.attribute}
    part = shape[attributes.get("start", 0) : attributes.get("end", len(shape))]
    return np.array(part, dtype=np.int64)


def _is_affordable(node: NodeProto, arguments: Sequence[Array]) -> bool:
    """Whether the result stays small; generators are asked for its size before they run."""
    if node.op_type == "ConstantOfShape":
        return int(prod(arguments[0].tolist())) <= MOST_ELEMENTS
    if node.op_type == "Expand":
        return int(prod(arguments[1].tolist())) * arguments[0].size <= MOST_ELEMENTS
    if node.op_type == "Range":
        start, limit, step = (float(argument) for argument in arguments)
        return step != 0 and (limit - start) / step <= MOST_ELEMENTS
    combinations = prod(max(1, argument.size) for argument in arguments)
    return node.op_type in ARITHMETIC and (
        node.op_type == "Concat" or combinations <= MOST_BROADCAST
    )


def _run(node: NodeProto, values: Mapping[str, Array], model: ModelProto) -> dict[str, Array]:
    graph = GraphProto(name="node")
    graph.node.append(node)
    feeds = {name: values[name] for name in node.input if name}
    for name, value in feeds.items():
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.input.append(helper.make_tensor_value_info(name, dtype, value.shape))
    names = [name for name in node.output if name]
    graph.output.extend(helper.make_value_info(name, TypeProto()) for name in names)
    single = helper.make_model(graph, opset_imports=model.opset_import)
    results = ReferenceEvaluator(single).run(names, feeds)
    return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}
