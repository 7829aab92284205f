"""What an ONNX file says, read without ``app.ingest``: its live nodes and edges, its data, what
onnxruntime makes of it."""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import onnx
import onnxruntime
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

NARROW_BITS = {"INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4}
"""Element types of less than a byte."""
ARGUMENT_BYTES = 1024
"""Attributes of a node of no more than this are arguments, larger ones data of the model."""


def bits_of(dtype: int) -> int:
    """The width of one element, as it is stored."""
    name = TensorProto.DataType.Name(dtype)
    return NARROW_BITS.get(name, 8 * int(helper.tensor_dtype_to_np_dtype(dtype).itemsize))


def bytes_of(dtype: int, shape: Sequence[int]) -> int:
    """Bytes of a tensor, packed."""
    return -(-prod(shape) * bits_of(dtype) // 8)


def bodies_of(node: NodeProto) -> list[GraphProto]:
    """The graphs that a node carries."""
    return [
        body
        for attribute in node.attribute
        for body in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
    ]


def reads(node: NodeProto) -> set[str]:
    """Names that a node reads: its inputs, and what its bodies take from outside."""
    names = {name for name in node.input if name}
    for body in bodies_of(node):
        own = {value.name for value in body.input}
        own |= {tensor.name for tensor in body.initializer}
        own |= {sparse.values.name for sparse in body.sparse_initializer}
        own |= {name for inner in body.node for name in inner.output}
        inside = {value.name for value in body.output}
        inside = inside.union(*map(reads, body.node))
        names |= inside - own
    return names


class LiveGraph:
    """The nodes of a file that depend on a graph input and that a graph output depends on.

    ``nodes``: in the order of the file. ``makers``: from what they make to the place in ``nodes``.
    ``inputs``, ``outputs``: graph inputs that are no weights; graph outputs that hang on one.
    """

    def __init__(self, model: ModelProto, parameters: Sequence[str] = ()) -> None:
        graph = model.graph
        weights = {tensor.name for tensor in graph.initializer}
        weights |= {sparse.values.name for sparse in graph.sparse_initializer} | set(parameters)
        self.inputs = [value.name for value in graph.input if value.name not in weights]
        uses: nx.DiGraph[object] = nx.DiGraph()
        uses.add_nodes_from([*self.inputs, *(value.name for value in graph.output)])
        for index, node in enumerate(graph.node):
            uses.add_node(index)
            uses.add_edges_from((name, index) for name in reads(node))
            uses.add_edges_from((index, name) for name in node.output if name)
        fed = set(self.inputs).union(*(nx.descendants(uses, name) for name in self.inputs))
        self.outputs = [value.name for value in graph.output if value.name in fed]
        wanted: set[object] = set(self.outputs)
        wanted = wanted.union(*(nx.ancestors(uses, name) for name in self.outputs))
        live = [i for i in range(len(graph.node)) if i in fed and i in wanted]
        self.nodes = [graph.node[i] for i in live]
        self.makers = {
            name: place for place, i in enumerate(live) for name in graph.node[i].output if name
        }
        self._readers: dict[str, set[int]] = {}
        for place, node in enumerate(self.nodes):
            for name in reads(node):
                self._readers.setdefault(name, set()).add(place)

    def consumers(self, name: str) -> set[int]:
        """Places of the live nodes that read a tensor."""
        return self._readers.get(name, set())

    def tensors(self) -> set[str]:
        """Graph inputs, and what a live node makes for another or for an output of the graph."""
        wanted = self._readers.keys() | set(self.outputs)
        return set(self.inputs) | (wanted & self.makers.keys())


def count_data_bytes(model: ModelProto, parameters: Sequence[str] = ()) -> int:
    """Bytes of all data of a file that a live node needs: initializers, Constant nodes, those of
    bodies, attributes beyond the size of an argument, and inputs that are said to be parameters."""
    graph = model.graph
    live = LiveGraph(model, parameters)
    uses: nx.DiGraph[str] = nx.DiGraph()
    shapes: dict[str, list[int]] = {}
    for node in graph.node:
        uses.add_edges_from((name, output) for name in reads(node) for output in node.output)
        if node.op_type == "Constant" and node.attribute[0].t.data_type == TensorProto.INT64:
            shapes[node.output[0]] = numpy_helper.to_array(node.attribute[0].t).reshape(-1).tolist()
    data = {tensor.name: bytes_of(tensor.data_type, tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            data[node.output[0]] = _constant_bytes(node)
        elif node.op_type == "ConstantOfShape" and node.input[0] in shapes:
            # What it makes is the data, not the shape that it is made of.
            uses.remove_edge(node.input[0], node.output[0])
            dtype = node.attribute[0].t.data_type if node.attribute else TensorProto.FLOAT
            data[node.output[0]] = bytes_of(dtype, shapes[node.input[0]])
    needed = set().union(*map(reads, live.nodes))
    for name in list(needed):
        needed |= nx.ancestors(uses, name) if name in uses else set()
    for value in graph.input:
        if value.name in parameters:
            tensor_type = value.type.tensor_type
            shape = [dim.dim_value for dim in tensor_type.shape.dim]
            data[value.name] = bytes_of(tensor_type.elem_type, shape)
    own = sum(map(_carried_bytes, live.nodes))
    return own + sum(nbytes for name, nbytes in data.items() if name in needed)


def _constant_bytes(node: NodeProto) -> int:
    (attribute,) = node.attribute
    if attribute.name == "value":
        return bytes_of(attribute.t.data_type, attribute.t.dims)
    return 8 * ("int" in attribute.name) or 4


def _carried_bytes(node: NodeProto) -> int:
    total = 0
    for attribute in node.attribute:
        total += 4 * len(attribute.floats) + 8 * len(attribute.ints)
        total += len(attribute.s) + sum(map(len, attribute.strings))
        if attribute.type == AttributeProto.TENSOR:
            total += bytes_of(attribute.t.data_type, attribute.t.dims)
    total = total if total > ARGUMENT_BYTES else 0
    for body in bodies_of(node):
        total += sum(bytes_of(tensor.data_type, tensor.dims) for tensor in body.initializer)
        for inner in body.node:
            is_constant = inner.op_type == "Constant"
            total += _constant_bytes(inner) if is_constant else _carried_bytes(inner)
    return total


def run(path: Path, dims: dict[str, int]) -> dict[str, Any]:
    """Every value of a file's main graph, by name, as onnxruntime makes it of made-up inputs.

    ``dims``: extents by symbol, or by ``input:axis``.
    """
    onnxruntime.set_default_logger_severity(3)
    model = onnx.load(path)
    known = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name not in {"", *known}]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {
        item.name: _sample(item.type, list(_extents(item, dims))) for item in session.get_inputs()
    }
    made = session.run(None, feeds)
    return feeds | dict(zip([item.name for item in session.get_outputs()], made, strict=True))


def _extents(item: onnxruntime.NodeArg, dims: dict[str, int]) -> Iterator[int]:
    for axis, extent in enumerate(item.shape):
        named = extent if isinstance(extent, int) else dims.get(str(extent))
        yield dims[f"{item.name}:{axis}"] if named is None else named


def _sample(kind: str, shape: list[int]) -> Any:
    """Ones, of which every fixture can make something; strings that are in every vocabulary."""
    if kind == "tensor(string)":
        return np.broadcast_to(np.array(["red", "small"], dtype=object)[: shape[-1]], shape).copy()
    types = {"float": np.float32, "float16": np.float16, "int64": np.int64, "bool": np.bool_}
    return np.ones(shape, dtype=types[kind.removeprefix("tensor(").removesuffix(")")])
