"""An ONNX file to a costed DAG, step by step."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from onnx import ModelProto, NodeProto

from app.core.dag import NO_PRODUCER, CostedDag
from app.errors import BadBindingError, InvalidModelError, UnknownShapeError
from app.ingest import dimensions
from app.ingest.assemble import Assembly
from app.ingest.carried import blank_large_attributes, carried_data
from app.ingest.check import check
from app.ingest.costing import Costing
from app.ingest.digest import graph_sha256
from app.ingest.folding import fold
from app.ingest.inlining import inline_functions
from app.ingest.limits import Limits
from app.ingest.notes import LISTED, Notes, listed
from app.ingest.operators import AI_ONNX
from app.ingest.order import sort_nodes
from app.ingest.parse import parse, require_limits
from app.ingest.shapes import body_key, infer
from app.ingest.skeleton import read_skeleton
from app.ingest.versions import settle_versions
from app.ingest.weights import adopt_parameters, strip_weights


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What an upload states beside the file.

    ``dims`` binds symbolic dimensions. ``model_batch``: how many samples these shapes hold; the
    first axis of the first graph input where it is not stated. ``parameters``: names of graph
    inputs that are parameters (training graphs are fed their weights).
    """

    dims: Mapping[str, int] = field(default_factory=dict)
    model_batch: int | None = None
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the DAG does not say of a model: its versions, and what was assumed on the way.

    ``parameters``: the graph inputs that the upload named as such. ``graph_sha256``: see
    ``app.ingest.digest``. ``has_data``: whether the file holds data of weights that are no part of
    its skeleton.
    """

    ir_version: int
    opsets: dict[str, int]
    bound_dims: dict[str, int]
    parameters: tuple[str, ...]
    graph_sha256: str
    has_data: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class IngestedModel:
    """A costed DAG and the facts beside it. No weight of the model is held."""

    dag: CostedDag
    facts: ModelFacts


@dataclass(frozen=True, slots=True, eq=False)
class DissectedModel:
    """A costed DAG beside the graph that it was made from.

    ``original``: as the file states it, without the data of large weights
    (``app.ingest.left_out``). ``flat``: the same with its functions inlined, its versions settled
    and its nodes sorted. ``places``: what the nodes of ``flat`` make, before they were sorted:
    calls of functions stand there one after the other, each with what its body makes.
    ``node_outputs``: what each node of the DAG makes.
    """

    ingested: IngestedModel
    original: ModelProto
    flat: ModelProto
    places: tuple[tuple[str, ...], ...]
    node_outputs: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class ReadFile:
    """A costed model, and the skeleton of its file (``app.ingest.skeleton``), from which all of it
    can be told again."""

    ingested: IngestedModel
    skeleton: bytes


def ingest_file(
    file: BinaryIO, options: IngestOptions | None = None, limits: Limits | None = None
) -> IngestedModel:
    """Read, check and cost a model.

    ``file``: an open ``.onnx`` file, which is read in parts, without its weights; weights in
    external data may be absent. Raises ``IngestError``.
    """
    return read_file(file, options, limits).ingested


def read_file(
    file: BinaryIO, options: IngestOptions | None = None, limits: Limits | None = None
) -> ReadFile:
    """``ingest_file``, with the skeleton."""
    limits = limits or Limits()
    skeleton = read_skeleton(file, limits)
    with _names_are_text():
        flat = _flat(parse(skeleton.content, limits), limits)
        ingested, _ = _cost(flat, options or IngestOptions(), skeleton.has_data)
    return ReadFile(ingested, skeleton.content)


def digest_file(file: BinaryIO, limits: Limits | None = None) -> str:
    """The digest of a file's graph (``app.ingest.digest``). Raises ``IngestError``."""
    limits = limits or Limits()
    with _names_are_text():
        return graph_sha256(parse(read_skeleton(file, limits).content, limits))


def dissect_file(
    file: BinaryIO,
    options: IngestOptions | None = None,
    limits: Limits | None = None,
    marks: Literal["forged", "own"] = "forged",
) -> DissectedModel:
    """``ingest_file``, with the graph from which the DAG was made. ``marks``: own, where the file
    is a skeleton (``app.ingest.skeleton``)."""
    limits = limits or Limits()
    skeleton = read_skeleton(file, limits, marks=marks)
    with _names_are_text():
        original = parse(skeleton.content, limits)
        flat = _flat(_copied(original), limits)
        kept = _copied(flat.model)
        ingested, nodes = _cost(flat, options or IngestOptions(), skeleton.has_data)
    makes = tuple(tuple(node.output) for node in nodes)
    return DissectedModel(ingested, original, kept, flat.places, makes)


def ingest(
    data: bytes,
    dims: Mapping[str, int] | None = None,
    model_batch: int | None = None,
    parameters: Sequence[str] = (),
) -> IngestedModel:
    """``ingest_file`` of the bytes of a file."""
    options = IngestOptions(dims or {}, model_batch, tuple(parameters))
    return ingest_file(io.BytesIO(data), options)


@contextmanager
def _names_are_text() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise InvalidModelError(
            "the model breaks the rules of ONNX: a name in it is not UTF-8 text"
        ) from error


def _copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


@dataclass(frozen=True, slots=True, eq=False)
class _FlatModel:
    """A model with its functions inlined, its versions settled and its nodes sorted.

    ``ir_version`` and ``graph_sha256`` are of the file; for ``places`` see ``DissectedModel``.
    """

    model: ModelProto
    places: tuple[tuple[str, ...], ...]
    ir_version: int
    graph_sha256: str
    remarks: list[str]


