"""Scaled dot-product attention, linear attention and rotary embedding.

Every score of the queries * keys matrix is counted, those that a mask, a causal limit or a
window removes too, because the operators are defined on the whole matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.normalisation import SOFTMAX
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    Shape,
    has_input,
    input_elements,
    input_shape,
    integer,
    positive,
    quotient,
    real,
    text,
)

SOFTCAP = 3  # cap * tanh(score / cap)
ROTATION = 3  # cos * x1 - sin * x2, and its partner, per rotated element

TABLE = Table()
PREVIEW = Table("ai.onnx.preview")


@dataclass(frozen=True, slots=True)
class AttentionSize:
    """Extents of one attention: heads are query heads, keys include the past."""

    batch: int
    heads: int
    queries: int
    keys: int
    head_size: int
    value_head_size: int


def scores_and_values(size: AttentionSize, *, masked: bool, softcap: bool) -> int:
    """FLOPs of softmax(scale * Q K^T + mask) V."""
    per_score = 2 * size.head_size + 2 * size.value_head_size + 1 + SOFTMAX
    per_score += (1 if masked else 0) + (SOFTCAP if softcap else 0)
    return size.batch * size.heads * size.queries * size.keys * per_score


def _split_heads(node: NodeView, index: int, heads_attribute: str) -> Shape:
    """Shape (batch, heads, sequence, head size) of a 4-D or packed 3-D input."""
    shape = input_shape(node, index, rank=3)
    if len(shape) == 4:
        return shape
    if len(shape) != 3:
        raise InvalidNode(node, f"input {index} must be 3-D or 4-D, got {shape}")
    heads = positive(node, heads_attribute)
    return (shape[0], heads, shape[1], shape[2] // heads)


@TABLE.cost(
    "Attention",
    source="softmax(scale * Q K^T + bias) V: per score 2 d + 2 d_v, 1 for the scale, 5 for "
    "Softmax, 1 for a mask, 3 for softcap; keys are past + new",
)
def _attention(node: NodeView) -> int:
    batch, heads, queries, head_size = _split_heads(node, 0, "q_num_heads")
    _, _, keys, value_size = _split_heads(node, 2, "kv_num_heads")
    past = input_shape(node, 4, rank=4)[2] if has_input(node, 4) else 0
    size = AttentionSize(batch, heads, queries, past + keys, head_size, value_size)
    limited = integer(node, "is_causal", 0) != 0 or any(
        integer(node, name, -1) >= 0 for name in ("left_window_size", "right_window_size")
    )
    masked = limited or has_input(node, 3) or has_input(node, 6)
    return scores_and_values(size, masked=masked, softcap=real(node, "softcap", 0.0) != 0.0)


@PREVIEW.cost(
    "FlexAttention",
    source="softmax(scale * Q K^T) V as Attention; the bodies of score_mod and prob_mod are "
    "not counted",
)
def _flex_attention(node: NodeView) -> int:
    batch, heads, queries, head_size = input_shape(node, 0, rank=4)[:4]
    _, _, keys, value_size = input_shape(node, 2, rank=4)[:4]
    size = AttentionSize(batch, heads, queries, keys, head_size, value_size)
    return scores_and_values(size, masked=False, softcap=False)


UPDATE_RULES = ("linear", "gated", "delta", "gated_delta")


@TABLE.cost(
    "LinearAttention",
    source="per token and key head the state d_k x d_v is decayed (1), read back for delta (2) "
    "and gains an outer product (2); per query head it is read (2) and scaled",
)
def linear_attention(node: NodeView) -> int:
    """FLOPs of the sequential recurrence of linear attention."""
    query, value = input_shape(node, 0, rank=3), input_shape(node, 2, rank=3)
    heads, key_heads = positive(node, "q_num_heads"), positive(node, "kv_num_heads")
    rule = text(node, "update_rule", "gated_delta")
    if rule not in UPDATE_RULES:
        raise InvalidNode(node, f"unknown update rule {rule!r}")
    key_size, value_size = query[2] // heads, value[2] // key_heads
    state = key_size * value_size
    update = 2 * state
    if "delta" in rule:
        update += 2 * state + 2 * value_size
    if "gated" in rule:
        update += state
    decay = input_elements(node, 4) if "gated" in rule else 0
    read = 2 * state + value_size
    return query[0] * query[1] * (key_heads * update + heads * read) + decay


def rotate(node: NodeView, elements: int, head_size: int) -> int:
    """FLOPs of rotating the first `rotary_embedding_dim` of each head's elements (0: all)."""
    rotated = integer(node, "rotary_embedding_dim", 0) or head_size
    if not 0 <= rotated <= head_size:
        raise InvalidNode(node, f"rotated extent {rotated} exceeds head size {head_size}")
    return ROTATION * quotient(elements, head_size) * rotated


@TABLE.cost(
    "RotaryEmbedding",
    source="real = cos * x1 - sin * x2, imag = sin * x1 + cos * x2: 3 per rotated element",
)
def rotary_embedding(node: NodeView) -> int:
    """FLOPs of rotary position embedding, on the rotated part of each head."""
    shape = input_shape(node, 0, rank=2)
    head_size = shape[-1]
    if len(shape) == 4 or integer(node, "rotary_embedding_dim", 0) == 0:
        return rotate(node, prod(shape), head_size)
    return rotate(node, prod(shape), head_size // positive(node, "num_heads"))
