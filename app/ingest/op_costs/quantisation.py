"""Quantisation between floating point and integers, by stages."""

from __future__ import annotations

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import NodeView, has_input, input_elements, output_elements

QUANTISE = 4  # scale, round, add the zero point, saturate
DEQUANTISE = 2  # subtract the zero point, scale
_SCALE_AND_ZERO_POINT = 8  # of a dynamic quantisation, once per tensor

TABLE = Table()


def _quantise(node: NodeView) -> int:
    return (QUANTISE if has_input(node, 2) else QUANTISE - 1) * output_elements(node)


def _dequantise(node: NodeView) -> int:
    return (DEQUANTISE if has_input(node, 2) else DEQUANTISE - 1) * output_elements(node)


def dynamic_quantisation(elements: int) -> int:
    """FLOPs of finding the range of `elements` values, the scale, and quantising them."""
    return (2 + QUANTISE) * elements + (_SCALE_AND_ZERO_POINT if elements else 0)


@TABLE.cost(
    "DynamicQuantizeLinear",
    source="min and max (2 per element), scale and zero point (8), then quantise (4 per element)",
)
def _quantise_dynamically(node: NodeView) -> int:
    return dynamic_quantisation(input_elements(node))


def add_linear_quantisation(table: Table) -> None:
    """Declare QuantizeLinear and DequantizeLinear in a domain."""
    table.add(
        "QuantizeLinear",
        _quantise,
        "saturate(round(x / scale) + zero_point): 4 per output element, 3 without zero point",
    )
    table.add(
        "DequantizeLinear",
        _dequantise,
        "(x - zero_point) * scale: 2 per output element, 1 without zero point",
    )


add_linear_quantisation(TABLE)
