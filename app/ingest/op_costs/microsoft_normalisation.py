"""com.microsoft: normalisations fused with the sums, lookups and activations around them."""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.convolution import SILU
from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.microsoft import AUTHORITY
from app.ingest.op_costs.normalisation import (
    LAYER_NORM,
    RMS_NORM,
    group_normalised,
    rms_normalisation,
    rms_normalised,
    standardised,
)
from app.ingest.op_costs.quantisation import DEQUANTISE
from app.ingest.op_costs.views import (
    NodeView,
    Shape,
    has_input,
    input_elements,
    input_shape,
    integer,
    output_shape,
    positive,
)

TABLE = Table("com.microsoft", AUTHORITY)
DEFAULT_DOMAIN = Table("", AUTHORITY)

# ONNX Runtime registers this operator in the default domain, older tools in com.microsoft.
TABLE.add("SimplifiedLayerNormalization", rms_normalisation, RMS_NORM)
DEFAULT_DOMAIN.add("SimplifiedLayerNormalization", rms_normalisation, RMS_NORM)


def _rows(shape: Shape) -> int:
    return prod(shape[:-1]) if prod(shape) else 0


@TABLE.cost(
    "SkipLayerNormalization",
    source=f"input + skip (+ bias), then {LAYER_NORM}",
)
def _skip_layer(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=1)
    sums = prod(shape) * (2 if has_input(node, 4) else 1)
    return sums + standardised(prod(shape), _rows(shape), shift=has_input(node, 3))


@TABLE.cost("SkipSimplifiedLayerNormalization", source=f"input + skip (+ bias), then {RMS_NORM}")
def _skip_rms(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=1)
    sums = prod(shape) * (2 if has_input(node, 3) else 1)
    return sums + rms_normalised(prod(shape), _rows(shape))


def _embedding(node: NodeView) -> int:
    shape = output_shape(node, rank=1)
    sums = prod(shape) * (2 if has_input(node, 1) else 1)
    counted_mask = input_elements(node, 7) if has_input(node, 7) else 0
    return sums + counted_mask + standardised(prod(shape), _rows(shape), shift=True)


TABLE.add(
    "EmbedLayerNormalization",
    _embedding,
    f"sum of the looked-up embeddings, then {LAYER_NORM}; 1 per mask element",
)


@TABLE.cost(
    "QEmbedLayerNormalization",
    source="EmbedLayerNormalization on looked-up rows that are dequantised, 2 per element",
)
def _quantised_embedding(node: NodeView) -> int:
    lookups = 3 if has_input(node, 1) else 2
    return _embedding(node) + DEQUANTISE * lookups * prod(output_shape(node))


def _group_norm(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=1)
    groups = shape[0] * positive(node, "groups") if prod(shape) else 0
    silu = SILU * prod(shape) if integer(node, "activation", 0) else 0
    return group_normalised(prod(shape), groups) + silu


TABLE.add("GroupNorm", _group_norm, "as ONNX GroupNormalization: 7 N + 4 G, and SiLU: 5 N")


@TABLE.cost("SkipGroupNorm", source="X + skip (+ bias), then GroupNorm")
def _skip_group_norm(node: NodeView) -> int:
    return _group_norm(node) + input_elements(node) * (2 if has_input(node, 4) else 1)
