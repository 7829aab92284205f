"""Symbolic dimensions: which a model has, and binding them to integers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, TensorShapeProto, ValueInfoProto

from app.errors import BadBindingError, UnboundDimensionError, UnknownShapeError
from app.ingest.captures import bodies

LARGEST_DIMENSION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Axis:
    """One symbolic axis of a graph input; ``key`` is what ``dims`` calls it."""

    key: str
    input_name: str
    position: int


def bind(model: ModelProto, input_names: Sequence[str], dims: Mapping[str, int]) -> dict[str, int]:
    """Bind every symbolic dimension of the graph inputs, in place; what each was bound to.

    ``dims`` names a dimension by its symbol, or an unnamed one as ``input:axis``. A first axis
    that it leaves out is the batch, and bound to 1. Symbols that remain anywhere else (in stored
    ``value_info``, such as ``2*batch``) are cleared, for shape inference to work out again.

    Raises ``BadBindingError``, ``UnboundDimensionError``, or ``UnknownShapeError`` for an input
    whose rank is not stated.
    """
    names = set(input_names)
    inputs = [value for value in model.graph.input if value.name in names]
    axes = [axis for value in inputs for axis in _symbolic_axes(value)]
    _check(dims, {axis.key for axis in axes})
    bound = {axis.key: 1 for axis in axes if axis.position == 0} | dict(dims)
    unbound = list(dict.fromkeys(axis.key for axis in axes if axis.key not in bound))
    if unbound:
        raise _unbound([axis for axis in axes if axis.key in unbound], unbound)
    for value in inputs:
        shape = value.type.tensor_type.shape
        for position, dim in enumerate(shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_value = bound[dim.dim_param or f"{value.name}:{position}"]
    for value in _other_values(model.graph):
        for shape in _shapes(value):
            _substitute(shape, bound)
    return bound


def _symbolic_axes(value: ValueInfoProto) -> Iterator[_Axis]:
    tensor_type = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor_type.HasField("shape"):
        raise UnknownShapeError(
            f"graph input {value.name!r} states no shape, not even its rank; export the model "
            "with the shapes of its inputs"
        )
    for position, dim in enumerate(tensor_type.shape.dim):
        if not dim.HasField("dim_value"):
            yield _Axis(dim.dim_param or f"{value.name}:{position}", value.name, position)
        elif dim.dim_value < 0:
            raise BadBindingError(
                f"graph input {value.name!r} has the negative extent {dim.dim_value} at axis "
                f"{position}; a dimension is at least 0, or a symbol"
            )


def _check(dims: Mapping[str, int], symbols: set[str]) -> None:
    for key, extent in dims.items():
        if key not in symbols:
            known = ", ".join(map(repr, sorted(symbols))) or "none"
            raise BadBindingError(
                f"dims binds {key!r}, but the inputs have no such symbolic dimension (they have: "
                f"{known})",
                loc=("dims", key),
            )
        if not 1 <= extent <= LARGEST_DIMENSION:
            raise BadBindingError(
                f"dims binds {key!r} to {extent}; a dimension is from 1 to {LARGEST_DIMENSION}",
                loc=("dims", key),
            )


def _unbound(axes: Sequence[_Axis], unbound: Sequence[str]) -> UnboundDimensionError:
    places = "; ".join(
        f"{axis.key!r} is axis {axis.position} of {axis.input_name!r}" for axis in axes
    )
    example = ", ".join(f'"{key}": 128' for key in unbound)
    return UnboundDimensionError(
        f"symbolic dimensions without a value: {places}; bind each in the field dims, for example "
        f"dims={{{example}}}",
        loc=("dims",),
    )


def _other_values(graph: GraphProto) -> Iterator[ValueInfoProto]:
    yield from graph.value_info
    yield from graph.output
    for node in graph.node:
        for body in bodies(node):
            yield from body.input
            yield from _other_values(body)


def _shapes(value: ValueInfoProto) -> Iterator[TensorShapeProto]:
    if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
        yield value.type.tensor_type.shape


def _substitute(shape: TensorShapeProto, bound: Mapping[str, int]) -> None:
    for dim in shape.dim:
        if dim.dim_param in bound:
            dim.dim_value = bound[dim.dim_param]
        elif dim.dim_param:
            dim.ClearField("dim_param")
