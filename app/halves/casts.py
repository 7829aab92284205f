"""Smashed data in a narrower type: casts where the device half ends, and back where the server
half begins.

A cut tensor ``t`` crosses as ``t.float16``; or, quantised by the range that its numbers have in
that run, as ``t.int8`` (uint8), ``t.scale`` (float32) and ``t.zero_point`` (uint8), the latter two
scalars. They stand where ``t`` would stand, in this order, in the outputs of the one half and the
inputs of the other. A name that either half has already gets ``_`` after it, as often as needed.

What is lost: float16 keeps 11 bits, rounds what is below 2^-14 more coarsely, and makes infinities
of what is beyond 65504. int8 moves a number by up to half a step, which is 1/255 of the range from
the least to the largest number of the tensor, zero included; one that is infinite or NaN leaves
nothing of the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from app.core.errors import UnsupportedError
from app.core.smashed import SmashedDtype
from app.errors import IngestError
from app.ingest.captures import bodies, definitions, with_inner
from app.ingest.element_types import DATA_TYPES
from app.ingest.limits import Limits
from app.ingest.parse import parse
from app.ingest.skeleton import read_skeleton

KEY = "kerf.smashed_dtype"
"""Of the metadata of halves in which something is cast; others do not have it."""

_FIRST_OPERATOR_SETS: Mapping[SmashedDtype, int] = {"float16": 6, "int8": 11}
_FIRST_WITH_BFLOAT16 = 13
_OWN_OPERATOR_SET = 13
"""Of ai.onnx, for a model that has operators of other domains alone."""

_OPERATORS: Mapping[SmashedDtype, str] = {"float16": "Cast", "int8": "DynamicQuantizeLinear"}


@dataclass(frozen=True, slots=True)
class _Casts:
    """What becomes of one cut tensor: what crosses in its place, and the nodes on either side."""

    values: list[ValueInfoProto]
    there: list[NodeProto]
    back: list[NodeProto]


def add_casts(
    device: ModelProto,
    server: ModelProto,
    cut_tensors: Sequence[str],
    types: Mapping[str, str],
    dtype: SmashedDtype,
    results: Iterable[str],
) -> None:
    """Have cut tensors cross in another type, in place.

    ``types``: of the cut tensors that are to be cast, by name. ``results``: graph outputs of the
    whole model; what is both stays as it is as a graph output of the device half. Raises
    ``UnsupportedError`` where the operator set of the model has no such cast.
    """
    for half in (device, server):
        _settle_operator_set(half, dtype, types.values())
        half.metadata_props.add(key=KEY, value=dtype)
    names = _Names(device.graph, server.graph)
    stated = {value.name: value for value in device.graph.output}
    casts = {name: _casts(stated[name], types[name], dtype, names) for name in types}
    as_they_are = set(cut_tensors).difference(types)
    kept = [name for name in results if name in stated and name not in as_they_are]
    _end(device.graph, cut_tensors, casts, kept)
    _begin(server.graph, casts)


def smashed_dtype_of(half: Path) -> str | None:
    """What a half says that smashed data are cast to; None where nothing is, or it is no model."""
    with suppress(IngestError, OSError), half.open("rb") as file:
        model = parse(read_skeleton(file, Limits()).content, Limits())
        return next((item.value for item in model.metadata_props if item.key == KEY), None)
    return None


def _settle_operator_set(half: ModelProto, dtype: SmashedDtype, types: Iterable[str]) -> None:
    needed = _FIRST_OPERATOR_SETS[dtype]
    if dtype == "int8" and "bfloat16" in types:
        needed = max(needed, _FIRST_WITH_BFLOAT16)
    version = next((item.version for item in half.opset_import if not item.domain), None)
    if version is None:
        half.opset_import.append(helper.make_opsetid("", _OWN_OPERATOR_SET))
    elif version < needed:
        raise UnsupportedError(
            f"the model has operator set {version} of ai.onnx, in which nothing casts its cut "
            f"tensors to {dtype}: {_OPERATORS[dtype]} does so from operator set {needed} on; "
            "convert the model to that, or let the tensors cross as they are"
        )


class _Names:
    """Names that neither half has."""

    def __init__(self, *graphs: GraphProto) -> None:
        self._taken = {name for graph in graphs for name in _names_in(graph)}

    def new(self, wanted: str) -> str:
        """The name, or one like it."""
        while wanted in self._taken:
            wanted += "_"
        self._taken.add(wanted)
        return wanted


def _names_in(graph: GraphProto) -> Iterable[str]:
    yield from definitions(graph)
    yield from (value.name for value in graph.output)
    for node in with_inner(graph.node):
        yield node.name
        yield from node.input
        for body in bodies(node):
            yield from definitions(body)


def _casts(value: ValueInfoProto, own: str, dtype: SmashedDtype, names: _Names) -> _Casts:
    if dtype == "float16":
        half = names.new(f"{value.name}.float16")
        return _Casts(
            [_retyped(value, half, TensorProto.FLOAT16)],
            [_cast(value.name, half, "float16", half)],
            [_cast(half, value.name, own, names.new(f"{half}.back"))],
        )
    eight_bits = names.new(f"{value.name}.int8")
    crossing = [eight_bits, names.new(f"{value.name}.scale"), names.new(f"{value.name}.zero_point")]
    back = names.new(f"{eight_bits}.back")
    # Both operators know float32 alone.
    wide = value.name if own == "float32" else names.new(f"{value.name}.float32")
    there = [helper.make_node("DynamicQuantizeLinear", [wide], crossing, eight_bits)]
    undone = [helper.make_node("DequantizeLinear", crossing, [wide], back)]
    if wide != value.name:
        there.insert(0, _cast(value.name, wide, "float32", wide))
        undone.append(_cast(wide, value.name, own, names.new(f"{wide}.back")))
    values = [
        _retyped(value, eight_bits, TensorProto.UINT8),
        helper.make_tensor_value_info(crossing[1], TensorProto.FLOAT, []),
        helper.make_tensor_value_info(crossing[2], TensorProto.UINT8, []),
    ]
    return _Casts(values, there, undone)


def _cast(source: str, target: str, dtype: str, name: str) -> NodeProto:
    node: NodeProto = helper.make_node("Cast", [source], [target], name, to=DATA_TYPES[dtype])
    return node


def _retyped(value: ValueInfoProto, name: str, data_type: int) -> ValueInfoProto:
    """The type of a tensor with other elements."""
    made = ValueInfoProto(name=name, type=value.type)
    made.type.tensor_type.elem_type = data_type
    return made


def _end(
    graph: GraphProto, cut_tensors: Iterable[str], casts: Mapping[str, _Casts], kept: Iterable[str]
) -> None:
    """Have the device half give what crosses, and after it the graph outputs that it keeps."""
    outputs = {value.name: value for value in graph.output}
    given = {value.name for value in graph.input}
    crossing = [
        value
        for name in cut_tensors
        for value in (casts[name].values if name in casts else [outputs[name]])
    ]
    results = [outputs[name] for name in dict.fromkeys(kept)]
    inner = [outputs[name] for name in casts if name not in {*given, *kept}]
    graph.node.extend(node for each in casts.values() for node in each.there)
    graph.value_info.extend(inner)
    del graph.output[:]
    graph.output.extend([*crossing, *results])


def _begin(graph: GraphProto, casts: Mapping[str, _Casts]) -> None:
    """Have the server half take what crosses."""
    inputs, nodes = list(graph.input), list(graph.node)
    crossing = [
        each
        for value in inputs
        for each in (casts[value.name].values if value.name in casts else [value])
    ]
    graph.value_info.extend(value for value in inputs if value.name in casts)
    del graph.input[:], graph.node[:]
    graph.input.extend(crossing)
    graph.node.extend(node for each in casts.values() for node in each.back)
    graph.node.extend(nodes)
