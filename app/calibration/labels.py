"""Names by which a node of the model is found again in whatever ONNX Runtime makes of it.

What an optimiser makes bears names that are made from those of the nodes and tensors that it
replaces. So nodes and tensors are named after their place: node 17 is ``<17>``, its first output
``<17:0>``. Then a fused node called ``<17:0>_nchwc`` tells what it does. Nodes in bodies have no
names, so that nothing of them is taken for a node of the main graph.
"""

import re
from collections.abc import Iterator, Mapping

from onnx import GraphProto, ModelProto, NodeProto

from app.ingest.captures import bodies

_OF_NODE = re.compile(r"<(\d+)(?::\d+)?>")
_OF_OUTPUT = re.compile(r"<(\d+):\d+>")
_ANY = re.compile(r"<[iws]?\d+(?::\d+)?>")


def places_in(name: str) -> set[int]:
    """The places of the nodes that a name is made from, by their own labels or their outputs'."""
    return {int(place) for place in _OF_NODE.findall(name)}


def makers_in(name: str) -> set[int]:
    """The places of the nodes whose outputs' labels a name is made from."""
    return {int(place) for place in _OF_OUTPUT.findall(name)}


class Labels:
    """The labels of a model, which is renamed in place; its nodes stand in topological order."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self._of_tensors = dict(_labels(graph))
        self._originals = {label: name for name, label in self._of_tensors.items()}
        self._originals.update(
            (f"<{place}>", node.name or f"{node.op_type}_{place}")
            for place, node in enumerate(graph.node)
        )
        _relabel(graph, self._of_tensors)

    def of(self, name: str) -> str:
        """The label of a tensor of the main graph."""
        return self._of_tensors[name]

    def restored(self, text: str) -> str:
        """A message with the model's own names in place of labels."""
        return _ANY.sub(lambda match: self._originals.get(match[0], match[0]), text)


def _labels(graph: GraphProto) -> Iterator[tuple[str, str]]:
    # Initializers after inputs: old files list them among these, and they have to bear one name.
    for place, value in enumerate(graph.input):
        yield value.name, f"<i{place}>"
    for place, tensor in enumerate(graph.initializer):
        yield tensor.name, f"<w{place}>"
    for place, sparse in enumerate(graph.sparse_initializer):
        yield sparse.values.name, f"<s{place}>"
    for place, node in enumerate(graph.node):
        for position, name in enumerate(node.output):
            if name:
                yield name, f"<{place}:{position}>"


def _relabel(graph: GraphProto, labels: Mapping[str, str]) -> None:
    for place, node in enumerate(graph.node):
        _relabel_uses(node, labels)
        node.name = f"<{place}>"
        node.output[:] = [labels.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = labels.get(value.name, value.name)
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        tensor.name = labels[tensor.name]
    del graph.quantization_annotation[:]


def _relabel_uses(node: NodeProto, labels: Mapping[str, str]) -> None:
    node.input[:] = [labels.get(name, name) for name in node.input]
    for body in bodies(node):
        _relabel_body(body, labels)


def _relabel_body(body: GraphProto, labels: Mapping[str, str]) -> None:
    """Rename what a body captures; its own names shadow those outside from where they begin."""
    visible = dict(labels)
    held = (*body.initializer, *(sparse.values for sparse in body.sparse_initializer))
    for item in (*body.input, *held):
        visible.pop(item.name, None)
    for node in body.node:
        node.name = ""
        _relabel_uses(node, visible)
        for name in node.output:
            visible.pop(name, None)
    for value in body.output:
        value.name = visible.get(value.name, value.name)
