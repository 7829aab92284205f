"""Matrix products and determinants."""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.quantisation import QUANTISE
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    Shape,
    broadcast,
    has_input,
    input_elements,
    input_shape,
    integer,
    output_elements,
    real,
)

TABLE = Table()


def matrix_product(node: NodeView, a: Shape, b: Shape) -> int:
    """FLOPs of a NumPy matrix product, with 1-D operands and broadcast leading dimensions."""
    rows, columns = (1, *a)[-2:], (*b, 1)[:2] if len(b) == 1 else b[-2:]
    if rows[1] != columns[0]:
        raise InvalidNode(node, f"inner extents differ: {a} and {b}")
    batch = prod(broadcast(node, a[:-2], b[:-2]))
    return 2 * batch * rows[0] * rows[1] * columns[1]


def matmul(node: NodeView, second: int = 1) -> int:
    """FLOPs of the matrix product of input 0 and input `second`."""
    a, b = input_shape(node, 0, rank=1), input_shape(node, second, rank=1)
    return matrix_product(node, a, b)


def gemm_product(node: NodeView, second: int = 1) -> int:
    """FLOPs of A' * B' (M x K by K x N), the scaling by alpha included."""
    a, b = input_shape(node, 0, rank=2)[-2:], input_shape(node, second, rank=2)[-2:]
    a = a[::-1] if integer(node, "transA", 0) else a
    b = b[::-1] if integer(node, "transB", 0) else b
    scaling = 0 if real(node, "alpha", 1.0) == 1.0 else a[0] * b[1]
    return matrix_product(node, a, b) + scaling


@TABLE.cost(
    "Gemm",
    source="alpha * A' * B' + beta * C: M * N dot products of length K; a scale other than 1 "
    "costs 1 per scaled element",
)
def gemm(node: NodeView) -> int:
    """FLOPs of a general matrix product; C is the accumulator's start."""
    scaled = has_input(node, 2) and real(node, "beta", 1.0) != 1.0
    return gemm_product(node) + (input_elements(node, 2) if scaled else 0)


TABLE.add(
    "MatMul", matmul, "numpy.matmul: batch * M * N dot products of length K, batches broadcast"
)


@TABLE.cost("MatMulInteger", source="MatMul on A - a_zero_point; B's zero point is folded")
def _matmul_integer(node: NodeView) -> int:
    return matmul(node) + (input_elements(node) if has_input(node, 2) else 0)


@TABLE.cost(
    "QLinearMatMul",
    source="MatMul on a - a_zero_point, then scale, round, zero point and saturate per output",
)
def _matmul_quantised(node: NodeView) -> int:
    return matmul(node, 3) + input_elements(node) + QUANTISE * output_elements(node)


@TABLE.cost(
    "Det",
    source="elimination of each n x n matrix: n(n-1)/2 divisions, n(n-1)(2n-1)/3 for the "
    "updates, n-1 products of pivots",
)
def _determinant(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=2)
    n = shape[-1]
    elimination = n * (n - 1) // 2 + n * (n - 1) * (2 * n - 1) // 3
    return prod(shape[:-2]) * (elimination + max(n - 1, 0))
