"""Conversions by tf2onnx: Transpose around convolutions, shapes worked out in the graph."""

from tests.ingest.quirky.figures import (
    BATCH,
    FLOAT_BYTES,
    INT32_BYTES,
    INT64_BYTES,
    ONCE,
    Figures,
    inference,
    product,
    training,
)


def separable() -> Figures:
    """Conv 3 -> 4 by stride 2, ReLU6 (Clip), depthwise Conv, ReLU6, MaxPool, MatMul, Softmax."""
    pixels = BATCH * 4 * 8 * 8
    pooled = BATCH * 4 * 4 * 4
    return Figures(
        10,
        product(pixels, 27, 1)
        + pixels
        + product(pixels, 9, 1)
        + pixels
        + 4 * pooled
        + product(BATCH, 64, 10)
        + 5 * BATCH * 10,
        FLOAT_BYTES * (4 * 27 + 4 * 9 + 4 + 64 * 10 + 2),
        training(3e4, 1e4),
        ("MaxPool2d:0",),
    )


def pyramid() -> Figures:
    """On images of 16x16: Conv and Relu twice, nearest neighbours, Add; 64 places as a sequence,
    each scored against each. Casts of 4, 3 and 2 extents and one product of two make shapes."""
    fine, coarse, places = BATCH * 4 * 64, BATCH * 4 * 16, 64
    floats = 4 * 3 * 9 + 4 * 4 * 9
    # The numbers 0 to 3, the permutation 0 2 3 1, and -1 in 32 bits.
    numbers = (4 + 4) * INT64_BYTES + INT32_BYTES
    return Figures(
        32,
        product(fine, 27, 1)
        + fine
        + product(coarse, 36, 1)
        + coarse
        + fine
        + product(BATCH * places, 4, places)
        + 5 * BATCH * places * places
        + product(BATCH * places, places, 4)
        + (4 + 3 + 2 + 1),
        FLOAT_BYTES * floats + numbers,
        inference(2e6, 1e6),
        ("Conv2D:0",),
    )


def while_loop() -> Figures:
    """One round: the state's product, the sum with x[:, i], Tanh, and all bounds of that slice.
    Its condition is a comparison, so nobody knows how often it runs."""
    # Casts of 3 extents, 1, and 2; Less.
    before = 3 + 1 + 2 + 1
    # Add, Add, Cast of 3 extents, Cast, Cast, Less; then over two bounds Where, Cast, Max, Cast,
    # Equal, And, Where.
    bounds = 1 + 1 + 3 + 1 + 1 + 1 + 7 * 2
    floats = 8 * 8 + 8 * 2 + 1 + 2  # the state at first, and a bound
    in_64_bits, in_32_bits = 3 + 7, 2 + 3 * 2 + 9
    return Figures(
        12,
        before + product(BATCH, 8, 8) + 2 * BATCH * 8 + bounds + product(BATCH, 8, 2),
        FLOAT_BYTES * floats + INT64_BYTES * in_64_bits + INT32_BYTES * in_32_bits + 2,
        inference(1e6, 1e6),
        (),
        (ONCE,),
    )


TENSORFLOW = {
    "tensorflow/separable": separable(),
    "tensorflow/pyramid": pyramid(),
    "tensorflow/while_loop": while_loop(),
}
