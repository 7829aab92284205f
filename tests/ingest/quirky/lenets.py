"""LeNet: Conv 1 -> 4 (5x5) on 16x16, MaxPool, Conv 4 -> 8 (5x5) on 8x8, MaxPool, Linear
32 -> 16 -> 10."""

from tests.ingest.quirky.figures import (
    BATCH,
    FLOAT_BYTES,
    HALF_BYTES,
    INT32_BYTES,
    INT64_BYTES,
    Figures,
    product,
    training,
)

# Elements of one sample, from the input to the output.
IMAGE, FIRST, POOLED, SECOND, FLAT, HIDDEN, CLASSES = 256, 4 * 256, 4 * 64, 8 * 16, 32, 16, 10

CONVOLUTIONS = product(BATCH, FIRST, 25) + product(BATCH, SECOND, 4 * 25)
POOLS = BATCH * (4 * POOLED + 4 * FLAT)
LINEARS = product(BATCH, FLAT, HIDDEN) + product(BATCH, HIDDEN, CLASSES)
PRODUCTS_AND_POOLS = CONVOLUTIONS + POOLS + LINEARS
LENET = PRODUCTS_AND_POOLS + BATCH * (FIRST + SECOND + HIDDEN)
"""With Relu."""

WEIGHTS = 4 * 25 + 8 * 4 * 25 + FLAT * HIDDEN + HIDDEN * CLASSES
BIASES = 4 + 8 + HIDDEN + CLASSES
RESHAPE_TARGET = 2 * INT64_BYTES
LENET_BYTES = FLOAT_BYTES * (WEIGHTS + BIASES) + RESHAPE_TARGET
SCALE_AND_ZERO_POINT = FLOAT_BYTES + 1

IN_FLOATS, IN_BYTES = training(1e6, 1e4), training(1e7, 1e4)

LENETS = {
    "torch/lenet_dynamo": Figures(10, LENET, LENET_BYTES, IN_FLOATS, ("max_pool2d_1",)),
    # The target of Reshape comes of Shape, Gather, Unsqueeze and Concat, and of two integers.
    "torch/lenet_torchscript": Figures(14, LENET, LENET_BYTES, IN_FLOATS, ("/MaxPool_1_output_0",)),
    # BatchNormalization in training mode: 6 per element and 13 per channel; 4 vectors of 4. Here
    # the target of Reshape takes four integers.
    "torch/lenet_training": Figures(
        15,
        LENET + 6 * BATCH * FIRST + 13 * 4,
        LENET_BYTES + 4 * 4 * FLOAT_BYTES + 2 * INT64_BYTES,
        IN_FLOATS,
        ("/MaxPool_1_output_0",),
    ),
    # Relu is fused into both convolutions and one Gemm, and counts as before.
    "optimised/lenet_extended": Figures(7, LENET, LENET_BYTES, IN_FLOATS, ("max_pool2d_1",)),
    "quantised/lenet_float16": Figures(
        10, LENET, HALF_BYTES * (WEIGHTS + BIASES) + RESHAPE_TARGET, IN_FLOATS, ("max_pool2d_1",)
    ),
    # QuantizeLinear (4) and DequantizeLinear (2) around each operator; the quantisation takes the
    # place of Relu. Scales and zero points of weights (8 bits) and biases (32) are per channel.
    "quantised/lenet_qdq": Figures(
        7 + 2 * 8,
        PRODUCTS_AND_POOLS
        + 6 * BATCH * (IMAGE + FIRST + POOLED + SECOND + FLAT + FLAT + HIDDEN + CLASSES),
        WEIGHTS
        + BIASES * SCALE_AND_ZERO_POINT
        + BIASES * (INT32_BYTES + FLOAT_BYTES + INT32_BYTES)
        + 5 * SCALE_AND_ZERO_POINT
        + RESHAPE_TARGET,
        IN_BYTES,
        ("max_pool2d_1_QuantizeLinear_Output",),
    ),
    # QuantizeLinear; QLinearConv and QGemm with 1 per input (zero point) and 4 per output;
    # DequantizeLinear.
    "quantised/lenet_qoperator": Figures(
        9,
        PRODUCTS_AND_POOLS
        + BATCH * 4 * IMAGE
        + BATCH * (IMAGE + 4 * FIRST + POOLED + 4 * SECOND)
        + BATCH * (FLAT + 4 * HIDDEN + HIDDEN + 4 * CLASSES)
        + BATCH * 2 * CLASSES,
        WEIGHTS + INT32_BYTES * BIASES + (4 + 5) * SCALE_AND_ZERO_POINT + RESHAPE_TARGET,
        IN_BYTES,
        ("max_pool2d_1_quantized",),
    ),
    # Before each product DynamicQuantizeLinear (6 per element, and 8), a product of two scales, and
    # 1 per input (zero point); after it Cast, Mul by the scale, Add of the bias. The biases of the
    # convolutions are reshaped to 4-D beforehand.
    "quantised/lenet_dynamic": Figures(
        30,
        LENET
        + (6 + 1) * BATCH * (IMAGE + POOLED + FLAT + HIDDEN)
        + 4 * (8 + 1)
        + 3 * BATCH * (FIRST + SECOND + HIDDEN + CLASSES),
        WEIGHTS
        + FLOAT_BYTES * BIASES
        + 4 * SCALE_AND_ZERO_POINT
        + RESHAPE_TARGET
        + 2 * 4 * INT64_BYTES,
        IN_BYTES,
        ("view_quantized", "view_scale", "view_zero_point"),
    ),
}
