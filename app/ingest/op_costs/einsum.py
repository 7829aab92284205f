"""Einsum: operands are contracted from left to right, two at a time.

Contracting a pair takes, for every point of the space of all its indices, one product and,
when an index ends there, one addition. An index ends when neither a later operand nor the
output has it. With two operands that is 2 * product of all extents, as for a matrix product,
or 1 * that product when nothing is summed (an outer or element-wise product). One operand has
no product, and so costs one addition per element of its index space when it is summed.
"""

from __future__ import annotations

from collections import Counter
from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    Shape,
    broadcast,
    input_shape,
    text,
)

Labels = tuple[str, ...]

TABLE = Table()


def _labels(node: NodeView, term: str, ellipsis: int) -> Labels:
    """Labels of a term; the dimensions of an ellipsis are numbered from the last."""
    head, dots, tail = term.partition("...")
    if not all(c.isascii() and c.isalpha() for c in head + tail):
        raise InvalidNode(node, f"bad term {term!r}")
    middle = tuple(f"...{i}" for i in range(ellipsis, 0, -1)) if dots else ()
    return (*head, *middle, *tail)


def _operand_labels(node: NodeView, term: str, shape: Shape) -> Labels:
    ellipsis = len(shape) - len(term.replace("...", ""))
    labels = _labels(node, term, max(ellipsis, 0))
    if len(labels) != len(shape):
        raise InvalidNode(node, f"term {term!r} does not fit shape {shape}")
    return labels


def _output_labels(node: NodeView, term: str | None, operands: list[Labels]) -> set[str]:
    dots = {label for labels in operands for label in labels if label.startswith("...")}
    if term is None:
        counts = Counter(label for labels in operands for label in labels)
        return dots | {label for label, count in counts.items() if count == 1}
    return set(_labels(node, term, len(dots)))


def _extents(node: NodeView, operands: list[Labels], shapes: list[Shape]) -> dict[str, int]:
    found: dict[str, int] = {}
    for labels, shape in zip(operands, shapes, strict=True):
        for label, extent in zip(labels, shape, strict=True):
            (found[label],) = broadcast(node, (found.get(label, 1),), (extent,))
    return found


@TABLE.cost(
    "Einsum",
    source="sum of products over the equation's indices: per pair of operands from left to "
    "right, product of extents * (1 product + 1 addition if an index is summed)",
)
def _einsum(node: NodeView) -> int:
    equation = "".join(text(node, "equation", "").split())
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(node.inputs):
        raise InvalidNode(node, f"{equation!r} does not fit {len(node.inputs)} inputs")
    shapes = [input_shape(node, i) for i in range(len(terms))]
    operands = [_operand_labels(node, t, s) for t, s in zip(terms, shapes, strict=True)]
    output = _output_labels(node, right if arrow else None, operands)
    extents = _extents(node, operands, shapes)
    if not output <= extents.keys():
        raise InvalidNode(node, f"equation {equation!r} has an output index no input has")
    return _contract([set(labels) for labels in operands], output, extents)


def _contract(operands: list[set[str]], output: set[str], extents: dict[str, int]) -> int:
    """FLOPs of contracting the operands in turn into the first."""
    if len(operands) == 1:
        summed = bool(operands[0] - output)
        return prod(extents[label] for label in operands[0]) * summed
    flops, current = 0, operands[0]
    for position, operand in enumerate(operands[1:], start=2):
        space = current | operand
        current = space & output.union(*operands[position:])
        flops += prod(extents[label] for label in space) * (2 if current != space else 1)
    return flops
