"""com.microsoft: fused and moved operators of ONNX Runtime, in floating point."""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.attention import linear_attention, rotary_embedding
from app.ingest.op_costs.convolution import (
    causal_convolution,
    convolution,
    transposed_convolution,
)
from app.ingest.op_costs.elementwise import ACTIVATIONS, GELU, SWISH
from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.linear import gemm, matmul
from app.ingest.op_costs.movement import COPY, LOOKUP, VIEW
from app.ingest.op_costs.normalisation import SOFTMAX
from app.ingest.op_costs.pooling import pool
from app.ingest.op_costs.sampling import grid_sample
from app.ingest.op_costs.selection import unique
from app.ingest.op_costs.sequence import STRINGS
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    has_input,
    input_elements,
    input_shape,
    integer,
    output_elements,
    positive,
    quotient,
    real,
    text,
)

AUTHORITY = "ONNX Runtime contrib operator"
CLAMPED_SWIGLU = 11  # clamp(gate) * Sigmoid(alpha * gate) * (clamp(up) + beta)
FAST_GELU = 9  # 0.5 * x * (1 + tanh(0.797885 * x + 0.035677 * x * x * x))

# Activations of the experts of MoE, FLOPs per element of their inner layer.
EXPERT_ACTIVATIONS = {
    "identity": 0,
    "relu": ACTIVATIONS["relu"],
    "gelu": ACTIVATIONS["gelu"],
    "silu": ACTIVATIONS["silu"],
    "swiglu": CLAMPED_SWIGLU,
}

TABLE = Table("com.microsoft", AUTHORITY)
BLOCKED = Table("com.microsoft.nchwc", AUTHORITY)

TABLE.zeros(
    {
        "ExpandDims": VIEW,
        "GatherND": LOOKUP,
        "Pad": COPY,
        "RemovePadding": COPY,
        "RestorePadding": COPY,
        "Tokenizer": STRINGS,
        "TorchEmbedding": LOOKUP,
        "Trilu": "copy: keeps one triangle and fills the other with zeros",
        "UnfoldTensor": COPY,
    }
)

TABLE.elementwise(
    {
        "BiasAdd": (2, "X + bias + skip"),
        "BiasGelu": (GELU + 1, "Gelu(A + B)"),
        "BiasSoftmax": (SOFTMAX + 1, "Softmax(data + bias)"),
        "BiasSplitGelu": (GELU + 3, "left * Gelu(right), bias added to both"),
        "ComplexMul": (3, "complex product: 6 per pair of output elements"),
        "ComplexMulConj": (3, "complex product: 6 per pair of output elements"),
        "Gelu": (GELU, "0.5 * x * (1 + erf(x / sqrt(2)))"),
        "QuickGelu": (SWISH, "x * Sigmoid(alpha * x)"),
        "Range": (2, "start + i * delta"),
        "SwiGLU": (CLAMPED_SWIGLU, "clamp(gate) * Sigmoid(alpha * gate) * (clamp(up) + beta)"),
    }
)

TABLE.add("CausalConvWithState", causal_convolution, "as the ONNX operator, for 1 to 3 dimensions")
TABLE.add("ConvTransposeWithDynamicPads", transposed_convolution, "as ONNX ConvTranspose")
TABLE.add("GridSample", grid_sample, "as the ONNX operator")
TABLE.add("LinearAttention", linear_attention, "as the ONNX operator")
TABLE.add("NhwcConv", convolution, "as ONNX Conv; weights keep the layout M, C/group, k")
TABLE.add("NhwcMaxPool", pool, "as ONNX MaxPool")
TABLE.add("RotaryEmbedding", rotary_embedding, "as the ONNX operator: 3 per rotated element")
TABLE.add("Unique", unique, "sorting n elements: n * ceil(log2 n) comparisons")


@TABLE.cost("IsAllFinite", source="1 test per input element")
def _all_finite(node: NodeView) -> int:
    return sum(input_elements(node, i) for i in range(len(node.inputs)))


def activation(node: NodeView) -> int:
    """FLOPs of the activation that a fused operator names, over output 0."""
    name = text(node, "activation", "")
    if not name:
        return 0
    if name.lower() not in ACTIVATIONS:
        raise InvalidNode(node, f"unknown activation {name!r}")
    return ACTIVATIONS[name.lower()] * output_elements(node)


