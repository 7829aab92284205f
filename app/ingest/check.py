"""onnx's own checker, asked about a copy of the model in which it finds only what matters here.

The checker refuses some things that runtimes open every day: graphs without a name, outputs
without a shape, operators that it does not know, bodies with a name that the graph around them
has as well. None of them stands in the way of a split. So each graph is checked by itself, with
what it captures as inputs.
"""

from collections.abc import Iterator, Mapping

import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper

from app.errors import InvalidModelError
from app.ingest.captures import bodies, captured_names, definitions
from app.ingest.operators import AI_ONNX, domain_of, is_known
from app.ingest.reasons import reason

OPAQUE_DOMAIN = "opaque"
"""Where the copy has the operators that onnx does not know; it leaves foreign domains alone."""


def check(model: ModelProto) -> None:
    """Raises ``InvalidModelError`` with the checker's words."""
    versions = {item.domain or AI_ONNX: item.version for item in model.opset_import}
    for graph, outer in _graphs(model.graph, frozenset()):
        alone = ModelProto(ir_version=model.ir_version)
        alone.opset_import.extend(model.opset_import)
        alone.opset_import.append(helper.make_opsetid(OPAQUE_DOMAIN, 1))
        alone.graph.CopyFrom(graph)
        _feed(alone.graph, outer)
        _concede(alone.graph, versions)
        try:
            onnx.checker.check_model(alone)
        except UnicodeDecodeError:
            raise
        except Exception as error:  # ValidationError, and what else its C++ throws
            raise InvalidModelError(
                f"the model breaks the rules of ONNX: {reason(error)}"
            ) from error


def _graphs(
    graph: GraphProto, outer: frozenset[str]
) -> Iterator[tuple[GraphProto, frozenset[str]]]:
    """A graph and all bodies in it, each with the names of the graphs around it."""
    yield graph, outer
    visible: frozenset[str] | None = None
    for node in graph.node:
        for body in bodies(node):
            visible = visible or outer.union(definitions(graph))
            yield from _graphs(body, visible)


def _feed(graph: GraphProto, outer: frozenset[str]) -> None:
    """Make inputs of what a body captures; what is nowhere is left for the checker to find."""
    defined = {value.name for value in graph.input}
    for name in dict.fromkeys(captured_names(graph)):
        if name in outer and name not in defined:
            graph.input.add(name=name)


def _concede(graph: GraphProto, versions: Mapping[str, int]) -> None:
    graph.name = graph.name or "graph"
    for value in (*graph.input, *graph.output):
        if value.type.WhichOneof("value") in (None, "tensor_type"):
            tensor_type = value.type.tensor_type
            tensor_type.elem_type = tensor_type.elem_type or TensorProto.FLOAT
            tensor_type.shape.SetInParent()
    for node in graph.node:
        domain = domain_of(node)
        if not is_known(node, versions.get(domain, 1)):
            node.domain = OPAQUE_DOMAIN
        for body in bodies(node):
            body.CopyFrom(GraphProto(name="body"))
