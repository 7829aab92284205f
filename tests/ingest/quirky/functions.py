"""Models whose graphs are three calls of functions that call functions."""

from tests.ingest.quirky.figures import BATCH, FLOAT_BYTES, Figures, inference, product, training

PIXELS, CHANNELS, WIDE, CLASSES = 64, 16, 64, 5


def nested() -> Figures:
    """A convolution; a residual layer with an If in it; a classifier."""
    features = BATCH * CHANNELS
    flops = (
        product(features * PIXELS, 27, 1)
        + 2 * features * PIXELS  # Relu, GlobalAveragePool
        + product(BATCH, CHANNELS, WIDE)
        + BATCH * WIDE
        + BATCH * WIDE  # ReduceSum
        + 2  # CastLike, Greater
        + 2 * BATCH * WIDE  # LeakyRelu, dearer than CastLike and Mul
        + product(BATCH, WIDE, CHANNELS)
        + 2 * features
        + product(BATCH, CHANNELS, CLASSES)
        + (1 + 5) * BATCH * CLASSES
    )
    floats = 27 * CHANNELS + CHANNELS + 2 * CHANNELS * WIDE + WIDE + CHANNELS
    floats += CHANNELS * CLASSES + CLASSES + 2  # two constants of the function with the If
    split = training(1e6, 1e4)
    return Figures(4 + 2 + 4 + 3 + 3, flops, FLOAT_BYTES * floats, split, ("tmp_0__1",))


def modules() -> Figures:
    """12 -> 8; three residual layers 8 -> 16 -> 8; 8 -> 3. Biases are free in Gemm."""
    layer = 2 * product(BATCH, 8, 16) + BATCH * 16 + BATCH * 8
    floats = 12 * 8 + 8 + 3 * (2 * 8 * 16 + 16 + 8) + 8 * 3 + 3
    return Figures(
        1 + 3 * 4 + 1,
        product(BATCH, 12, 8) + 3 * layer + product(BATCH, 8, 3),
        FLOAT_BYTES * floats,
        inference(1e4, 3e3),
        ("/stem/Linear_output_0",),
    )


FUNCTIONS = {"functions/nested": nested(), "torch/functions": modules()}