def _flat(model: ModelProto, limits: Limits) -> _FlatModel:
    ir_version, digest = model.ir_version, graph_sha256(model)
    model, of_functions = inline_functions(model, limits)
    require_limits(model, limits)
    remarks = settle_versions(model, of_functions)
    places = tuple(tuple(node.output) for node in model.graph.node)
    sort_nodes(model.graph)
    return _FlatModel(model, places, ir_version, digest, remarks)


def _cost(
    flat: _FlatModel, options: IngestOptions, has_data: bool
) -> tuple[IngestedModel, list[NodeProto]]:
    """The costed DAG, and the nodes behind its own; takes weights and more out of the model."""
    model = flat.model
    notes = Notes()
    notes.remarks.extend(flat.remarks)
    weights = strip_weights(model)
    carried = {body_key(node): carried_data(node) for node in model.graph.node}
    blank_large_attributes(model.graph)
    # What became an initializer is no graph input, which before version 4 it had to be.
    model.ir_version = max(model.ir_version, 4)
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    binding = dimensions.bind(model, inputs, options.dims)
    adopted = adopt_parameters(model, inputs, weights, options.parameters)
    weights |= adopted
    inputs = [name for name in inputs if name not in weights]
    check(model)
    inferred = infer(model)
    dimensions.require_agreement(binding.claims, lambda name: inferred.type_of(name).shape)
    opsets = {item.domain or AI_ONNX: item.version for item in model.opset_import}
    assembly = Assembly(
        inferred=inferred,
        folded=fold(inferred.nodes, weights, inferred.outputs),
        weights=weights,
        carried=carried,
        inputs=inputs,
        costing=Costing(inferred, opsets, notes),
    )
    dag = assembly.dag(_model_batch(model, inputs, options.model_batch))
    _require_a_choice(dag)
    _remark_on_outputs(dag, inferred.outputs, notes)
    _remark_on_uncuttable(dag, notes)
    facts = ModelFacts(
        ir_version=flat.ir_version,
        opsets=opsets,
        bound_dims=binding.extents,
        parameters=tuple(adopted),
        graph_sha256=flat.graph_sha256,
        has_data=has_data,
        warnings=tuple(notes.lines(dag.total_flops, dag.node_count)),
    )
    return IngestedModel(dag, facts), assembly.folded.nodes


def _model_batch(model: ModelProto, inputs: Sequence[str], stated: int | None) -> int:
    if stated is not None:
        if stated < 1:
            raise BadBindingError(
                f"model_batch is {stated}; it is a count of samples, at least 1",
                loc=("model_batch",),
            )
        return stated
    for value in model.graph.input:
        if value.name in inputs:
            dims = value.type.tensor_type.shape.dim
            return max(1, dims[0].dim_value) if dims else 1
    return 1


def _require_a_choice(dag: CostedDag) -> None:
    if dag.leaves_a_choice:
        return
    unknown = (~dag.tensor_is_cuttable).nonzero()[0].tolist()
    places = [f"{dag.tensor_names[i]!r} ({_origin(dag, i)})" for i in unknown[:LISTED]]
    rest = f" and {len(unknown) - LISTED} more" if len(unknown) > LISTED else ""
    kinds = {dag.tensor_dtypes[i] for i in unknown if dag.tensor_producers[i] == NO_PRODUCER}
    unsized = sorted(kind for kind in kinds if kind == "string" or "(" in kind)
    advice = (
        f"values of type {' and '.join(unsized)} have no size before the model runs; cut it off "
        "behind what reads them, and upload the part that is fed with numbers"
        if unsized
        else "export the model with static shapes, bind more dimensions in dims, or store the "
        "missing shapes as value_info"
    )
    raise UnknownShapeError(
        f"nothing of the model could be cut, as the size of these tensors cannot be told: "
        f"{', '.join(places)}{rest}; {advice}"
    )


def _origin(dag: CostedDag, tensor: int) -> str:
    producer = int(dag.tensor_producers[tensor])
    return "a graph input" if producer == NO_PRODUCER else f"made by {dag.node_op_types[producer]}"


def _remark_on_outputs(dag: CostedDag, outputs: Sequence[str], notes: Notes) -> None:
    made = set(dag.tensor_names)
    for name in outputs:
        if name not in made:
            notes.remarks.append(
                f"graph output {name!r} depends on no graph input: not part of a split"
            )
    if dag.node_count == 0:
        notes.remarks.append("no node depends on a graph input: there is nothing to split")


def _remark_on_uncuttable(dag: CostedDag, notes: Notes) -> None:
    """Which tensors are never cut, and the share of the model on which that bears."""
    unknown = (~dag.tensor_is_cuttable).nonzero()[0].tolist()
    if not unknown:
        return
    touched = {int(dag.tensor_producers[i]) for i in unknown} - {NO_PRODUCER}
    for i in unknown:
        touched.update(dag.tensor_consumers.row(i).tolist())
    flops = sum(int(dag.node_flops[node]) for node in touched)
    share = flops / dag.total_flops if dag.total_flops else 0.0
    places = [f"{dag.tensor_names[i]} ({_origin(dag, i)})" for i in unknown]
    notes.remarks.append(
        f"the size of {len(unknown)} of {dag.tensor_count} tensors is not known before the model "
        f"runs: never cut, and counted as 0 bytes ({listed(places)}; the {len(touched)} nodes "
        f"around them do {share:.2%} of the model's FLOPs)"
    )
    if dag.node_count > 1 and not dag.requirements.groups.any():
        notes.remarks.append(
            "no tensor between two nodes can be cut: the model runs on one side as a whole"
        )
