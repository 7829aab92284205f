"""Fourier transforms, counted as fast ones: 5 N ceil(log2 N), half for a real side."""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import (
    NodeView,
    Shape,
    UnknownShape,
    axis_of,
    has_input,
    input_shape,
    integer,
    log2_ceil,
    output_elements,
    output_shape,
    quotient,
    scalar_input,
)

TABLE = Table()


def fourier(length: int, *, real: bool) -> int:
    """FLOPs of one fast transform of `length` points."""
    full = 5 * length * log2_ceil(length)
    return -(-full // 2) if real else full


def _length(node: NodeView, source: Shape, target: Shape, axis: int) -> int:
    """Points of the transform."""
    if not has_input(node, 1) and not (integer(node, "onesided", 0) and source[-1] == 2):
        return source[axis]
    known = scalar_input(node, 1)
    if known is not None:
        return max(known, 0)
    if not integer(node, "onesided", 0) or target[-1] == 1:
        return target[axis]
    return max(2 * (target[axis] - 1), 1)


@TABLE.cost(
    "DFT",
    source="the transform of N points as a fast one: 5 N ceil(log2 N), half when the input or "
    "the output is real; the inverse scales by 1 / N",
)
def _dft(node: NodeView) -> int:
    source, target = input_shape(node, 0, rank=2), output_shape(node, rank=2)
    axis = integer(node, "axis", 1 if node.opset < 20 else -2)
    if has_input(node, 2):
        given = scalar_input(node, 2)
        if given is None:
            raise UnknownShape(node, "input", 2, "value")
        axis = given
    axis = axis_of(node, axis, min(len(source), len(target)))
    transforms = quotient(prod(target[:-1]), target[axis])
    length = _length(node, source, target, axis)
    half = source[-1] == 1 or target[-1] == 1
    scaling = output_elements(node) if integer(node, "inverse", 0) else 0
    return transforms * fourier(length, real=half) + scaling


@TABLE.cost(
    "STFT",
    source="per frame the product with the window, if given, and a fast transform of "
    "frame_length points: 5 N ceil(log2 N), half for a real signal",
)
def _stft(node: NodeView) -> int:
    signal = input_shape(node, 0, rank=2)
    batch, frames = output_shape(node, rank=2)[:2]
    components = 2 if len(signal) == 3 and signal[2] == 2 else 1
    length = _frame_length(node, signal[1])
    window = components * length if has_input(node, 2) else 0
    return batch * frames * (window + fourier(length, real=components == 1))


def _frame_length(node: NodeView, signal_length: int) -> int:
    if has_input(node, 2):
        return input_shape(node, 2, rank=1)[0]
    if not has_input(node, 3):
        return signal_length
    known = scalar_input(node, 3)
    if known is None:
        raise UnknownShape(node, "input", 3, "value")
    return max(known, 0)
