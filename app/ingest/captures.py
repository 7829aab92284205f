"""Names that a node reads, those that only the graphs in its attributes read included."""

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, NodeProto


def used_names(node: NodeProto) -> list[str]:
    """Distinct names of outer tensors that a node reads, in the order of first use.

    A body sees the names of the graphs around it, unless it defines the name itself: its own
    inputs, initializers and node outputs shadow them.
    """
    names = [name for name in node.input if name]
    for body in bodies(node):
        names.extend(captured_names(body))
    return list(dict.fromkeys(names))


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node carries as attributes (If, Loop, Scan and the like)."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def with_inner(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and those of all bodies in them."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from with_inner(body.node)


def definitions(graph: GraphProto) -> Iterator[str]:
    """Names that a graph itself defines, each time that it does: inputs, initializers, and what
    its nodes make."""
    yield from _own_names(graph)
    for node in graph.node:
        yield from node.output


def captured_names(graph: GraphProto) -> list[str]:
    """Names of outer tensors that a body reads, in the order of use, at times more than once.

    Its nodes stand in topological order.
    """
    own = set(_own_names(graph))
    captured: list[str] = []
    for node in graph.node:
        captured.extend(name for name in used_names(node) if name not in own)
        own.update(node.output)
    captured.extend(value.name for value in graph.output if value.name not in own)
    return captured


def _own_names(graph: GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
