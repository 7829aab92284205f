"""Symbolic dimensions: which a model has, and binding them to integers.

Those of the graph inputs have to be bound. Others stand in stored ``value_info``: such as
``2*batch``, which follow from the inputs, or such as the number of detections, which only running
the model would tell; whoever knows a typical number binds it as well, and so gives the tensor a
size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, TensorShapeProto, ValueInfoProto

from app.errors import BadBindingError, UnboundDimensionError
from app.ingest.captures import bodies

LARGEST_DIMENSION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Axis:
    """One symbolic axis of a graph input; ``key`` is what ``dims`` calls it."""

    key: str
    input_name: str
    position: int

    @property
    def place(self) -> str:
        """What ``dims`` may call it whatever its symbol."""
        return f"{self.input_name}:{self.position}"


@dataclass(frozen=True, slots=True)
class Claim:
    """The extent of an inner tensor's axis, by the word of ``dims``."""

    key: str
    name: str
    position: int
    extent: int


@dataclass(frozen=True, slots=True)
class Binding:
    """What each symbolic dimension was bound to, and what that claims of inner tensors."""

    extents: dict[str, int]
    claims: list[Claim]


def bind(model: ModelProto, input_names: Sequence[str], dims: Mapping[str, int]) -> Binding:
    """Bind every symbolic dimension of the graph inputs, in place.

    ``dims`` names a dimension by its symbol, or by a place where an input has it, ``input:axis``,
    as it has to where there is no symbol. A first axis that it leaves out is the batch, and bound
    to 1. Symbols that remain in stored
    ``value_info`` are cleared, for shape inference to work out again.

    Raises ``BadBindingError`` or ``UnboundDimensionError``.
    """
    clear_negative_extents(model.graph)
    names = set(input_names)
    inputs = [value for value in model.graph.input if value.name in names]
    axes = [axis for value in inputs for axis in _symbolic_axes(value)]
    others = [shape for value in _other_values(model.graph) for shape in _shapes(value)]
    inner = {dim.dim_param for shape in others for dim in shape.dim if dim.dim_param}
    symbols = {axis.key for axis in axes}
    dims = _by_symbol(dims, axes)
    _check(dims, symbols, inner)
    claims = [
        Claim(dim.dim_param, value.name, position, dims[dim.dim_param])
        for value in (*model.graph.value_info, *model.graph.output)
        for position, dim in enumerate(value.type.tensor_type.shape.dim)
        if dim.dim_param in dims and dim.dim_param not in symbols
    ]
    bound = {axis.key: 1 for axis in axes if axis.position == 0} | dict(dims)
    unbound = list(dict.fromkeys(axis.key for axis in axes if axis.key not in bound))
    if unbound:
        raise _unbound([axis for axis in axes if axis.key in unbound], unbound)
    for value in inputs:
        shape = value.type.tensor_type.shape
        for position, dim in enumerate(shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_value = bound[dim.dim_param or f"{value.name}:{position}"]
    for shape in others:
        _substitute(shape, bound)
    return Binding(bound, claims)


def _by_symbol(dims: Mapping[str, int], axes: Sequence[_Axis]) -> dict[str, int]:
    """The same with symbols for places. Raises ``BadBindingError`` where two contradict."""
    symbol_at = {axis.place: axis.key for axis in axes}
    bound: dict[str, int] = {}
    for key, extent in dims.items():
        symbol = symbol_at.get(key, key)
        if bound.setdefault(symbol, extent) != extent:
            raise BadBindingError(
                f"dims binds the dimension {symbol!r} both to {bound[symbol]} and to {extent} (as "
                f"{key!r}); it has one extent",
                loc=("dims", key),
            )
    return bound


def _symbolic_axes(value: ValueInfoProto) -> Iterator[_Axis]:
    tensor_type = value.type.tensor_type
    for position, dim in enumerate(tensor_type.shape.dim):
        if not dim.HasField("dim_value"):
            yield _Axis(dim.dim_param or f"{value.name}:{position}", value.name, position)


def require_agreement(
    claims: Sequence["Claim"], shape_of: Callable[[str], tuple[int, ...] | None]
) -> None:
    """Raise ``BadBindingError`` where inference knows another extent than ``dims`` claims."""
    for claim in claims:
        shape = shape_of(claim.name)
        if shape is None or claim.position >= len(shape):
            continue
        if shape[claim.position] != claim.extent:
            raise BadBindingError(
                f"dims binds {claim.key!r} to {claim.extent}, but axis {claim.position} of tensor "
                f"{claim.name!r}, which has that dimension, is {shape[claim.position]} with the "
                "inputs as they are bound; leave it out",
                loc=("dims", claim.key),
            )


def _check(dims: Mapping[str, int], symbols: set[str], inner: set[str]) -> None:
    for key, extent in dims.items():
        if key not in symbols and key not in inner:
            known = ", ".join(map(repr, sorted(symbols))) or "none"
            raise BadBindingError(
                f"dims binds {key!r}, but the model has no such symbolic dimension (its inputs "
                f"have: {known})",
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


def clear_negative_extents(graph: GraphProto) -> None:
    """Old tools write -1 where they mean a dimension without a name."""
    for value in (*graph.input, *_other_values(graph)):
        for shape in _shapes(value):
            for dim in shape.dim:
                if dim.dim_value < 0:
                    dim.ClearField("dim_value")


def _shapes(value: ValueInfoProto) -> Iterator[TensorShapeProto]:
    if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
        yield value.type.tensor_type.shape


def _substitute(shape: TensorShapeProto, bound: Mapping[str, int]) -> None:
    for dim in shape.dim:
        if dim.dim_param in bound:
            dim.dim_value = bound[dim.dim_param]
        elif dim.dim_param:
            dim.ClearField("dim_param")
