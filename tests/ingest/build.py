"""Small ONNX models, and how a DAG reads in a test."""

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import (
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
)

from app.core.dag import CostedDag
from app.ingest import IngestedModel, ingest

FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64
BOOL = TensorProto.BOOL

Extent = int | str | None


def value(
    name: str, shape: Sequence[Extent] | None = (4,), dtype: int = TensorProto.FLOAT
) -> ValueInfoProto:
    """A typed graph input or output; an extent is a count, a symbol or None."""
    info: ValueInfoProto = helper.make_tensor_value_info(name, dtype, shape)
    return info


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node; names of inputs and outputs are separated by spaces, ``-`` leaves one out."""

    def names(text: str) -> list[str]:
        return ["" if name == "-" else name for name in text.split()]

    made: NodeProto = helper.make_node(op_type, names(inputs), names(outputs), **attributes)
    return made


def floats(name: str, *shape: int) -> TensorProto:
    """An initializer of ones, 4 bytes each."""
    count = 1
    for extent in shape:
        count *= extent
    tensor: TensorProto = helper.make_tensor(name, FLOAT, shape, [1.0] * count)
    return tensor


def ints(name: str, *values: int) -> TensorProto:
    """A 1-D initializer of 64-bit integers."""
    tensor: TensorProto = helper.make_tensor(name, INT64, [len(values)], values)
    return tensor


def scalar(name: str, number: int) -> TensorProto:
    """A 0-D initializer of one 64-bit integer."""
    tensor: TensorProto = helper.make_tensor(name, INT64, [], [number])
    return tensor


def external(
    name: str, location: str, shape: Sequence[int] = (4,), dtype: int = FLOAT
) -> TensorProto:
    """An initializer whose data are said to lie in another file."""
    tensor = TensorProto(name=name, data_type=dtype, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, text in (("location", location), ("offset", "0")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    return tensor


def graph(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: Sequence[TensorProto] = (),
    infos: Sequence[ValueInfoProto] = (),
) -> GraphProto:
    """A graph, or the body of a node."""
    made: GraphProto = helper.make_graph(nodes, "g", inputs, outputs, weights, value_info=infos)
    return made


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: Sequence[TensorProto] = (),
    infos: Sequence[ValueInfoProto] = (),
    *,
    opset: int = 17,
    ir_version: int = 8,
    domains: Mapping[str, int] | None = None,
    functions: Sequence[FunctionProto] = (),
) -> ModelProto:
    """A model of one graph."""
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(name, version) for name, version in (domains or {}).items()]
    made: ModelProto = helper.make_model(
        graph(nodes, inputs, outputs, weights, infos),
        opset_imports=opsets,
        ir_version=ir_version,
        functions=functions,
    )
    return made


def taken(
    proto: ModelProto, dims: Mapping[str, int] | None = None, model_batch: int | None = None
) -> IngestedModel:
    """What ingest makes of a model."""
    return ingest(proto.SerializeToString(), dims, model_batch)


def dag_of(*args: Any, dims: Mapping[str, int] | None = None, **kwargs: Any) -> CostedDag:
    """The costed DAG of ``model(...)``."""
    return taken(model(*args, **kwargs), dims).dag


def parameters(dag: CostedDag) -> dict[str, tuple[int, list[str]]]:
    """For each parameter its bytes and the names of its users."""
    rows = zip(
        dag.parameter_names,
        dag.parameter_bytes.tolist(),
        dag.parameter_users.to_lists(),
        strict=True,
    )
    return {name: (size, [dag.node_names[i] for i in users]) for name, size, users in rows}


def shapes(dag: CostedDag) -> dict[str, tuple[int, ...] | None]:
    """The shape of each tensor."""
    return dict(zip(dag.tensor_names, dag.tensor_shapes, strict=True))


def readers(dag: CostedDag) -> dict[str, list[str]]:
    """For each tensor the names of its consumers."""
    return {
        name: [dag.node_names[i] for i in users]
        for name, users in zip(dag.tensor_names, dag.tensor_consumers.to_lists(), strict=True)
    }


def function(name: str, *op_types: str) -> FunctionProto:
    """A function of one operand that applies these operators in a row."""
    names = ["X", *(f"t{i}" for i in range(len(op_types) - 1)), "Y"]
    nodes = [
        helper.make_node(op_type, [names[i]], [names[i + 1]], domain=domain)
        for i, (domain, op_type) in enumerate(item.rpartition(".")[::2] for item in op_types)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("there", 1)]
    made: FunctionProto = helper.make_function("there", name, ["X"], ["Y"], nodes, opsets)
    return made
