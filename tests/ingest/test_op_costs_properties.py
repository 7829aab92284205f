"""Properties of the linear operators' costs over drawn shapes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.ingest.test_op_costs import flops

EXTENT = st.integers(1, 9)
KERNEL = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
FACTOR = st.integers(0, 6)


@given(batch=EXTENT, factor=FACTOR, channels=EXTENT, filters=EXTENT, kernel=KERNEL, side=EXTENT)
def test_conv_is_linear_in_the_batch(
    batch: int, factor: int, channels: int, filters: int, kernel: tuple[int, ...], side: int
) -> None:
    """A batch `factor` times as large makes Conv, ConvTranspose and pools as many times dearer."""
    image = (side,) * len(kernel)
    out = tuple(side + k - 1 for k in kernel)

    def costs(samples: int) -> list[int]:
        x, y = (samples, channels, *image), (samples, filters, *out)
        return [
            flops("Conv", [x, (filters, channels, *kernel)], [y]),
            flops("ConvTranspose", [x, (channels, filters, *kernel)], [y]),
            flops("MaxPool", [x], [(samples, channels, *image)], kernel_shape=list(kernel)),
            flops("AveragePool", [x], [(samples, channels, *image)], kernel_shape=list(kernel)),
        ]

    assert costs(batch * factor) == [factor * cost for cost in costs(batch)]
    assert min(costs(batch)) > 0


@given(m=EXTENT, k=EXTENT, n=EXTENT, batch=EXTENT, factor=FACTOR)
def test_products_are_linear_in_the_batch(m: int, k: int, n: int, batch: int, factor: int) -> None:
    """Rows of Gemm and leading dimensions of MatMul scale the cost by as much."""
    gemm = flops("Gemm", [(m, k), (k, n)], [(m, n)])
    assert flops("Gemm", [(m * factor, k), (k, n)], [(m * factor, n)]) == factor * gemm
    matmul = flops("MatMul", [(batch, m, k), (k, n)], [(batch, m, n)])
    scaled = [(batch * factor, m, k), (k, n)]
    assert flops("MatMul", scaled, [(batch * factor, m, n)]) == factor * matmul
    assert gemm > 0


@given(groups=EXTENT, channels=EXTENT, filters=EXTENT, kernel=KERNEL, side=EXTENT)
def test_grouped_conv_is_dense_conv_divided_by_the_groups(
    groups: int, channels: int, filters: int, kernel: tuple[int, ...], side: int
) -> None:
    """Conv and ConvTranspose in g groups cost a g-th of the dense ones on the same tensors."""
    inner, outer = groups * channels, groups * filters
    image = (side,) * len(kernel)
    x, y = (2, inner, *image), (2, outer, *image)
    dense = flops("Conv", [x, (outer, inner, *kernel)], [y])
    assert flops("Conv", [x, (outer, channels, *kernel)], [y], group=groups) * groups == dense
    dense = flops("ConvTranspose", [x, (inner, outer, *kernel)], [y])
    grouped = flops("ConvTranspose", [x, (inner, filters, *kernel)], [y], group=groups)
    assert grouped * groups == dense


@given(m=EXTENT, k=EXTENT, n=EXTENT)
def test_ways_to_write_a_product_cost_the_same(m: int, k: int, n: int) -> None:
    """MatMul, Gemm, Einsum and a 1 x 1 Conv of the same product agree."""
    expected = flops("MatMul", [(m, k), (k, n)], [(m, n)])
    assert flops("Gemm", [(m, k), (n, k)], [(m, n)], transB=1) == expected
    assert flops("Einsum", [(m, k), (k, n)], [(m, n)], equation=b"ij,jk->ik") == expected
    assert flops("Conv", [(1, k, m), (n, k, 1)], [(1, n, m)]) == expected


@given(heads=EXTENT, queries=EXTENT, keys=EXTENT, size=EXTENT, past=st.integers(0, 9))
def test_past_keys_cost_as_new_ones(
    heads: int, queries: int, keys: int, size: int, past: int
) -> None:
    """Attention over p past and s new keys costs what it does over p + s new keys."""
    query, out = (1, heads, queries, size), [(1, heads, queries, size)]
    whole = [(1, heads, past + keys, size)] * 2
    parts = [(1, heads, keys, size)] * 2 + [None] + [(1, heads, past, size)] * 2
    assert flops("Attention", [query, *parts], out) == flops("Attention", [query, *whole], out)


@given(steps=EXTENT, batch=EXTENT, inputs=EXTENT, hidden=EXTENT, factor=FACTOR)
def test_recurrent_layers_are_linear_in_steps_and_directions(
    steps: int, batch: int, inputs: int, hidden: int, factor: int
) -> None:
    """RNN, GRU and LSTM scale with the steps, and two directions cost twice one."""
    for op_type, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):

        def cost(length: int, directions: int, kind: str = op_type, count: int = gates) -> int:
            w = (directions, count * hidden, inputs)
            r = (directions, count * hidden, hidden)
            return flops(kind, [(length, batch, inputs), w, r], [(1,)])

        assert cost(steps * factor, 1) == factor * cost(steps, 1)
        assert cost(steps, 2) == 2 * cost(steps, 1) > 0
