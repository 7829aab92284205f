"""The bytes of a skeleton to a model, within the limits."""

from collections.abc import Iterator
from itertools import chain

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto

from app.errors import InvalidModelError, LimitExceededError, NotOnnxError
from app.ingest.captures import bodies
from app.ingest.limits import Limits


def parse(data: bytes, limits: Limits) -> ModelProto:
    """Read the bytes of an ONNX model, without ever opening another file.

    Raises ``NotOnnxError`` where they are not one, whole, or ``LimitExceededError``.
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
    require_limits(model, limits)
    return model


def require_limits(model: ModelProto, limits: Limits) -> None:
    """Raise ``LimitExceededError`` where nodes, nesting or names go beyond the limits, and
    ``InvalidModelError`` where a name is no text."""
    in_functions = (
        inner
        for function in model.functions
        for node in function.node
        for inner in _with_bodies(node, limits, 0)
    )
    for count, node in enumerate(chain(_nodes(model.graph, limits), in_functions), 1):
        if count > limits.nodes:
            raise LimitExceededError(
                f"the model has more than {limits.nodes} nodes, which is the limit of this "
                "service (KERF_MODEL_NODES)"
            )
        for name in (node.name, node.op_type, node.domain, *node.input, *node.output):
            _require_name(name, limits)
        for attribute in node.attribute:
            _require_name(attribute.name, limits)


def _nodes(graph: GraphProto, limits: Limits, depth: int = 0) -> Iterator[NodeProto]:
    if depth > limits.nesting:
        raise LimitExceededError(
            f"graphs are nested more than {limits.nesting} deep, which is the limit of this "
            "service (KERF_NESTING)"
        )
    for tensor in graph.initializer:
        _require_name(tensor.name, limits)
    for value in chain(graph.input, graph.output, graph.value_info):
        _require_name(value.name, limits)
        for dim in value.type.tensor_type.shape.dim:
            _require_name(dim.dim_param, limits)
    for node in graph.node:
        yield from _with_bodies(node, limits, depth)


def _with_bodies(node: NodeProto, limits: Limits, depth: int) -> Iterator[NodeProto]:
    yield node
    for body in bodies(node):
        yield from _nodes(body, limits, depth + 1)


def _require_name(name: str | bytes, limits: Limits) -> None:
    if isinstance(name, bytes):  # what protobuf makes of text that is none
        raise InvalidModelError(
            f"the model breaks the rules of ONNX: the name {name[:40]!r} is not UTF-8 text"
        )
    if len(name) > limits.name_bytes or len(name.encode()) > limits.name_bytes:
        raise LimitExceededError(
            f"a name in the model ({name[:40]!r}…) is longer than {limits.name_bytes} bytes, which "
            "is the limit of this service (KERF_NAME_BYTES)"
        )
