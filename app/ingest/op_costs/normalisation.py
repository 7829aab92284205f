"""Normalisations, by stages. N counts elements, G the groups that share statistics."""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.entry import Table, per_output
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    axis_of,
    has_input,
    input_elements,
    input_shape,
    integer,
    items,
    output_elements,
    positive,
    quotient,
)

SOFTMAX = 5  # maximum, subtract, exp, sum, divide
LAYER_NORM = "mean, X - mean, square, mean, + epsilon, sqrt, reciprocal, product, scale, shift"

TABLE = Table()


def standardised(elements: int, groups: int, *, shift: bool) -> int:
    """FLOPs of layer normalisation: 6 N (7 N with a shift) and 5 G."""
    return (7 if shift else 6) * elements + 5 * groups


def rms_normalised(elements: int, groups: int) -> int:
    """FLOPs of root-mean-square normalisation: 4 N + 3 G."""
    return 4 * elements + 3 * groups


def group_normalised(elements: int, groups: int) -> int:
    """FLOPs of instance or group normalisation: 7 N + 4 G."""
    return 7 * elements + 4 * groups


def leading_groups(node: NodeView) -> int:
    """Number of slices that the dimensions before `axis` make of input 0."""
    shape = input_shape(node, 0)
    axis = axis_of(node, integer(node, "axis", -1), len(shape))
    return prod(shape[:axis]) if prod(shape[axis:]) else 0


@TABLE.cost("LayerNormalization", source=f"{LAYER_NORM}: 7 N (6 N without B) + 5 G")
def layer_normalisation(node: NodeView) -> int:
    """FLOPs of layer normalisation over the dimensions from `axis`."""
    return standardised(input_elements(node), leading_groups(node), shift=has_input(node, 2))


RMS_NORM = "square, mean, + epsilon, sqrt, divide, scale: 4 N + 3 G"


@TABLE.cost("RMSNormalization", source=RMS_NORM)
def rms_normalisation(node: NodeView) -> int:
    """FLOPs of root-mean-square normalisation over the dimensions from `axis`."""
    return rms_normalised(input_elements(node), leading_groups(node))


@TABLE.cost(
    "InstanceNormalization",
    source="scale * (x - mean) / sqrt(variance + epsilon) + B per instance and channel: 7 N + 4 G",
)
def _instance(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=2)
    return group_normalised(prod(shape), shape[0] * shape[1] if prod(shape) else 0)


@TABLE.cost(
    "GroupNormalization",
    source="scale * (x - mean) / sqrt(variance + epsilon) + bias per instance and group of "
    "channels: 7 N + 4 G",
)
def _group(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=2)
    groups = shape[0] * positive(node, "num_groups") if prod(shape) else 0
    return group_normalised(prod(shape), groups)


@TABLE.cost(
    "MeanVarianceNormalization",
    source="function body: mean, its square, x^2, its mean, their difference, sqrt, x - mean, "
    "+ 1e-9, divide: 5 N + 6 G",
)
def _mean_variance(node: NodeView) -> int:
    shape = input_shape(node, 0)
    axes = items(node, "axes") or [0, 2, 3]
    if not all(isinstance(axis, int) for axis in axes):
        raise InvalidNode(node, f"attribute axes must list integers, got {axes!r}")
    reduced = {axis_of(node, axis, len(shape)) for axis in axes}
    kept = prod(extent for axis, extent in enumerate(shape) if axis not in reduced)
    return 5 * prod(shape) + 6 * (kept if prod(shape) else 0)


@TABLE.cost(
    "BatchNormalization",
    source="inference: x * a + b with a and b folded from scale, B, mean and var: 2 per output "
    "element; training_mode: mean, variance, fold and running statistics, 6 N + 13 C",
)
def _batch(node: NodeView) -> int:
    if not integer(node, "training_mode", 0):
        return 2 * output_elements(node)
    shape = input_shape(node, 0, rank=2)
    return 6 * prod(shape) + (13 * shape[1] if prod(shape) else 0)


@TABLE.cost(
    "LRN",
    source="x / (bias + alpha / size * sum of size squares) ^ beta: square, size additions, "
    "scale, bias, power, divide: size + 5 per output element",
)
def _local_response(node: NodeView) -> int:
    return (positive(node, "size") + 5) * output_elements(node)


@TABLE.cost(
    "LpNormalization",
    source="x / norm along axis: |x| or x^2, sum, divide: 3 N, and G square roots for p = 2",
)
def _lp(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=1)
    axis = axis_of(node, integer(node, "axis", -1), len(shape))
    roots = quotient(prod(shape), shape[axis]) if integer(node, "p", 2) == 2 else 0
    return 3 * prod(shape) + roots


TABLE.add(
    "Softmax",
    per_output(SOFTMAX),
    "exp(x - max) / sum(exp(x - max)): maximum, subtract, exp, sum, divide: 5 per element",
)


@TABLE.cost(
    "LogSoftmax",
    source="x - max - log(sum(exp(x - max))): maximum, subtract, exp, sum, subtract: 5 N, "
    "and G logarithms",
)
def _log_softmax(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=1)
    flattened = node.opset < 13
    axis = axis_of(node, integer(node, "axis", 1 if flattened else -1), len(shape))
    size = prod(shape[axis:]) if flattened else shape[axis]
    return SOFTMAX * prod(shape) + quotient(prod(shape), size)


@TABLE.cost("Hardmax", source="position of the maximum: 1 comparison per input element")
def _hardmax(node: NodeView) -> int:
    return input_elements(node)


def _loss(node: NodeView) -> int:
    """FLOPs from log-probabilities to the loss: negate, weight and reduce one per label."""
    labels = input_elements(node, 1)
    weighted = has_input(node, 2)
    reduction = node.attributes.get("reduction", b"mean")
    flops = labels * (2 if weighted else 1)
    if reduction in (b"none", "none") or not labels:
        return flops
    mean = reduction in (b"mean", "mean")
    return flops + labels + (labels if weighted and mean else 0) + (1 if mean else 0)


TABLE.add(
    "NegativeLogLikelihoodLoss",
    _loss,
    "-x[label] * weight[label], summed, divided by the sum of weights: per label 1, weight 1, "
    "sum 1, sum of weights 1; 1 division",
)


@TABLE.cost(
    "SoftmaxCrossEntropyLoss",
    source="LogSoftmax over the classes (5 N, and 1 per label), then NegativeLogLikelihoodLoss",
)
def _cross_entropy(node: NodeView) -> int:
    return SOFTMAX * input_elements(node) + input_elements(node, 1) + _loss(node)
