"""Bytes to a checked ONNX model whose nodes stand in topological order, functions inlined."""

import heapq

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto

from app.errors import InvalidModelError, NotOnnxError
from app.ingest.captures import used_names
from app.ingest.reasons import reason


def parse(data: bytes) -> ModelProto:
    """Read the bytes of a ``.onnx`` file, without ever opening another file.

    Raises ``NotOnnxError`` where they are not an ONNX model, whole.
    """
    if not data:
        raise NotOnnxError("the file is empty; upload the bytes of a .onnx file")
    try:
        model: ModelProto = ModelProto.FromString(data)
    except DecodeError as error:
        raise NotOnnxError(
            "the file is not an ONNX model, or it is truncated: it does not parse as an ONNX "
            "protobuf; upload the .onnx file as the exporter wrote it"
        ) from error
    if not model.HasField("graph"):
        raise NotOnnxError("the file holds no ONNX graph; upload a whole .onnx model")
    if model.ir_version < 1:
        raise InvalidModelError(
            f"the model states version {model.ir_version} of the ONNX format; there is none below 1"
        )
    if not model.opset_import:
        raise InvalidModelError(
            "the model imports no operator set; state opset_import for the domains that it uses"
        )
    return model


def inline_functions(model: ModelProto) -> ModelProto:
    """The same model with every call of a model-local function replaced by its body."""
    if not model.functions:
        return model
    try:
        inlined: ModelProto = onnx.inliner.inline_local_functions(model)
    except Exception as error:
        raise InvalidModelError(
            f"the model's functions cannot be inlined: {reason(error)}"
        ) from error
    del inlined.functions[:]
    return inlined


def check(model: ModelProto) -> None:
    """onnx's own checker. Raises ``InvalidModelError`` with its words."""
    try:
        onnx.checker.check_model(model)
    except UnicodeDecodeError:
        raise
    except Exception as error:  # ValidationError, and what else its C++ throws
        raise InvalidModelError(f"the model breaks the rules of ONNX: {reason(error)}") from error


def sort_nodes(model: ModelProto) -> None:
    """Put the main graph's nodes into topological order, in place.

    Stable: among the nodes that are ready, the first of the file goes first, so a file that is in
    order stays as it is. Raises ``InvalidModelError`` where the graph has a cycle, or a tensor has
    two producers.
    """
    nodes = list(model.graph.node)
    producers = _producers(nodes)
    waits_for = [
        {producers[name] for name in used_names(node) if name in producers} for node in nodes
    ]
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
    if order != list(range(len(nodes))):
        del model.graph.node[:]
        model.graph.node.extend(nodes[index] for index in order)


def _producers(nodes: list[NodeProto]) -> dict[str, int]:
    producers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if name and producers.setdefault(name, index) != index:
                raise InvalidModelError(
                    f"tensor {name!r} is made by two nodes; each tensor has one producer"
                )
    return producers
