"""Bodies of If, Loop, Scan and others: how they begin, how often they run, what comes out of them.

The rules are those of the operators' definitions in ONNX. A body of any other operator (the
decoder of a beam search, the function of a SequenceMap) is entered once, with the types that it
declares; an extent that it leaves open is taken as 1 there, as in one step for one sample.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto

from app.errors import InvalidModelError
from app.ingest.attributes import attributes_of
from app.ingest.captures import bodies
from app.ingest.operators import AI_ONNX, domain_of
from app.ingest.shape_arithmetic import Array
from app.ingest.value_types import tensor_type, value_type_of

MOST_TRIPS = 2**31
"""Beyond it stands the largest integer, by which exporters write that there is no bound."""

Types = Mapping[str, TypeProto]
Values = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class BodyInputs:
    """How a body begins: types and values of its own inputs, as far as the node tells.

    ``trips``: how often it runs; None where that is not known before the model runs.
    """

    types: dict[str, TypeProto] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    trips: int | None = 1


@dataclass(frozen=True, slots=True)
class BodyResult:
    """What is known of a body's outputs, given how it begins."""

    inputs: BodyInputs
    types: list[TypeProto | None]
    values: list[Array | None]


def is_control_flow(node: NodeProto) -> bool:
    """Whether a node is an If, Loop or Scan of ONNX's own."""
    return domain_of(node) == AI_ONNX and node.op_type in ("If", "Loop", "Scan")


def body_inputs(
    node: NodeProto, types: Types, values: Values
) -> Iterator[tuple[BodyInputs, GraphProto]]:
    """The bodies of a node that may run, and how they begin. Of an If whose condition is known,
    only the branch that is taken."""
    if domain_of(node) == AI_ONNX and node.op_type == "If":
        yield from _branches(node, values)
    elif domain_of(node) == AI_ONNX and node.op_type == "Loop":
        for body in bodies(node):
            yield _loop(node, body, types, values), body
    elif domain_of(node) == AI_ONNX and node.op_type == "Scan":
        for body in bodies(node):
            yield _scan(node, body, types), body
    else:
        for body in bodies(node):
            yield _other(body), body


def with_known_trips(
    node: NodeProto, inputs: BodyInputs, results: Sequence[Array | None]
) -> BodyInputs:
    """The same, where what is known of a body's outputs ends a Loop after its first trip."""
    condition = results[0] if results else None
    is_loop = is_control_flow(node) and node.op_type == "Loop"
    if not is_loop or condition is None or condition.any():
        return inputs
    return replace(inputs, trips=1 if inputs.trips is None else min(inputs.trips, 1))


def output_types(
    node: NodeProto, results: Sequence[BodyResult], types: Types
) -> dict[str, TypeProto]:
    """Types of what a node makes, where those of its bodies' outputs tell them."""
    if not is_control_flow(node) or not results:
        return {}
    if node.op_type == "If":
        found = _of_branches(results)
    else:
        found = _of_iterations(node, results[0], types)
    return {
        name: proto
        for name, proto in zip(node.output, found, strict=False)
        if name and proto is not None
    }


def _branches(node: NodeProto, values: Values) -> Iterator[tuple[BodyInputs, GraphProto]]:
    condition = values.get(node.input[0]) if node.input else None
    taken = None
    if condition is not None and condition.size == 1:
        taken = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH and taken in (None, attribute.name):
            yield BodyInputs(), attribute.g


def _loop(node: NodeProto, body: GraphProto, types: Types, values: Values) -> BodyInputs:
    names = [value.name for value in body.input]
    given = [*node.input, "", ""]
    typed = {
        name: types[outer]
        for name, outer in zip(names[2:], given[2:], strict=False)
        if outer in types
    }
    known: dict[str, Array] = {}
    if names:
        typed[names[0]] = tensor_type(TensorProto.INT64, ())
    starts = np.array(True) if not given[1] else values.get(given[1])
    if len(names) > 1:
        typed[names[1]] = tensor_type(TensorProto.BOOL, ())
        if starts is not None and starts.all():
            known[names[1]] = np.array(True)
    trips = _bound(values.get(given[0])) if given[0] else None
    if starts is not None and not starts.any():
        trips = 0
    return BodyInputs(typed, known, trips)


