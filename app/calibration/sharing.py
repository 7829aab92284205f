"""Seconds of kernels to seconds of nodes."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


def shared_out(
    seconds: Sequence[float],
    groups: Sequence[Iterable[int]],
    flops: Sequence[int],
    nbytes: Sequence[int],
) -> Seconds:
    """The seconds of each kernel, shared out among the nodes of its group.

    They go by FLOPs: what is fused into a convolution or a product hides behind it, and within one
    pass over memory arithmetic is what nodes differ in. Where none of a group has FLOPs (views and
    copies), they go by bytes of output, and evenly where there are none either. ``flops``,
    ``nbytes``: of each node. Seconds of kernels with an empty group are nobody's.
    """
    node_seconds = np.zeros(len(flops))
    for kernel_s, group in zip(seconds, groups, strict=True):
        members = sorted(group)
        if members:
            node_seconds[members] += kernel_s * _shares(members, flops, nbytes)
    return node_seconds


def scaled_to(whole_s: float, node_seconds: Seconds) -> Seconds:
    """The same in proportion, with ``whole_s`` as their sum; evenly where all are 0."""
    if len(node_seconds) == 0:
        return node_seconds
    total_s = float(node_seconds.sum())
    if total_s <= 0.0:
        return np.full(len(node_seconds), whole_s / len(node_seconds))
    return node_seconds * (whole_s / total_s)


def _shares(members: Sequence[int], *weights: Sequence[int]) -> Seconds:
    for weight in weights:
        own = np.array([weight[member] for member in members], dtype=np.float64)
        if own.any():
            return np.asarray(own / own.sum())
    return np.full(len(members), 1 / len(members))
