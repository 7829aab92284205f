"""Pooling: one operation per element of the window, those in the padding included."""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import (
    NodeView,
    extents,
    input_elements,
    input_shape,
    output_elements,
)

TABLE = Table()


def pool(node: NodeView) -> int:
    """FLOPs of a maximum or average over each window."""
    return prod(extents(node, "kernel_shape")) * output_elements(node)


TABLE.add(
    "AveragePool", pool, "k - 1 additions and 1 division per output element, k = prod(kernel)"
)
TABLE.add("MaxPool", pool, "k comparisons per output element, k = prod(kernel)")
TABLE.add("GlobalAveragePool", input_elements, "AveragePool whose kernel is the spatial extent")
TABLE.add("GlobalMaxPool", input_elements, "MaxPool whose kernel is the spatial extent")


@TABLE.cost(
    "LpPool",
    source="(sum |x|^p)^(1/p): absolute value, power and addition per element of the window, "
    "and 1 root: 3 k + 1 per output element",
)
def lp_pool(node: NodeView) -> int:
    """FLOPs of an Lp norm of each window."""
    return 3 * pool(node) + output_elements(node)


@TABLE.cost("GlobalLpPool", source="LpPool whose kernel is the spatial extent: 3 N + 1 per output")
def global_lp_pool(node: NodeView) -> int:
    """FLOPs of an Lp norm of each channel."""
    return 3 * input_elements(node) + output_elements(node)


@TABLE.cost(
    "MaxRoiPool",
    source="1 comparison per element of each region; the regions' sizes are data, so each is "
    "taken as the whole feature map (upper bound)",
)
def _max_roi_pool(node: NodeView) -> int:
    return input_shape(node, 1, rank=1)[0] * prod(input_shape(node, 0, rank=1)[1:])
