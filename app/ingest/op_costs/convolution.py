"""Convolutions: each output element is a dot product of channels in the group * kernel size.

Taps that fall in the padding are counted, as the dense formula does.
"""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.quantisation import QUANTISE
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    has_input,
    input_elements,
    input_shape,
    output_elements,
    output_shape,
    text,
)

SILU = 5  # x * Sigmoid(x)

TABLE = Table()


def convolution(node: NodeView, weight: int = 1) -> int:
    """FLOPs of the dot products of a convolution whose weight (M, C/group, k...) is an input."""
    return 2 * output_elements(node) * prod(input_shape(node, weight, rank=2)[1:])


def transposed_convolution(node: NodeView) -> int:
    """FLOPs of a transposed convolution: each input element meets M/group * prod(k) weights."""
    return 2 * input_elements(node) * prod(input_shape(node, 1, rank=2)[1:])


def causal_convolution(node: NodeView) -> int:
    """FLOPs of a depthwise causal convolution and of its fused activation."""
    activation = text(node, "activation", "none").lower()
    if activation not in ("none", "silu", "swish"):
        raise InvalidNode(node, f"unknown activation {activation!r}")
    return convolution(node) + (0 if activation == "none" else SILU * output_elements(node))


TABLE.add(
    "Conv",
    convolution,
    "each output element is a dot product of length C_in/group * prod(kernel)",
)
TABLE.add(
    "ConvTranspose",
    transposed_convolution,
    "each input element is multiplied by C_out/group * prod(kernel) weights and added",
)
TABLE.add(
    "CausalConvWithState",
    causal_convolution,
    "each output element is a dot product of length k; silu is x * Sigmoid(x)",
)


@TABLE.cost("ConvInteger", source="Conv on x - x_zero_point; the weight's zero point is folded")
def _conv_integer(node: NodeView) -> int:
    return convolution(node) + (input_elements(node) if has_input(node, 2) else 0)


@TABLE.cost(
    "QLinearConv",
    source="Conv on x - x_zero_point, then scale, round, zero point and saturate per output",
)
def quantised_convolution(node: NodeView) -> int:
    """FLOPs of a convolution of quantised tensors with a quantised output."""
    return convolution(node, 3) + input_elements(node) + QUANTISE * output_elements(node)


@TABLE.cost(
    "DeformConv",
    source="each tap of each input channel is interpolated from 2^d neighbours, times the mask, "
    "at a position moved by its offset; then Conv",
)
def _deformable(node: NodeView) -> int:
    channels = input_shape(node, 0, rank=3)[1]
    out = output_shape(node, rank=3)
    dimensions = len(out) - 2
    samples = out[0] * prod(out[2:]) * channels * prod(input_shape(node, 1, rank=3)[2:])
    per_sample = 2 * (1 << dimensions) + (1 if has_input(node, 4) else 0)
    return convolution(node) + per_sample * samples + input_elements(node, 2)


@TABLE.cost("Col2Im", source="every input element is added into the image: 1 per input element")
def _fold(node: NodeView) -> int:
    return input_elements(node)