def _bound(value: Array | None) -> int | None:
    """The number of trips that a value allows; None where there is no bound to speak of."""
    if value is None or value.size != 1 or value.dtype.kind not in "iu":
        return None
    trips = max(0, int(value.reshape(-1)[0]))
    return trips if trips <= MOST_TRIPS else None


def _scan(node: NodeProto, body: GraphProto, types: Types) -> BodyInputs:
    attributes = attributes_of(node)
    scanned = _scanned(node)
    given = list(node.input)
    batched = len(given) == len(body.input) + 1  # version 8: lengths come first, then batches
    if batched:
        given = given[1:]
    states = len(given) - scanned
    axes = attributes.get("scan_input_axes") or [0] * scanned
    typed: dict[str, TypeProto] = {}
    trips: int | None = None
    for i, (name, value) in enumerate(zip(given, body.input, strict=False)):
        known = value_type_of(types.get(name))
        if known.shape is None or len(known.shape) < batched:
            continue
        shape = known.shape[1:] if batched else known.shape
        if i >= states:
            axis = axes[i - states] if i - states < len(axes) else 0
            if not -len(shape) <= axis < len(shape):
                continue
            axis %= len(shape)
            slices = shape[axis] * (known.shape[0] if batched else 1)
            if trips not in (None, slices):
                raise InvalidModelError(
                    f"node {node.name!r} (Scan) goes along inputs of different lengths: {trips} "
                    f"and {slices} slices"
                )
            trips = slices
            shape = shape[:axis] + shape[axis + 1 :]
        typed[value.name] = tensor_type(known.dtype, shape)
    return BodyInputs(typed, trips=trips)


def _scanned(node: NodeProto) -> int:
    """How many inputs of a Scan it goes along. Raises ``InvalidModelError`` for one without."""
    scanned = attributes_of(node).get("num_scan_inputs")
    if not isinstance(scanned, int) or not 1 <= scanned <= len(node.input):
        raise InvalidModelError(
            f"node {node.name!r} (Scan) has {len(node.input)} inputs and states that it goes along "
            f"{scanned!r} of them (num_scan_inputs)"
        )
    return scanned


def _other(body: GraphProto) -> BodyInputs:
    typed: dict[str, TypeProto] = {}
    for value in body.input:
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
            proto = TypeProto()
            proto.CopyFrom(value.type)
            for dim in proto.tensor_type.shape.dim:
                dim.dim_value = dim.dim_value if dim.HasField("dim_value") else 1
            typed[value.name] = proto
    return BodyInputs(typed, trips=None)


def _of_branches(results: Sequence[BodyResult]) -> list[TypeProto | None]:
    found: list[TypeProto | None] = []
    for protos in zip(*(result.types for result in results), strict=False):
        known = {value_type_of(proto) for proto in protos}
        same = len(known) == 1 and next(iter(known)).shape is not None
        found.append(protos[0] if same else None)
    return found


def _of_iterations(node: NodeProto, result: BodyResult, types: Types) -> list[TypeProto | None]:
    """What is carried keeps its shape if one run of the body, beginning with the shapes that all
    carried values have at first, ends with these: then every run does, by induction."""
    is_loop = node.op_type == "Loop"
    stacks_elsewhere = False
    if is_loop:
        carried, ended = node.input[2:], result.types[1:]
    else:
        scanned = _scanned(node)
        carried, ended = node.input[: len(node.input) - scanned], result.types
        stacks_elsewhere = any(attributes_of(node).get("scan_output_axes") or ())
    begun = [types.get(name) for name in carried]
    for first, last in zip(begun, ended, strict=False):
        if value_type_of(first).shape is None or value_type_of(first) != value_type_of(last):
            return []
    trips = result.inputs.trips
    if stacks_elsewhere or (is_loop and not _goes_on(result)):
        trips = None
    return [*begun, *(_stacked(proto, trips) for proto in ended[len(begun) :])]


def _goes_on(result: BodyResult) -> bool:
    """Whether a Loop's condition is true after each run, as it was at first."""
    condition = result.values[0] if result.values else None
    return condition is not None and bool(np.all(condition))


def _stacked(proto: TypeProto | None, trips: int | None) -> TypeProto | None:
    """The type of what each run adds a slice to, along the first axis."""
    known = value_type_of(proto)
    if known.shape is None or trips is None:
        return None
    return tensor_type(known.dtype, (trips, *known.shape))
