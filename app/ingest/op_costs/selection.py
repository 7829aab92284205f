"""Sorting, searching and suppressing; comparisons are counted."""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import (
    NodeView,
    axis_of,
    has_input,
    input_elements,
    input_shape,
    integer,
    log2_ceil,
    output_shape,
    scalar_input,
)

AREA = 3  # of a box: two extents and their product
OVERLAP = 13  # intersection 9, union 2, ratio 1, comparison 1

TABLE = Table()


@TABLE.cost(
    "TopK",
    source="a heap of the k best: each of n elements costs ceil(log2 k) comparisons, at least 1",
)
def _top_k(node: NodeView) -> int:
    kept = output_shape(node, rank=1)
    k = kept[axis_of(node, integer(node, "axis", -1), len(kept))]
    return input_elements(node) * max(log2_ceil(k), 1) if k else 0


@TABLE.cost("Unique", source="sorting n elements: n * ceil(log2 n) comparisons")
def unique(node: NodeView) -> int:
    """FLOPs of sorting input 0."""
    elements = input_elements(node)
    return elements * log2_ceil(elements)


@TABLE.cost("NonZero", source="1 comparison per input element")
def _non_zero(node: NodeView) -> int:
    return input_elements(node)


@TABLE.cost(
    "NonMaxSuppression",
    source="3 per box for its area; per batch and class a sort of n scores, a threshold, and "
    "13 per overlap of the s selected boxes with those after them, s n - s (s + 1) / 2; s is "
    "max_output_boxes_per_class, or n when its value is unknown (upper bound)",
)
def _suppress(node: NodeView) -> int:
    scores = input_shape(node, 1, rank=3)
    boxes = scores[2]
    limit = scalar_input(node, 2) if has_input(node, 2) else 0
    selected = boxes if limit is None else min(max(limit, 0), boxes)
    overlaps = selected * boxes - selected * (selected + 1) // 2
    threshold = boxes if has_input(node, 4) else 0
    per_class = boxes * log2_ceil(boxes) + threshold + OVERLAP * overlaps
    return scores[0] * (boxes * AREA + scores[1] * per_class) if prod(scores) else 0
