"""The registry: every family's entries, and the cost of a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from app.ingest.op_costs import (
    attention,
    convolution,
    einsum,
    elementwise,
    generation,
    linear,
    microsoft,
    microsoft_attention,
    microsoft_normalisation,
    microsoft_quantised,
    ml,
    movement,
    normalisation,
    pooling,
    quantisation,
    recurrent,
    reduction,
    sampling,
    selection,
    sequence,
    signal,
    training,
)
from app.ingest.op_costs.entry import CostEntry, Key, NodeCost, Table
from app.ingest.op_costs.views import NodeView, output_elements

COSTED_BY_BODIES = frozenset({("", "If"), ("", "Loop"), ("", "Scan"), ("", "SequenceMap")})
"""Operators whose cost is that of the graphs that they carry (``app.ingest.costing``)."""

_TABLES: tuple[Table, ...] = (
    attention.TABLE,
    attention.PREVIEW,
    convolution.TABLE,
    einsum.TABLE,
    elementwise.TABLE,
    generation.TABLE,
    linear.TABLE,
    microsoft.TABLE,
    microsoft.BLOCKED,
    microsoft_attention.TABLE,
    microsoft_normalisation.TABLE,
    microsoft_normalisation.DEFAULT_DOMAIN,
    microsoft_quantised.TABLE,
    ml.TABLE,
    movement.TABLE,
    normalisation.TABLE,
    pooling.TABLE,
    quantisation.TABLE,
    recurrent.TABLE,
    reduction.TABLE,
    sampling.TABLE,
    selection.TABLE,
    sequence.TABLE,
    signal.TABLE,
    training.TABLE,
)


def merge(tables: Iterable[Table]) -> Mapping[Key, CostEntry]:
    """One read-only mapping of all tables' entries; an operator declared twice is an error."""
    merged: dict[Key, CostEntry] = {}
    for entry in (entry for table in tables for entry in table):
        key = (entry.domain, entry.op_type)
        if key in merged:
            raise ValueError(f"{key} is declared twice")
        merged[key] = entry
    return MappingProxyType(merged)


_ENTRIES = merge(_TABLES)


def entries() -> Mapping[Key, CostEntry]:
    """All entries by (domain, operator type), read-only."""
    return _ENTRIES


def flops_of(node: NodeView) -> NodeCost:
    """Forward FLOPs of one node.

    An operator without an entry counts the elements of its outputs. Raises UnknownShape when a
    shape that the cost needs is unknown, and InvalidNode when the node contradicts its
    operator.
    """
    domain = "" if node.domain == "ai.onnx" else node.domain
    entry = _ENTRIES.get((domain, node.op_type))
    if entry is not None:
        return NodeCost(entry.cost(node), "entry")
    given = (i for i, tensor in enumerate(node.outputs) if tensor is not None)
    return NodeCost(sum(output_elements(node, i) for i in given), "output_elements")
