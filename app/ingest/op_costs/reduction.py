"""Reductions: one operation per input element, and what comes before and after."""

from __future__ import annotations

from app.ingest.op_costs.entry import CostFunction, Table
from app.ingest.op_costs.views import (
    NodeView,
    has_input,
    input_elements,
    integer,
    output_elements,
)

TABLE = Table()


def _keeps_every_axis(node: NodeView) -> bool:
    """Whether `noop_with_empty_axes` leaves nothing to reduce."""
    if not integer(node, "noop_with_empty_axes", 0):
        return False
    return not has_input(node, 1) or input_elements(node, 1) == 0


def reduction(before: int, finish: int, *, averages: bool = False) -> CostFunction:
    """Per input element `before` FLOPs and 1 to combine, per output element `finish`.

    `averages` adds the division of a mean, which a reduction over no axis does not need.
    """

    def cost(node: NodeView) -> int:
        flops = before * input_elements(node) + finish * output_elements(node)
        if not _keeps_every_axis(node):
            flops += input_elements(node) + (output_elements(node) if averages else 0)
        return flops

    return cost


_FAMILY: dict[str, tuple[CostFunction, str]] = {
    "ReduceL1": (reduction(1, 0), "sum |x|: 2 per input element"),
    "ReduceL2": (reduction(1, 1), "sqrt(sum x^2): 2 per input element, 1 per output"),
    "ReduceLogSum": (reduction(0, 1), "log(sum x): 1 per input element, 1 per output"),
    "ReduceLogSumExp": (
        reduction(1, 1),
        "log(sum exp(x)): 2 per input element, 1 per output",
    ),
    "ReduceMax": (reduction(0, 0), "1 comparison per input element"),
    "ReduceMean": (
        reduction(0, 0, averages=True),
        "1 addition per input element, 1 division per output",
    ),
    "ReduceMin": (reduction(0, 0), "1 comparison per input element"),
    "ReduceProd": (reduction(0, 0), "1 product per input element"),
    "ReduceSum": (reduction(0, 0), "1 addition per input element"),
    "ReduceSumSquare": (reduction(1, 0), "sum x^2: 2 per input element"),
    "ArgMax": (input_elements, "1 comparison per input element"),
    "ArgMin": (input_elements, "1 comparison per input element"),
    "CumSum": (input_elements, "1 addition per element"),
    "CumProd": (input_elements, "1 product per element"),
}

for _name, (_cost, _source) in _FAMILY.items():
    TABLE.add(_name, _cost, _source)
