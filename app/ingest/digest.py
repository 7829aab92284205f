"""What makes two files the same model: the graph's content, whatever became of the weights."""

import hashlib

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

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
    for function in model.functions:
        signature = type(function)()
        signature.CopyFrom(function)
        for field in ("node", "doc_string", "metadata_props", "value_info"):
            signature.ClearField(field)
        _add(digest, signature.SerializeToString(deterministic=True))
        for node in function.node:
            _add_node(digest, node)
    return digest.hexdigest()


def _add_graph(digest: "hashlib._Hash", graph: GraphProto) -> None:
    for values in (graph.input, graph.output):
        _add(digest, len(values).to_bytes(8))
        for value in values:
            bare = ValueInfoProto(name=value.name, type=value.type)
            _add(digest, bare.SerializeToString(deterministic=True))
    for tensor in graph.initializer:
        _add_tensor(digest, tensor, has_data=False)
    for sparse in graph.sparse_initializer:
        _add_tensor(digest, sparse.values, has_data=False)
        _add(digest, repr(list(sparse.dims)).encode())
    _add(digest, len(graph.node).to_bytes(8))
    for node in graph.node:
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
    for attribute in node.attribute:
        scalar = type(attribute)()
        scalar.CopyFrom(attribute)
        for field in (
            *("doc_string", "t", "tensors", "sparse_tensor", "sparse_tensors"),
            *("g", "graphs"),
        ):
            scalar.ClearField(field)
        _add(digest, scalar.SerializeToString(deterministic=True))
        for tensor in tensors_of_attribute(attribute):
            _add_tensor(digest, tensor, has_data=True)
    for body in bodies(node):
        _add_graph(digest, body)


def _add_tensor(digest: "hashlib._Hash", tensor: TensorProto, has_data: bool) -> None:
    """Small data of attributes are arguments; they count, where stripping leaves them alone."""
    bare = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    _add(digest, bare.SerializeToString(deterministic=True))
    if has_data and not is_external(tensor):
        data = TensorProto()
        data.CopyFrom(tensor)
        for field in ("name", "data_type", "dims", "doc_string", "metadata_props"):
            data.ClearField(field)
        content = data.SerializeToString(deterministic=True)
        if len(content) <= ARGUMENT_BYTES:
            _add(digest, content)


def _add(digest: "hashlib._Hash", content: bytes) -> None:
    """With its length, so that no two sequences of contents are the same bytes."""
    digest.update(len(content).to_bytes(8))
    digest.update(content)
