"""Seconds of kernels shared out among nodes."""

import numpy as np
import pytest

from app.calibration.sharing import scaled_to, shared_out


def test_a_kernel_is_shared_out_by_flops() -> None:
    """Members of a group get the kernel's seconds in proportion to their FLOPs."""
    shares = shared_out([8.0], [[0, 2]], [300, 1000, 100], [1, 1, 1])
    assert shares.tolist() == [6.0, 0.0, 2.0]


def test_a_kernel_of_views_is_shared_out_by_bytes() -> None:
    """Where no member has FLOPs, bytes of output decide; where these are none either, all get the
    same."""
    flops, nbytes = [0, 0, 0, 0], [30, 10, 0, 0]
    shares = shared_out([4.0, 2.0], [[0, 1], [2, 3]], flops, nbytes)
    assert shares.tolist() == [3.0, 1.0, 1.0, 1.0]


def test_a_node_gets_its_share_of_every_kernel_that_it_is_part_of() -> None:
    """Shares of several kernels add up, and a kernel of nobody's goes to nobody."""
    shares = shared_out([1.0, 2.0, 5.0], [[0], [0, 1], []], [10, 30], [1, 1])
    assert shares.tolist() == [1.5, 1.5]


def test_scaled_seconds_sum_to_the_whole() -> None:
    """Scaling keeps proportions."""
    scaled = scaled_to(12.0, np.array([1.0, 0.0, 3.0]))
    assert scaled.tolist() == [3.0, 0.0, 9.0]


@pytest.mark.parametrize("count", [0, 3])
def test_nothing_is_scaled_to_equal_parts(count: int) -> None:
    """Nodes of which no time is known get equal parts of the whole."""
    assert scaled_to(6.0, np.zeros(count)).tolist() == [2.0] * count
