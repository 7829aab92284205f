"""Model-local functions, replaced by what they do."""

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from itertools import chain

import onnx.inliner
from onnx import FunctionProto, ModelProto, NodeProto

from app.errors import InvalidModelError, LimitExceededError
from app.ingest.captures import with_inner
from app.ingest.limits import Limits
from app.ingest.operators import AI_ONNX
from app.ingest.reasons import reason

Key = tuple[str, str, str]

MOST_COUNTED = 2**62
"""Counts double with each function that calls another twice; beyond this they no longer matter."""


def inline_functions(model: ModelProto, limits: Limits) -> tuple[ModelProto, dict[str, int]]:
    """The same model with every call of a model-local function replaced by its body, however deep;
    and the operator sets that the functions stated, by domain.

    Raises ``LimitExceededError`` where that would make too many nodes, ``InvalidModelError`` where
    a function calls itself.
    """
    if not model.functions:
        return model, {}
    _require_few(model, limits)
    _state_defaults(model)
    opsets = {
        item.domain or AI_ONNX: item.version
        for function in model.functions
        for item in function.opset_import
    }
    for key in {(function.domain or AI_ONNX) for function in model.functions}:
        opsets.pop(key, None)
    try:
        inlined: ModelProto = onnx.inliner.inline_local_functions(model)
        if _calls(inlined):
            # A function with other operator sets than the model's is converted to these.
            inlined = onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:
        raise InvalidModelError(
            f"the model's functions cannot be inlined: {reason(error)}"
        ) from error
    del inlined.functions[:]
    return inlined, opsets


def _state_defaults(model: ModelProto) -> None:
    """Have each call state the attributes that it leaves to its function's defaults, in place:
    onnx's inliner knows no defaults."""
    functions = {function_key(function): function for function in model.functions}
    callers = (model.graph.node, *(function.node for function in model.functions))
    for node in chain.from_iterable(map(with_inner, callers)):
        function = functions.get(call_key(node))
        if function is not None:
            stated = {attribute.name for attribute in node.attribute}
            node.attribute.extend(
                default for default in function.attribute_proto if default.name not in stated
            )


def _calls(model: ModelProto) -> bool:
    functions = {function_key(function) for function in model.functions}
    return any(call_key(node) in functions for node in with_inner(model.graph.node))


def _require_few(model: ModelProto, limits: Limits) -> None:
    """Count what inlining makes before it is made: calls of calls can multiply without end."""
    functions = {function_key(function): function for function in model.functions}
    calls = {
        key: {call_key(node) for node in with_inner(function.node)} & functions.keys()
        for key, function in functions.items()
    }
    try:
        callees_first = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise InvalidModelError(
            f"function {error.args[1][0][1]!r} of the model calls itself; functions of ONNX cannot"
        ) from error
    sizes: dict[Key, int] = {}
    for key in callees_first:
        sizes[key] = min(_size(functions[key].node, sizes), MOST_COUNTED)
    total = _size(model.graph.node, sizes)
    if total > limits.nodes:
        raise LimitExceededError(
            f"with its functions inlined the model has {total} nodes; the limit of this service "
            f"is {limits.nodes} (KERF_MODEL_NODES)"
        )


def _size(nodes: Iterable[NodeProto], sizes: dict[Key, int]) -> int:
    return sum(sizes.get(call_key(node), 1) for node in with_inner(nodes))


def call_key(node: NodeProto) -> Key:
    """By which a node names the function that it calls, if it calls any."""
    return node.domain or AI_ONNX, node.op_type, node.overload


def function_key(function: FunctionProto) -> Key:
    """By which nodes call a function."""
    return function.domain or AI_ONNX, function.name, function.overload
