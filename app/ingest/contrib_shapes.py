"""Types of what operators make that onnx does not define: fused and quantised ones of ONNX Runtime.

Two ways. Many of them are an operator of ai.onnx with more arguments around it (a *twin*): then
onnx's own inference of the twin answers. For the others ONNX Runtime's symbolic shape inference is
asked, about the one node.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TypeProto,
    helper,
    numpy_helper,
)

from app.ingest.operators import AI_ONNX, domain_of
from app.ingest.shape_arithmetic import Array
from app.ingest.value_types import merged, tensor_type, value_type_of

MICROSOFT = frozenset({"com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc", AI_ONNX})
"""Domains of ONNX Runtime's operators; some of its fused ones bear no domain at all."""

Types = Mapping[str, TypeProto]
Derive = Callable[[NodeProto, Types], dict[str, TypeProto]]


@dataclass(frozen=True, slots=True)
class Twin:
    """The operator of ai.onnx that makes the same shape.

    ``inputs``: positions of the twin's inputs among the operator's; ``every``: instead, every so
    many-th input from the first of them on. ``element``: position of the input that has the
    element type of the result; its own where None.
    """

    op_type: str
    inputs: tuple[int, ...]
    attributes: frozenset[str] = frozenset()
    every: int = 0
    element: int | None = None


_POOLING = frozenset(
    {"kernel_shape", "strides", "pads", "auto_pad", "dilations", "ceil_mode", "count_include_pad"}
)
_CONVOLUTION = frozenset({"kernel_shape", "strides", "pads", "auto_pad", "dilations", "group"})
_GEMM = frozenset({"transA", "transB"})

TWINS = {
    "ConvTransposeWithDynamicPads": Twin("ConvTranspose", (0, 1), _CONVOLUTION),
    "DynamicQuantizeMatMul": Twin("MatMul", (0, 1), element=0),
    "FusedConv": Twin("Conv", (0, 1), _CONVOLUTION),
    "FusedGemm": Twin("Gemm", (0, 1), _GEMM),
    "MatMulIntegerToFloat": Twin("MatMul", (0, 1), element=2),
    "QGemm": Twin("Gemm", (0, 3), _GEMM, element=0),
    "QLinearAveragePool": Twin("AveragePool", (0,), _POOLING),
    "QLinearConcat": Twin("Concat", (2,), frozenset({"axis"}), every=3),
    "QLinearGlobalAveragePool": Twin("GlobalAveragePool", (0,)),
    "QLinearLeakyRelu": Twin("Identity", (0,)),
    "QLinearSigmoid": Twin("Identity", (0,)),
    "QLinearSoftmax": Twin("Identity", (0,)),
    "QLinearWhere": Twin("Where", (0, 1, 4)),
}
"""After the operators' definitions in ONNX Runtime's ContribOperators.md."""


def contrib_types(
    node: NodeProto,
    types: Types,
    values: Mapping[str, Array],
    opsets: Sequence[OperatorSetIdProto],
    by_onnx: Derive,
) -> dict[str, TypeProto]:
    """Types of a node's outputs, as far as they can be told; nothing for foreign domains.

    ``by_onnx``: onnx's inference for one node.
    """
    if domain_of(node) not in MICROSOFT:
        return {}
    if node.op_type == "FusedMatMul":
        return _fused_matmul(node, types, by_onnx)
    twin = TWINS.get(node.op_type)
    return _as_twin(node, twin, types, by_onnx) if twin else _symbolic(node, types, values, opsets)


def _as_twin(node: NodeProto, twin: Twin, types: Types, by_onnx: Derive) -> dict[str, TypeProto]:
    positions = (
        tuple(range(twin.inputs[0], len(node.input), twin.every)) if twin.every else twin.inputs
    )
    if any(position >= len(node.input) for position in positions):
        return {}
    stand_in = helper.make_node(
        twin.op_type, [node.input[position] for position in positions], [node.output[0]]
    )
    stand_in.attribute.extend(item for item in node.attribute if item.name in twin.attributes)
    named = {f"in{i}": types[name] for i, name in enumerate(stand_in.input) if name in types}
    if len(named) < len(positions):
        return {}
    # The twin takes floats where the operator takes integers.
    floats = {name: _with_element(proto, 1) for name, proto in named.items()}
    if twin.op_type == "Where":
        floats["in0"] = named["in0"]
    for i in range(len(stand_in.input)):
        stand_in.input[i] = f"in{i}"
    found = by_onnx(stand_in, floats)
    element = positions[-1] if twin.element is None else twin.element
    like = value_type_of(types.get(node.input[element])) if element < len(node.input) else None
    if node.output[0] not in found or like is None:
        return {}
    return {node.output[0]: _with_element(found[node.output[0]], like.dtype)}


def _with_element(proto: TypeProto, dtype: int) -> TypeProto:
    copy = TypeProto()
    copy.CopyFrom(proto)
    copy.tensor_type.elem_type = dtype
    return copy


def _fused_matmul(node: NodeProto, types: Types, by_onnx: Derive) -> dict[str, TypeProto]:
    flags = {item.name: item.i for item in node.attribute}
    if flags.get("transBatchA") or flags.get("transBatchB") or len(node.input) != 2:
        return {}
    sides: dict[str, TypeProto] = {}
    for name, flag in (("a", "transA"), ("b", "transB")):
        known = value_type_of(types.get(node.input[len(sides)]))
        if known.shape is None:
            return {}
        shape = known.shape
        if flags.get(flag) and len(shape) > 1:
            shape = (*shape[:-2], shape[-1], shape[-2])
        sides[name] = tensor_type(known.dtype, shape)
    return by_onnx(helper.make_node("MatMul", list(sides), [node.output[0]]), sides)


def _symbolic(
    node: NodeProto,
    types: Types,
    values: Mapping[str, Array],
    opsets: Sequence[OperatorSetIdProto],
) -> dict[str, TypeProto]:
    # Imported here, as sympy takes half a second and few models come to this.
    from onnxruntime.tools import symbolic_shape_infer as runtime

    logging.getLogger(runtime.__name__).disabled = True
    inference = runtime.SymbolicShapeInference(
        int_max=2**31 - 1, auto_merge=False, guess_output_rank=False, verbose=0
    )
    try:
        inference._preprocess(_single(node, types, values, opsets))
        while inference.run_:
            inference._infer_impl()
    except Exception:  # noqa: BLE001, S110 - it asserts and raises whatever it meets
        pass
    found = {}
    for name in filter(None, node.output):
        info = getattr(inference, "known_vi_", {}).get(name)
        known = merged(info.type if info is not None else None, types.get(name))
        if known is not None:
            found[name] = known
    return found


def _single(
    node: NodeProto,
    types: Types,
    values: Mapping[str, Array],
    opsets: Sequence[OperatorSetIdProto],
) -> ModelProto:
    """A model of one node, whose inputs have the types and values that are known of them."""
    graph = GraphProto(name="node")
    graph.node.append(node)
    for name in dict.fromkeys(filter(None, node.input)):
        if name in values:
            graph.initializer.append(numpy_helper.from_array(values[name], name))
        else:
            graph.input.append(helper.make_value_info(name, types.get(name, TypeProto())))
    graph.output.extend(
        helper.make_value_info(name, TypeProto()) for name in filter(None, node.output)
    )
    model: ModelProto = helper.make_model(graph, opset_imports=opsets)
    return model