@TABLE.cost("FusedConv", "NhwcFusedConv", source="Conv, the sum with Z if given, the activation")
def _fused_convolution(node: NodeView) -> int:
    added = output_elements(node) if has_input(node, 3) else 0
    return convolution(node) + added + activation(node)


@TABLE.cost("FusedGemm", source="Gemm and the activation")
def _fused_gemm(node: NodeView) -> int:
    return gemm(node) + activation(node)


@TABLE.cost("GemmFastGelu", source="FastGelu(X * W + bias); the bias starts the accumulator")
def _gemm_fast_gelu(node: NodeView) -> int:
    return matmul(node) + FAST_GELU * output_elements(node)


@TABLE.cost(
    "FusedMatMul",
    "FusedMatMulActivation",
    "TransposeMatMul",
    source="alpha * A' * B': 2 K per output element, 1 for alpha other than 1, the activation",
)
def _fused_matmul(node: NodeView) -> int:
    a = input_shape(node, 0, rank=1)
    inner = a[-1]
    if integer(node, "transA", 0) and len(a) > 1:
        inner = a[0] if integer(node, "transBatchA", 0) else a[-2]
    scaling = 0 if real(node, "alpha", 1.0) == 1.0 else 1
    return (2 * inner + scaling) * output_elements(node) + activation(node)


@TABLE.cost(
    "FastGelu",
    source="0.5 * x * (1 + tanh(0.797885 * x + 0.035677 * x * x * x)), x + bias if given: "
    "9 or 10 per output element",
)
def _fast_gelu(node: NodeView) -> int:
    return (FAST_GELU + (1 if has_input(node, 1) else 0)) * output_elements(node)


@TABLE.cost("BiasDropout", source="data + bias + residual; Dropout is the identity at inference")
def _bias_dropout(node: NodeView) -> int:
    return (2 if has_input(node, 2) else 1) * output_elements(node)


@TABLE.cost("CDist", source="per pair of rows difference, square, sum (3 N); 1 root if euclidean")
def _pairwise_distances(node: NodeView) -> int:
    features = input_shape(node, 0, rank=2)[1]
    root = 1 if text(node, "metric", "sqeuclidean") == "euclidean" else 0
    return (3 * features + root) * output_elements(node)


@TABLE.cost("Inverse", source="Gauss-Jordan elimination of n x n matrices: 2 n^3 each")
def _inverse(node: NodeView) -> int:
    shape = input_shape(node, 0, rank=2)
    return 2 * prod(shape) * shape[-1]


@TABLE.cost("CropAndResize", source="bilinear: 4 neighbours, 8 per output element; nearest: 0")
def _crop_and_resize(node: NodeView) -> int:
    return 0 if text(node, "mode", "bilinear") == "nearest" else 8 * output_elements(node)


@TABLE.cost(
    "MoE",
    source="softmax over the experts, then for each token and its k experts fc1, fc2 and fc3 "
    "(2 per weight), the activation, and a weighted sum of the outputs",
)
def _mixture_of_experts(node: NodeView) -> int:
    hidden = input_shape(node, 0, rank=2)[-1]
    tokens = quotient(input_elements(node), hidden)
    down = input_shape(node, 4, rank=3)
    weights = prod(input_shape(node, 2, rank=3)[1:]) + prod(down[1:])
    weights += prod(input_shape(node, 6, rank=3)[1:]) if has_input(node, 6) else 0
    name = text(node, "activation_type", "relu")
    if name not in EXPERT_ACTIVATIONS:
        raise InvalidNode(node, f"unknown activation_type {name!r}")
    per_expert = 2 * weights + EXPERT_ACTIVATIONS[name] * down[2] + 2 * hidden
    return SOFTMAX * input_elements(node, 1) + tokens * positive(node, "k", 1) * per_expert


BLOCKED.zeros({"ReorderInput": COPY, "ReorderOutput": COPY})
BLOCKED.add("AveragePool", pool, "as ONNX AveragePool, on padded channels")
BLOCKED.add("MaxPool", pool, "as ONNX MaxPool, on padded channels")
BLOCKED.add("GlobalAveragePool", input_elements, "as ONNX GlobalAveragePool, on padded channels")
BLOCKED.add("GlobalMaxPool", input_elements, "as ONNX GlobalMaxPool, on padded channels")


@BLOCKED.cost("Conv", source="as ONNX Conv, on padded channels; the sum and the activation")
def _blocked_convolution(node: NodeView) -> int:
    return _fused_convolution(node)
