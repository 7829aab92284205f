"""Values that hang on shapes and small constants alone, node by node."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, OperatorSetIdProto, TypeProto, helper
from onnx.reference import ReferenceEvaluator

from app.ingest.operators import AI_ONNX, domain_of

Array = NDArray[Any]
Shape = tuple[int, ...]

MOST_ELEMENTS = 4096
"""Arguments of shapes are far smaller; this bounds what is kept."""
MOST_BROADCAST = 2**20
"""Broadcasting makes at most as many elements as the product of its operands' counts."""

# fmt: off
ARITHMETIC = frozenset({
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Concat", "CumSum", "Div", "Equal",
    "Floor", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity",
    "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Pow",
    "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round",
    "ScatterElements", "ScatterND", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
    "TopK", "Transpose", "Unsqueeze", "Where", "Xor",
})
# fmt: on
"""Operators that exporters compute shapes with; none makes more elements than it reads, but for
broadcasting, and NonZero by the rank."""


def evaluated(
    node: NodeProto,
    values: Mapping[str, Array],
    shapes: Mapping[str, Shape],
    opsets: Sequence[OperatorSetIdProto],
) -> dict[str, Array]:
    """The values that a node makes, where they can be told from known values and shapes.

    ``shapes``: of the node's inputs, as far as known. Nothing for a node whose evaluation fails:
    it will be reported by what needs it. At most ``MOST_ELEMENTS`` elements each.
    """
    if domain_of(node) != AI_ONNX:
        return {}
    try:
        with np.errstate(all="ignore"):
            results = _evaluated(node, values, shapes, opsets)
    except Exception:  # noqa: BLE001 - hostile arguments raise whatever numpy does
        return {}
    return {name: value for name, value in results.items() if value.size <= MOST_ELEMENTS}


def _evaluated(
    node: NodeProto,
    values: Mapping[str, Array],
    shapes: Mapping[str, Shape],
    opsets: Sequence[OperatorSetIdProto],
) -> dict[str, Array]:
    if node.op_type in ("Shape", "Size"):
        if node.input[0] not in shapes:
            return {}
        return {node.output[0]: _shape_value(node, shapes[node.input[0]])}
    arguments = [values[name] for name in node.input if name in values]
    if len(arguments) < sum(map(bool, node.input)) or not _is_affordable(node, arguments):
        return {}
    return _run(node, values, opsets)


def _shape_value(node: NodeProto, shape: Shape) -> Array:
    if node.op_type == "Size":
        return np.array(prod(shape), dtype=np.int64)
    attributes = {item.name: item.i for item in node.attribute}
    part = shape[attributes.get("start", 0) : attributes.get("end", len(shape))]
    return np.array(part, dtype=np.int64)


def _is_affordable(node: NodeProto, arguments: Sequence[Array]) -> bool:
    """Whether the result stays small; generators are asked for its size before they run."""
    if not arguments:
        return False
    if node.op_type == "ConstantOfShape":
        return int(prod(arguments[0].tolist())) <= MOST_ELEMENTS
    if node.op_type in ("Expand", "Tile"):
        return int(prod(arguments[1].tolist())) * arguments[0].size <= MOST_ELEMENTS
    if node.op_type == "Range":
        start, limit, step = (float(argument) for argument in arguments)
        return step != 0 and (limit - start) / step <= MOST_ELEMENTS
    combinations = prod(max(1, argument.size) for argument in arguments)
    return node.op_type in ARITHMETIC and (
        node.op_type == "Concat" or combinations <= MOST_BROADCAST
    )


def _run(
    node: NodeProto, values: Mapping[str, Array], opsets: Sequence[OperatorSetIdProto]
) -> dict[str, Array]:
    graph = GraphProto(name="node")
    graph.node.append(node)
    feeds = {name: values[name] for name in node.input if name}
    for name, value in feeds.items():
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.input.append(helper.make_tensor_value_info(name, dtype, value.shape))
    names = [name for name in node.output if name]
    graph.output.extend(helper.make_value_info(name, TypeProto()) for name in names)
    single = helper.make_model(graph, opset_imports=opsets)
    results = ReferenceEvaluator(single).run(names, feeds)
    return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}
