"""com.microsoft: quantised operators; zero points of weights are folded, as in ONNX's own."""

from __future__ import annotations

from app.ingest.op_costs.convolution import quantised_convolution
from app.ingest.op_costs.elementwise import ACTIVATIONS, SIGMOID
from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.linear import gemm_product, matmul
from app.ingest.op_costs.microsoft import AUTHORITY
from app.ingest.op_costs.normalisation import SOFTMAX
from app.ingest.op_costs.pooling import pool
from app.ingest.op_costs.quantisation import (
    DEQUANTISE,
    QUANTISE,
    add_linear_quantisation,
    dynamic_quantisation,
)
from app.ingest.op_costs.recurrent import lstm
from app.ingest.op_costs.views import (
    NodeView,
    has_input,
    input_elements,
    input_shape,
    output_elements,
    output_shape,
    positive,
    quotient,
)

BOTH = DEQUANTISE + QUANTISE

TABLE = Table("com.microsoft", AUTHORITY)

add_linear_quantisation(TABLE)

TABLE.elementwise(
    {
        "GatherBlockQuantized": (DEQUANTISE, "looked-up elements, dequantised"),
        "MulInteger": (3, "(A - A_zero_point) * (B - B_zero_point)"),
        "QLinearAdd": (2 * DEQUANTISE + 1 + QUANTISE, "A and B dequantised, sum, quantise"),
        "QLinearConcat": (BOTH, "each input dequantised, quantise"),
        "QLinearLeakyRelu": (
            BOTH + ACTIVATIONS["leakyrelu"],
            "dequantise, LeakyRelu, quantise",
        ),
        "QLinearMul": (3 + QUANTISE, "(A - A_zero_point) * (B - B_zero_point), quantise"),
        "QLinearSigmoid": (BOTH + SIGMOID, "dequantise, Sigmoid, quantise"),
        "QLinearSoftmax": (BOTH + SOFTMAX, "dequantise, Softmax, quantise"),
        "QLinearWhere": (BOTH + 1, "selection, dequantise, quantise"),
    }
)

TABLE.add("QLinearConv", quantised_convolution, "as ONNX QLinearConv, either layout")
TABLE.add("MatMulInteger16", matmul, "numpy.matmul: M * N dot products of length K")
TABLE.add("ReduceSumInteger", input_elements, "1 addition per input element")
TABLE.add("DynamicQuantizeLSTM", lstm, "as ONNX LSTM; the quantisation of the states is left out")


@TABLE.cost("QLinearAveragePool", source="dequantise, AveragePool, quantise")
def _average_pool(node: NodeView) -> int:
    return DEQUANTISE * input_elements(node) + pool(node) + QUANTISE * output_elements(node)


@TABLE.cost("QLinearGlobalAveragePool", source="dequantise, GlobalAveragePool, quantise")
def _global_average_pool(node: NodeView) -> int:
    return (DEQUANTISE + 1) * input_elements(node) + QUANTISE * output_elements(node)


@TABLE.cost("QLinearReduceMean", source="dequantise, ReduceMean, quantise")
def _reduce_mean(node: NodeView) -> int:
    return (DEQUANTISE + 1) * input_elements(node) + (1 + QUANTISE) * output_elements(node)


@TABLE.cost("QGemm", source="Gemm on A - a_zero_point, then quantise, or scale for a float output")
def _gemm(node: NodeView) -> int:
    finish = QUANTISE if has_input(node, 7) else 1
    return gemm_product(node, 3) + input_elements(node) + finish * output_elements(node)


def _scaled_outputs(node: NodeView, bias_at: int) -> int:
    return (2 if has_input(node, bias_at) else 1) * output_elements(node)


@TABLE.cost(
    "DynamicQuantizeMatMul",
    source="DynamicQuantizeLinear of A, MatMulInteger, then per output the scale and the bias",
)
def _dynamic_matmul(node: NodeView) -> int:
    a = input_elements(node)
    return dynamic_quantisation(a) + a + matmul(node) + _scaled_outputs(node, 4)


@TABLE.cost("MatMulIntegerToFloat", source="MatMulInteger, then per output the scale and the bias")
def _matmul_to_float(node: NodeView) -> int:
    zero_point = input_elements(node) if has_input(node, 4) else 0
    return matmul(node) + zero_point + _scaled_outputs(node, 6)


def _weights_only(node: NodeView, inner: int, outer: int, per_weight: int) -> int:
    """FLOPs of dequantising K x N weights once and multiplying the rows of A by them."""
    rows = quotient(input_elements(node), input_shape(node, 0, rank=1)[-1])
    return 2 * rows * inner * outer + per_weight * inner * outer


@TABLE.cost(
    "MatMulNBits",
    source="(q - zero_point) * scale per weight, then A * B: 2 K N per row + 2 K N",
)
def _matmul_n_bits(node: NodeView) -> int:
    return _weights_only(node, positive(node, "K"), positive(node, "N"), DEQUANTISE)


@TABLE.cost("MatMulBnb4", source="lookup * absmax per weight, then A * B: 2 K N per row + K N")
def _matmul_bnb4(node: NodeView) -> int:
    return _weights_only(node, positive(node, "K"), positive(node, "N"), 1)


@TABLE.cost(
    "MatMulFpQ4",
    source="(q - offset) * scale per weight, then A * B: 2 K N per row + 2 K N",
)
def _matmul_fp_q4(node: NodeView) -> int:
    inner, outer = input_shape(node, 0, rank=1)[-1], output_shape(node, rank=1)[-1]
    return _weights_only(node, inner, outer, DEQUANTISE)
