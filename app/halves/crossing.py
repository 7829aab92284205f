"""Types of the tensors that cross, as the halves state them.

A model that has no symbolic dimension has the shapes that it was costed with. In any other these
hold for one batch alone, so an extent is stated only where it holds for all: where onnx infers it
from the model as the file states it. All else of a shape is left open.
"""

from collections.abc import Iterable

import onnx.shape_inference
from onnx import ModelProto, TensorShapeProto, ValueInfoProto, helper

from app.core.dag import NO_PRODUCER
from app.ingest import DissectedModel
from app.ingest.dimensions import clear_negative_extents
from app.ingest.element_types import DATA_TYPES
from app.ingest.weights import strip_weights


def crossing_types(model: DissectedModel, names: Iterable[str]) -> dict[str, ValueInfoProto]:
    """The types of cut tensors, by name; of graph inputs as the file states them."""
    dag = model.ingested.dag
    wanted = set(names)
    stated = {value.name: value for value in model.flat.graph.input}
    inferred = _inferred(model) if model.ingested.facts.bound_dims else None
    symbols = {
        dim.dim_param
        for value in model.flat.graph.input
        for dim in value.type.tensor_type.shape.dim
    }
    types = {}
    for index, name in enumerate(dag.tensor_names):
        if name not in wanted:
            continue
        if dag.tensor_producers[index] == NO_PRODUCER and name in stated:
            types[name] = stated[name]
            continue
        extents: list[int | str | None] = list(dag.tensor_shapes[index] or ())
        if inferred is not None:
            extents = _open(extents, inferred.get(name), symbols)
        data_type = DATA_TYPES[dag.tensor_dtypes[index]]
        types[name] = helper.make_tensor_value_info(name, data_type, extents)
    return types


def _open(
    extents: list[int | str | None], shape: TensorShapeProto | None, symbols: set[str]
) -> list[int | str | None]:
    """Of the extents of one batch those that hold for all."""
    if shape is None or len(shape.dim) != len(extents):
        return [None] * len(extents)
    return [
        extent
        if dim.HasField("dim_value") and dim.dim_value == extent
        else (dim.dim_param if dim.dim_param in symbols else None) or None
        for extent, dim in zip(extents, shape.dim, strict=True)
    ]


def _inferred(model: DissectedModel) -> dict[str, TensorShapeProto]:
    """What onnx knows of the shapes of the model before its dimensions are bound."""
    unbound = ModelProto()
    unbound.CopyFrom(model.flat)
    strip_weights(unbound)
    clear_negative_extents(unbound.graph)
    unbound.ir_version = max(unbound.ir_version, 4)
    try:
        found = onnx.shape_inference.infer_shapes(unbound, data_prop=True)
    except Exception:  # noqa: BLE001 - whatever onnx stumbles over, the shapes stay open
        return {}
    values = (*found.graph.value_info, *found.graph.output)
    return {
        value.name: value.type.tensor_type.shape
        for value in values
        if value.type.tensor_type.HasField("shape")
    }
