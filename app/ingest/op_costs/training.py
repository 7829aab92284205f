"""Optimiser steps of ai.onnx.preview.training, per element of the optimised tensors."""

from __future__ import annotations

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import NodeView, input_elements, text

SCALARS = 2  # the learning rate and the update count come first

TABLE = Table("ai.onnx.preview.training")


def _optimised(node: NodeView, tensors_each: int) -> int:
    """Elements of the tensors to optimise, each followed by `tensors_each - 1` states."""
    count = (len(node.inputs) - SCALARS) // tensors_each
    return sum(input_elements(node, SCALARS + i) for i in range(count))


@TABLE.cost("Adagrad", source="G' 2, H + G'^2 2, sqrt + epsilon 2, X - r G' / H 3: 9 per element")
def _adagrad(node: NodeView) -> int:
    return 9 * _optimised(node, 3)


@TABLE.cost(
    "Adam",
    source="G' 2, V 3, H 4, sqrt + epsilon 2, X - R V / H 3, final scale 1: 15 per element",
)
def _adam(node: NodeView) -> int:
    return 15 * _optimised(node, 4)


@TABLE.cost(
    "Momentum",
    source="G' 2, V 3, X - R V 2: 7 per element; nesterov adds alpha V + G': 9",
)
def _momentum(node: NodeView) -> int:
    nesterov = text(node, "mode", "standard") == "nesterov"
    return (9 if nesterov else 7) * _optimised(node, 3)
