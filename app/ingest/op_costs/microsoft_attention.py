"""com.microsoft: attention operators, which carry the projection, the past or packed inputs.

As for the ONNX operator, every score is counted, also those that a mask or window removes.
"""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.attention import AttentionSize, rotate, scores_and_values
from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.linear import matrix_product
from app.ingest.op_costs.microsoft import AUTHORITY
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    Shape,
    extents,
    has_input,
    has_output,
    input_elements,
    input_shape,
    integer,
    items,
    output_shape,
    positive,
    real,
    scalar_input,
)

TABLE = Table("com.microsoft", AUTHORITY)


def _keys_with_past(node: NodeView, new: int, past: int | None, length_at: int) -> int:
    """Keys in all: `past` is the cache's extent, which a shared buffer fixes at its maximum."""
    if past is None:
        return new
    if not integer(node, "past_present_share_buffer", 0):
        return past + new
    used = scalar_input(node, length_at)
    return past if used is None else max(used, 0) + new


def _masked(node: NodeView, masks_at: tuple[int, ...]) -> bool:
    return any(has_input(node, i) for i in masks_at) or integer(node, "unidirectional", 0) != 0


def _hidden_sizes(node: NodeView, columns: int) -> tuple[int, int]:
    """Hidden sizes of the query and of the value in the merged projection."""
    if items(node, "qkv_hidden_sizes"):
        sizes = extents(node, "qkv_hidden_sizes")
        if len(sizes) != 3 or sum(sizes) != columns:
            raise InvalidNode(node, f"qkv_hidden_sizes {sizes} do not sum to {columns}")
        return sizes[0], sizes[2]
    return columns // 3, columns // 3


