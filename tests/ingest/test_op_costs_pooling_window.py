"""Pools whose window is larger than their input."""

import pytest

from app.ingest.op_costs import InvalidNode
from tests.ingest.test_op_costs import flops

MS = "com.microsoft"


@pytest.mark.parametrize("op_type", ["AveragePool", "MaxPool"])
def test_a_window_counts_no_larger_than_the_input(op_type: str) -> None:
    """A 1280 x 1280 window over 7 x 7 elements costs 49 per output element, axis by axis."""
    x, y = (1, 1280, 7, 7), (1, 1280, 1, 1)
    assert flops(op_type, [x], [y], kernel_shape=[1280, 1280]) == 49 * 1280
    assert flops(op_type, [x], [(1, 1280, 1, 3)], kernel_shape=[9, 5]) == 7 * 5 * 3 * 1280
    assert flops(op_type, [(1, 2, 5)], [(1, 2, 1)], kernel_shape=[8]) == 5 * 2


def test_a_norm_window_counts_no_larger_than_the_input() -> None:
    """LpPool costs 3 per element of the clipped window and 1 root per output."""
    assert flops("LpPool", [(1, 2, 3, 3)], [(1, 2, 1, 1)], kernel_shape=[4, 4]) == (3 * 9 + 1) * 2


def test_channels_last_pools_clip_their_own_axes() -> None:
    """Where channels come last, the window is clipped to the axes between batch and channels."""
    x, y = (1, 7, 5, 64), (1, 1, 1, 64)
    window = 7 * 5 * 64
    assert flops("NhwcMaxPool", [x], [y], MS, kernel_shape=[9, 9]) == window
    first = flops("QLinearAveragePool", [(1, 64, 7, 5)], [(1, 64, 1, 1)], MS, kernel_shape=[9, 9])
    last = flops("QLinearAveragePool", [x], [y], MS, kernel_shape=[9, 9], channels_last=1)
    assert last == first
    assert last > window


def test_a_window_of_another_rank_is_refused() -> None:
    """A window with more or fewer axes than the image raises InvalidNode."""
    for kernel in ([3], [3, 3, 3]):
        with pytest.raises(InvalidNode, match="window"):
            flops("MaxPool", [(1, 2, 8, 8)], [(1, 2, 6, 6)], kernel_shape=kernel)
