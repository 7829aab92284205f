"""Every tensor that a model holds, wherever it lies."""

from collections.abc import Iterable, Iterator
from itertools import chain

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto


def tensors_of_model(model: ModelProto) -> Iterator[TensorProto]:
    """Those of the main graph, of all bodies, of all functions and of training; each of a sparse
    one's two."""
    yield from tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
        yield from _of_attributes(function.attribute_proto)
    for training in model.training_info:
        yield from tensors_of_graph(training.initialization)
        yield from tensors_of_graph(training.algorithm)


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
    return _of_attributes(chain.from_iterable(node.attribute for node in nodes))


def _of_attributes(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    """Whatever type an attribute says it has."""
    for attribute in attributes:
        yield from tensors_of_attribute(attribute)
        if attribute.HasField("g"):
            yield from tensors_of_graph(attribute.g)
        yield from chain.from_iterable(map(tensors_of_graph, attribute.graphs))


def _of_sparse(sparse: Iterable[SparseTensorProto]) -> Iterator[TensorProto]:
    for item in sparse:
        yield item.values
        yield item.indices
