"""Types and shapes of every value of a model.

What inference works out wins over what the file states: stored shapes go stale when a model's
inputs are edited, and dims changes the inputs. A stored shape serves where inference has no answer.

onnx's inference carries values through a few operators only, and reads the arguments of many
(Slice, Range, Expand) from initializers alone. So where it leaves shapes open, the arithmetic on
shapes is carried out here, its results are put in place of the nodes that computed them, and
inference runs again, until nothing more becomes known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx.shape_inference
from onnx import ModelProto, TypeProto, ValueInfoProto, numpy_helper

from app.errors import InvalidModelError
from app.ingest.reasons import reason
from app.ingest.shape_arithmetic import Array, known_values

MOST_ROUNDS = 8
"""Each round resolves a layer of shapes that hang on values that hang on shapes; few are nested."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """Element type by ``TensorProto.DataType``; ``shape`` None where any extent is unknown."""

    dtype: int
    shape: tuple[int, ...] | None


def infer_shapes(model: ModelProto) -> dict[str, ValueType]:
    """Every value of the main graph whose type is known; takes the stored shapes from ``model``.

    Raises ``InvalidModelError`` where inference finds types or shapes that contradict each other.
    """
    stored = _take_stored(model)
    types = _inferred(model)
    known = {name for name, type_ in types.items() if type_.shape is not None}
    helpful = [value for value in stored if value.name not in known]
    if not helpful:
        return types
    model.graph.value_info.extend(helpful)
    return _inferred(model)


def _take_stored(model: ModelProto) -> list[ValueInfoProto]:
    """Remove the types and shapes that the file states for what nodes make; what they were."""
    stored = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    outputs = [ValueInfoProto(name=value.name) for value in model.graph.output]
    del model.graph.value_info[:]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return list(stored.values())


def _inferred(model: ModelProto) -> dict[str, ValueType]:
    types = _infer(model)
    values: dict[str, Array] = {}
    for _ in range(MOST_ROUNDS):
        if all(type_.shape is not None for type_ in _made(model, types)):
            break
        shapes = {name: type_.shape for name, type_ in types.items() if type_.shape is not None}
        found = known_values(model, shapes)
        if len(found) == len(values):
            break
        values = found
        types = types | _infer(_with_values(model, found))
    return types


def _made(model: ModelProto, types: dict[str, ValueType]) -> Iterator[ValueType]:
    unknown = ValueType(0, None)
    for node in model.graph.node:
        for name in node.output:
            if name:
                yield types.get(name, unknown)


def _infer(model: ModelProto) -> dict[str, ValueType]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except UnicodeDecodeError:
        raise
    except MemoryError as error:
        raise InvalidModelError(
            "the model's shapes cannot be worked out in memory; check its dimensions"
        ) from error
    except Exception as error:  # InferenceError, and what else its C++ throws
        raise InvalidModelError(
            f"the model's shapes contradict each other: {reason(error)}"
        ) from error
    types = {value.name: _value_type(value.type) for value in _values(inferred)}
    for tensor in inferred.graph.initializer:
        types[tensor.name] = ValueType(tensor.data_type, tuple(tensor.dims))
    return types


def _with_values(model: ModelProto, values: Mapping[str, Array]) -> ModelProto:
    """A copy in which known values are initializers and the nodes that made them are gone."""
    copy = ModelProto()
    copy.CopyFrom(model)
    kept = [node for node in copy.graph.node if not all(name in values for name in node.output)]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    made = {name for node in kept for name in node.output}
    present = {tensor.name for tensor in copy.graph.initializer} | made
    copy.graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in values.items()
        if name not in present
    )
    return copy


def _values(model: ModelProto) -> Iterator[ValueInfoProto]:
    yield from model.graph.input
    yield from model.graph.output
    yield from model.graph.value_info


def _value_type(value_type: TypeProto) -> ValueType:
    tensor_type = value_type.tensor_type
    if not value_type.HasField("tensor_type"):
        return ValueType(0, None)
    known = tensor_type.HasField("shape") and all(
        dim.HasField("dim_value") and dim.dim_value >= 0 for dim in tensor_type.shape.dim
    )
    shape = tuple(dim.dim_value for dim in tensor_type.shape.dim) if known else None
    return ValueType(tensor_type.elem_type, shape)
