"""A registry entry, and the table in which one family of operators declares its entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from app.ingest.op_costs.views import NodeView, output_elements

CostFunction = Callable[[NodeView], int]
Key = tuple[str, str]
Basis = Literal["entry", "output_elements"]


@dataclass(frozen=True, slots=True)
class NodeCost:
    """Forward FLOPs of one node, and whether an entry or its output elements gave them."""

    flops: int
    basis: Basis


@dataclass(frozen=True, slots=True)
class CostEntry:
    """How one operator is counted.

    `cost` gives FLOPs, `source` cites the operator's definition and the formula drawn from it,
    and `reason` tells, for an operator that is always zero, why it is.
    """

    domain: str
    op_type: str
    cost: CostFunction
    source: str
    reason: str | None = None


def per_output(flops: int) -> CostFunction:
    """A cost of `flops` FLOPs for each element of output 0."""
    return lambda node: flops * output_elements(node)


def _zero(node: NodeView) -> int:
    return 0


class Table:
    """The entries of one family of operators in one domain."""

    def __init__(self, domain: str = "", authority: str = "ONNX operator") -> None:
        self._domain = domain
        self._authority = authority
        self._entries: dict[Key, CostEntry] = {}

    def __iter__(self) -> Iterator[CostEntry]:
        return iter(self._entries.values())

    def add(self, op_type: str, cost: CostFunction, source: str) -> None:
        """Declare one operator with its FLOPs and the part of its definition that gives them."""
        self._put(op_type, cost, source, None)

    def cost(self, *op_types: str, source: str) -> Callable[[CostFunction], CostFunction]:
        """Decorator of the cost function that these operators share."""

        def register(function: CostFunction) -> CostFunction:
            for op_type in op_types:
                self.add(op_type, function, source)
            return function

        return register

    def elementwise(self, rows: Mapping[str, tuple[int, str]]) -> None:
        """Declare operators with a fixed number of FLOPs per element of output 0."""
        for op_type, (flops, formula) in rows.items():
            self.add(op_type, per_output(flops), f"{formula}: {flops} per output element")

    def zeros(self, rows: Mapping[str, str]) -> None:
        """Declare operators without arithmetic, each with the reason."""
        for op_type, reason in rows.items():
            self._put(op_type, _zero, reason, reason)

    def _put(self, op_type: str, cost: CostFunction, source: str, reason: str | None) -> None:
        key = (self._domain, op_type)
        if key in self._entries:
            raise ValueError(f"{key} is declared twice")
        citation = f"{self._authority} {op_type}: {source}"
        self._entries[key] = CostEntry(self._domain, op_type, cost, citation, reason)