def _projected(node: NodeView, batch: int, queries: int, keys: int, *, masked: bool) -> int:
    """FLOPs of the merged projection, the rotation if asked for, and the attention."""
    tokens, weights = input_shape(node, 0, rank=2), input_shape(node, 1, rank=2)
    heads = positive(node, "num_heads")
    hidden, value_hidden = _hidden_sizes(node, weights[1])
    size = AttentionSize(batch, heads, queries, keys, hidden // heads, value_hidden // heads)
    rows = prod(tokens[:-1])
    flops = matrix_product(node, (rows, tokens[-1]), weights)
    if integer(node, "do_rotary", 0):
        flops += rotate(node, 2 * rows * hidden, hidden // heads)
    return flops + scores_and_values(size, masked=masked, softcap=False)


def _self_attention(node: NodeView, past_at: int, masks_at: tuple[int, ...]) -> int:
    batch, queries, _ = input_shape(node, 0, rank=3)[:3]
    past = input_shape(node, past_at, rank=5)[3] if has_input(node, past_at) else None
    keys = _keys_with_past(node, queries, past, 6)
    return _projected(node, batch, queries, keys, masked=_masked(node, masks_at))


@TABLE.cost(
    "Attention",
    "DecoderMaskedSelfAttention",
    source="input * weights (2 per weight and token), then the ONNX Attention over past + new",
)
def _attention(node: NodeView) -> int:
    return _self_attention(node, past_at=4, masks_at=(3, 5))


@TABLE.cost(
    "QAttention",
    source="as Attention on dequantised tensors: 1 for the zero point of each input element, 1 "
    "for the scale of each projected element",
)
def _quantised_attention(node: NodeView) -> int:
    tokens, columns = input_shape(node, 0, rank=3), input_shape(node, 1, rank=2)[1]
    dequantised = prod(tokens) + prod(tokens[:-1]) * columns
    return _self_attention(node, past_at=8, masks_at=(5,)) + dequantised


@TABLE.cost(
    "PackedAttention",
    source="projection of the tokens without padding, then attention on padded sequences",
)
def _packed_attention(node: NodeView) -> int:
    batch, length = input_shape(node, 3, rank=2)[:2]
    return _projected(node, batch, length, length, masked=has_input(node, 5))


def _packed_heads(node: NodeView, index: int, heads: int) -> tuple[int, int]:
    """Sequence length and head size of a key or value, 3-D, or 4-D with the heads first."""
    shape = input_shape(node, index, rank=3)
    if len(shape) == 4:
        return shape[2], shape[3]
    return shape[1], shape[2] // heads


def _separate(node: NodeView, heads: int) -> tuple[Shape, tuple[int, int], int]:
    """Query as (batch, length, head size), key as (length, size), value head size."""
    query = input_shape(node, 0, rank=3)
    if len(query) == 5:
        return (query[0], query[1], query[4]), (query[1], query[4]), query[4]
    size = query[2] // heads
    if not has_input(node, 1):
        packed = query[2] // (3 * heads)
        return (query[0], query[1], packed), (query[1], packed), packed
    key = input_shape(node, 1, rank=3)
    if len(key) == 5:
        return (query[0], query[1], size), (key[1], key[4]), key[4]
    value_size = _packed_heads(node, 2, heads)[1]
    return (query[0], query[1], size), _packed_heads(node, 1, heads), value_size


def _multi_head(
    node: NodeView, *, masks_at: tuple[int, ...], bias_at: int, past_at: int, length_at: int
) -> int:
    heads = positive(node, "num_heads")
    (batch, queries, head_size), (new, _), value_size = _separate(node, heads)
    past = input_shape(node, past_at, rank=4)[2] if has_input(node, past_at) else None
    keys = _keys_with_past(node, new, past, length_at)
    size = AttentionSize(batch, heads, queries, keys, head_size, value_size)
    flops = scores_and_values(size, masked=_masked(node, masks_at), softcap=False)
    if has_input(node, bias_at):
        per_head = queries * head_size + new * (head_size + value_size)
        flops += batch * heads * per_head
    return flops


@TABLE.cost(
    "MultiHeadAttention",
    source="the ONNX Attention over past + new keys; 1 per element of Q, K and V for the bias",
)
def _multi_head_attention(node: NodeView) -> int:
    return _multi_head(node, masks_at=(4, 5), bias_at=3, past_at=6, length_at=8)


@TABLE.cost(
    "DecoderMaskedMultiHeadAttention",
    source="as MultiHeadAttention with one query per sequence",
)
def _decoder_attention(node: NodeView) -> int:
    return _multi_head(node, masks_at=(3, 4), bias_at=10, past_at=5, length_at=7)


@TABLE.cost(
    "PackedMultiHeadAttention",
    source="as MultiHeadAttention on padded sequences; 1 per element of Q, K and V for the bias",
)
def _packed_multi_head(node: NodeView) -> int:
    heads = positive(node, "num_heads")
    batch, length = input_shape(node, 4, rank=2)[:2]
    query = input_shape(node, 0, rank=2)
    packed = len(query) == 4
    head_size = query[3] if packed else query[1] // heads
    value_size = head_size if packed else input_shape(node, 2, rank=2)[1] // heads
    size = AttentionSize(batch, heads, length, length, head_size, value_size)
    bias = query[0] * input_elements(node, 3) if has_input(node, 3) else 0
    return scores_and_values(size, masked=has_input(node, 6), softcap=False) + bias


def _grouped_keys(node: NodeView, new: int) -> int:
    """Keys of a grouped attention: the total if constant, else the cache's extent after it."""
    total = scalar_input(node, 6)
    if total is not None:
        return max(total, 0)
    if has_output(node, 1):
        return output_shape(node, 1, rank=4)[2]
    return (input_shape(node, 3, rank=4)[2] if has_input(node, 3) else 0) + new


@TABLE.cost(
    "GroupQueryAttention",
    source="the ONNX Attention with shared key heads, causal; 3 per rotated element of Q and K",
)
def _grouped_attention(node: NodeView) -> int:
    query = input_shape(node, 0, rank=3)
    heads, key_heads = positive(node, "num_heads"), positive(node, "kv_num_heads")
    packed = not has_input(node, 1)
    head_size = query[2] // (heads + 2 * key_heads if packed else heads)
    keys = _grouped_keys(node, query[1] if packed else input_shape(node, 1, rank=3)[1])
    size = AttentionSize(query[0], heads, query[1], keys, head_size, head_size)
    masked = integer(node, "causal", 1) != 0 or has_input(node, 10)
    flops = scores_and_values(size, masked=masked, softcap=real(node, "softcap", 0.0) > 0)
    if integer(node, "do_rotary", 0):
        rotated = query[0] * query[1] * (heads + key_heads) * head_size
        flops += rotate(node, rotated, head_size)
    return flops
