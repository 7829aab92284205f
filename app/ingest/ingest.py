"""ONNX bytes to a costed DAG, step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto

from app.core.dag import CostedDag
from app.errors import BadBindingError, InvalidModelError
from app.ingest import dimensions, parse
from app.ingest.assemble import Assembly
from app.ingest.constants import checked_values
from app.ingest.folding import fold
from app.ingest.operators import AI_ONNX
from app.ingest.shapes import infer_shapes
from app.ingest.weights import strip_weights


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the DAG does not say of a model: its versions, and what was assumed on the way."""

    ir_version: int
    opsets: dict[str, int]
    bound_dims: dict[str, int]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class IngestedModel:
    """A costed DAG and the facts beside it. No weight of the model is held."""

    dag: CostedDag
    facts: ModelFacts


def ingest(
    data: bytes, dims: Mapping[str, int] | None = None, model_batch: int | None = None
) -> IngestedModel:
    """Read, check and cost a model.

    ``data``: the bytes of a ``.onnx`` file; weights in external data may be absent. ``dims``
    binds symbolic dimensions. ``model_batch``: how many samples these shapes hold; the first axis
    of the first graph input where it is not stated. Raises ``IngestError``.
    """
    try:
        return _ingest(parse.parse(data), dims or {}, model_batch)
    except UnicodeDecodeError as error:
        raise InvalidModelError(
            "the model breaks the rules of ONNX: a name in it is not UTF-8 text"
        ) from error


def _ingest(model: ModelProto, dims: Mapping[str, int], model_batch: int | None) -> IngestedModel:
    ir_version = model.ir_version
    model = parse.inline_functions(model)
    parse.sort_nodes(model)
    weights = strip_weights(model)
    # What became an initializer is no graph input, which before version 4 it had to be.
    model.ir_version = max(model.ir_version, 4)
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    outputs = [value.name for value in model.graph.output]
    bound_dims = dimensions.bind(model, inputs, dims)
    parse.check(model)
    types = infer_shapes(model)
    opsets = {item.domain or AI_ONNX: item.version for item in model.opset_import}
    assembly = Assembly(
        folded=fold(model.graph.node, weights, outputs),
        types=types,
        weights=weights,
        inputs=inputs,
        outputs=outputs,
        opsets=opsets,
        constants={tensor.name: checked_values(tensor) for tensor in model.graph.initializer},
    )
    dag = assembly.dag(_model_batch(model, inputs, model_batch))
    if dag.node_count == 0:
        raise InvalidModelError(
            "no node of the model depends on a graph input, so there is nothing to split"
        )
    warnings = _warnings(dag, assembly.estimated, outputs)
    return IngestedModel(dag, ModelFacts(ir_version, opsets, bound_dims, warnings))


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


def _warnings(
    dag: CostedDag, estimated: Mapping[str, int], outputs: Sequence[str]
) -> tuple[str, ...]:
    warnings = []
    for op_type, flops in estimated.items():
        share = flops / dag.total_flops if dag.total_flops else 0.0
        warnings.append(
            f"operator {op_type} has no FLOPs entry: counted as one FLOP per output element "
            f"({share:.2%} of the model's FLOPs)"
        )
    made = set(dag.tensor_names)
    for name in outputs:
        if name not in made:
            warnings.append(f"graph output {name!r} depends on no graph input: not part of a split")
    return tuple(warnings)
