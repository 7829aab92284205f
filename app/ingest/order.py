"""Nodes in topological order, in the main graph and in all bodies."""

import heapq
from collections.abc import Sequence

from onnx import GraphProto, NodeProto

from app.errors import InvalidModelError
from app.ingest.captures import bodies, definitions, used_names


def sort_nodes(graph: GraphProto, outer: frozenset[str] = frozenset()) -> None:
    """Put the nodes of a graph, and of the bodies in it, into topological order, in place.

    Stable: among the nodes that are ready, the first of the file goes first, so a file that is in
    order stays as it is. ``outer``: names that the graphs around define. A body that reads such a
    name before it makes one of its own means the outer one, and goes on doing so.

    Raises ``InvalidModelError`` where a graph has a cycle, or a tensor has two producers.
    """
    nodes = list(graph.node)
    visible = outer.union(definitions(graph))
    for node in nodes:
        for body in bodies(node):
            sort_nodes(body, visible)
    order = _order(nodes, _waits_for(nodes, outer))
    if order != list(range(len(nodes))):
        del graph.node[:]
        graph.node.extend(nodes[index] for index in order)


def _waits_for(nodes: Sequence[NodeProto], outer: frozenset[str]) -> list[set[int]]:
    producers = _producers(nodes)
    waits_for: list[set[int]] = [set() for _ in nodes]
    for index, node in enumerate(nodes):
        for name in used_names(node):
            producer = producers.get(name)
            if producer is None:
                continue
            if producer > index and name in outer:
                waits_for[producer].add(index)
            else:
                waits_for[index].add(producer)
    return waits_for


def _order(nodes: Sequence[NodeProto], waits_for: Sequence[set[int]]) -> list[int]:
    readers: list[list[int]] = [[] for _ in nodes]
    for index, needs in enumerate(waits_for):
        for need in needs:
            readers[need].append(index)
    missing = [len(needs) for needs in waits_for]
    ready = [index for index, count in enumerate(missing) if count == 0]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            missing[reader] -= 1
            if missing[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        stuck = next(nodes[index] for index, count in enumerate(missing) if count)
        raise InvalidModelError(
            f"the graph has a cycle through or before node {stuck.name!r} ({stuck.op_type}); an "
            "ONNX graph has none"
        )
    return order


def _producers(nodes: Sequence[NodeProto]) -> dict[str, int]:
    producers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if name and producers.setdefault(name, index) != index:
                raise InvalidModelError(
                    f"tensor {name!r} is made by two nodes; each tensor has one producer"
                )
    return producers
