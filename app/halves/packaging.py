"""Nodes, inputs and outputs of a half to a model of its own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto

from app.halves.calls import functions_of
from app.halves.casts import KEY
from app.halves.division import Division, Side
from app.ingest import DissectedModel
from app.ingest.captures import used_names
from app.ingest.operators import AI_ONNX
from app.ingest.order import sort_nodes

WEIGHTS_OFF_INPUTS = 4
"""From this version of the format on, weights need not stand among the inputs."""


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a half is made of: names of inputs and outputs, and nodes in any order.

    ``types``: of inputs and outputs that are none of the whole model.
    """

    inputs: Sequence[str]
    outputs: Sequence[str]
    nodes: Sequence[NodeProto]
    types: Mapping[str, ValueInfoProto]


def package(
    model: DissectedModel, contents: Contents, side: Side, has_other: bool, division: Division
) -> ModelProto:
    """A half as a model: versions, operator sets, functions and metadata as the whole has them.

    Each weight that is used is in it once, wherever the half uses it.
    """
    original = model.original
    half = ModelProto(
        ir_version=original.ir_version,
        producer_name=original.producer_name,
        producer_version=original.producer_version,
        domain=original.domain,
        model_version=original.model_version,
        opset_import=_opsets(model),
        functions=functions_of(model, contents.nodes),
    )
    graph = half.graph
    graph.name = f"{original.graph.name}_{side}" if original.graph.name else str(side)
    graph.node.extend(contents.nodes)
    sort_nodes(graph)
    _add_values(graph, model.flat.graph, contents)
    _add_metadata(half, original, side, has_other, division)
    return half


def _add_values(graph: GraphProto, whole: GraphProto, contents: Contents) -> None:
    used = {name for node in graph.node for name in used_names(node)}
    used.update(contents.outputs)
    made = {name for node in graph.node for name in node.output if name}
    own = made.union(contents.inputs)
    known = own | used
    annotations = [item for item in whole.quantization_annotation if item.tensor_name in known]
    used.update(entry.value for item in annotations for entry in item.quant_parameter_tensor_names)
    needed = used - own
    weights = [item for item in whole.initializer if item.name in needed]
    sparse = [item for item in whole.sparse_initializer if item.values.name in needed]
    graph.initializer.extend(weights)
    graph.sparse_initializer.extend(sparse)
    graph.quantization_annotation.extend(annotations)
    # Old files list weights among the inputs, and newer ones those that may be replaced.
    held = {item.name for item in weights} | {item.values.name for item in sparse}
    stated = {value.name: value for value in (*whole.output, *whole.input)}
    graph.input.extend(_values(contents.inputs, contents.types, stated))
    graph.input.extend(value for value in whole.input if value.name in held)
    graph.output.extend(_values(contents.outputs, contents.types, stated))
    told = {value.name for value in (*graph.input, *graph.output)}
    graph.value_info.extend(
        value for value in whole.value_info if value.name in made and value.name not in told
    )


def _values(names: Iterable[str], *types: Mapping[str, ValueInfoProto]) -> Iterator[ValueInfoProto]:
    for name in names:
        yield next((known[name] for known in types if name in known), ValueInfoProto(name=name))


def _opsets(model: DissectedModel) -> list[OperatorSetIdProto]:
    """The operator sets as the file states them, and those that it forgot to state."""
    stated = {
        "" if item.domain == AI_ONNX else item.domain: item.version
        for item in model.original.opset_import
    }
    settled = {item.domain: item.version for item in model.flat.opset_import}
    return [
        OperatorSetIdProto(domain=domain, version=version)
        for domain, version in {**settled, **stated}.items()
    ]


def _add_metadata(
    half: ModelProto, original: ModelProto, side: Side, has_other: bool, division: Division
) -> None:
    own = {
        "kerf.model": division.model_id or "",
        "kerf.split": division.split_id or "",
        "kerf.half": str(side),
        "kerf.other_half": side.other.file_name if has_other else "",
    }
    # A half that is cut in two may have casts; what is between its own halves is another matter.
    kept = {entry.key: entry.value for entry in original.metadata_props if entry.key != KEY}
    for key, value in {**kept, **own}.items():
        half.metadata_props.add(key=key, value=value)
