"""What makes two files the same model: the graph's content, whatever became of the weights."""

import hashlib
from collections.abc import Sequence
from typing import Any

from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    ValueInfoProto,
)

from app.ingest.captures import bodies
from app.ingest.constants import ARGUMENT_BYTES
from app.ingest.left_out import is_external
from app.ingest.tensors import tensors_of_attribute


def graph_sha256(model: ModelProto) -> str:
    """SHA-256 over versions, nodes, attributes, functions, inputs, outputs, and the names, types
    and shapes of weights, hexadecimal.

    Not over the data of weights, so that it is the same for a file with them, without them, and
    with them in external data; nor over documentation, metadata, and types of inner tensors, which
    tools add and remove.
    """
    digest = hashlib.sha256()
    bare = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    _add(digest, bare.SerializeToString(deterministic=True))
    _add_graph(digest, model.graph)
    _add_count(digest, model.functions)
    for function in model.functions:
        signature = type(function)()
        signature.CopyFrom(function)
        for field in ("node", "attribute_proto", "doc_string", "metadata_props", "value_info"):
            signature.ClearField(field)
        _add(digest, signature.SerializeToString(deterministic=True))
        # The defaults of its attributes, which may be tensors as well.
        _add_node(digest, NodeProto(attribute=function.attribute_proto))
        _add_nodes(digest, function.node)
    return digest.hexdigest()


def _add_graph(digest: "hashlib._Hash", graph: GraphProto) -> None:
    for values in (graph.input, graph.output):
        _add_count(digest, values)
        for value in values:
            bare = ValueInfoProto(name=value.name, type=value.type)
            _add(digest, bare.SerializeToString(deterministic=True))
    _add_count(digest, graph.initializer)
    for tensor in graph.initializer:
        _add_tensor(digest, tensor, has_data=False)
    _add_count(digest, graph.sparse_initializer)
    for sparse in graph.sparse_initializer:
        _add_tensor(digest, sparse.values, has_data=False)
        _add_shape(digest, sparse)
    _add_nodes(digest, graph.node)


def _add_nodes(digest: "hashlib._Hash", nodes: Sequence[NodeProto]) -> None:
    _add_count(digest, nodes)
    for node in nodes:
        _add_node(digest, node)


def _add_node(digest: "hashlib._Hash", node: NodeProto) -> None:
    bare = NodeProto(
        input=node.input,
        output=node.output,
        name=node.name,
        op_type=node.op_type,
        domain=node.domain,
        overload=node.overload,
    )
    _add(digest, bare.SerializeToString(deterministic=True))
    _add_count(digest, node.attribute)
    for attribute in node.attribute:
        _add_attribute(digest, attribute)
    for body in bodies(node):
        _add_graph(digest, body)


def _add_attribute(digest: "hashlib._Hash", attribute: AttributeProto) -> None:
    """All but the graphs in it."""
    scalar = AttributeProto()
    scalar.CopyFrom(attribute)
    for field in (
        *("doc_string", "t", "tensors", "sparse_tensor", "sparse_tensors"),
        *("g", "graphs"),
    ):
        scalar.ClearField(field)
    _add(digest, scalar.SerializeToString(deterministic=True))
    for tensor in tensors_of_attribute(attribute):
        _add_tensor(digest, tensor, has_data=True)
    for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
        _add_shape(digest, sparse)


def _add_tensor(digest: "hashlib._Hash", tensor: TensorProto, has_data: bool) -> None:
    """Small data of attributes are arguments; they count, where stripping leaves them alone."""
    bare = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    _add(digest, bare.SerializeToString(deterministic=True))
    if has_data and not is_external(tensor):
        data = TensorProto()
        data.CopyFrom(tensor)
        for field in (
            *("name", "data_type", "dims", "doc_string", "metadata_props"),
            *("data_location", "external_data"),
        ):
            data.ClearField(field)
        content = data.SerializeToString(deterministic=True)
        if len(content) <= ARGUMENT_BYTES:
            _add(digest, content)


def _add_shape(digest: "hashlib._Hash", sparse: SparseTensorProto) -> None:
    _add(digest, repr(list(sparse.dims)).encode())


def _add_count(digest: "hashlib._Hash", items: Sequence[Any]) -> None:
    _add(digest, len(items).to_bytes(8))


def _add(digest: "hashlib._Hash", content: bytes) -> None:
    """With its length, so that no two sequences of contents are the same bytes."""
    digest.update(len(content).to_bytes(8))
    digest.update(content)
