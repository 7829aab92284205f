"""Operators that make values: ranges, random draws and windows. One random draw counts 1."""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import (
    NodeView,
    input_shape,
    log2_ceil,
    output_elements,
)

TABLE = Table()

TABLE.elementwise(
    {
        "Bernoulli": (2, "draw and comparison with the probability"),
        "BlackmanWindow": (10, "0.42 - 0.5 * cos(2 pi n / N) + 0.08 * cos(4 pi n / N)"),
        "HammingWindow": (5, "a - b * cos(2 pi n / N)"),
        "HannWindow": (5, "a - b * cos(2 pi n / N)"),
        "MelWeightMatrix": (6, "min of the two slopes of a triangle, at least 0"),
        "RandomNormal": (3, "mean + scale * draw"),
        "RandomNormalLike": (3, "mean + scale * draw"),
        "RandomUniform": (3, "low + (high - low) * draw"),
        "RandomUniformLike": (3, "low + (high - low) * draw"),
        "Range": (2, "start + i * delta"),
    }
)


@TABLE.cost(
    "Multinomial",
    source="exp and running sum per log-probability (2); per sample a draw, its scaling and a "
    "binary search over C classes: 2 + ceil(log2 C)",
)
def _multinomial(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=2)
    return 2 * prod(shape) + (2 + log2_ceil(shape[1])) * output_elements(node)
