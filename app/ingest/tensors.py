"""Every tensor that a model holds, wherever it lies."""

from collections.abc import Iterable, Iterator
from itertools import chain

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from app.ingest.captures import bodies


def tensors_of_model(model: ModelProto) -> Iterator[TensorProto]:
    """Those of the main graph, of all bodies and of all functions; each of a sparse one's two."""
    yield from tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
        yield from chain.from_iterable(map(tensors_of_attribute, function.attribute_proto))


def tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    """Those of a graph, bodies included."""
    yield from graph.initializer
    yield from _of_sparse(graph.sparse_initializer)
    yield from _of_nodes(graph.node)


def tensors_of_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    """Those that are an attribute's value; what lies in its graphs is not among them."""
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    if attribute.HasField("sparse_tensor"):
        yield from _of_sparse([attribute.sparse_tensor])
    yield from _of_sparse(attribute.sparse_tensors)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        yield from chain.from_iterable(map(tensors_of_attribute, node.attribute))
        yield from chain.from_iterable(map(tensors_of_graph, bodies(node)))


def _of_sparse(sparse: Iterable[SparseTensorProto]) -> Iterator[TensorProto]:
    for item in sparse:
        yield item.values
        yield item.indices
