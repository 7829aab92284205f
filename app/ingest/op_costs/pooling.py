"""Pooling: one operation per element of the window, those in the padding included.

A window larger than the whole input counts as large as the input: exporters write adaptive and
global pools so (the 1280 x 1280 window of torch's EfficientNet over 7 x 7 elements).
"""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    extents,
    input_elements,
    input_shape,
    integer,
    output_elements,
)

TABLE = Table()


def pool(node: NodeView) -> int:
    """FLOPs of a maximum or average over each window, channels first or last."""
    kernel = extents(node, "kernel_shape")
    shape = input_shape(node, 0, rank=2)
    is_last = node.op_type.startswith("Nhwc") or integer(node, "channels_last", 0)
    image = shape[1:-1] if is_last else shape[2:]
    if len(image) != len(kernel):
        raise InvalidNode(node, f"a window {kernel} over an input of shape {shape}")
    return prod(map(min, kernel, image)) * output_elements(node)


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
