"""Nodes with several outputs, some of them left out, and optional inputs left out."""

import numpy as np
from onnx import ModelProto

from tests.halves.weighted_models.weighted import Collection, positive, weight
from tests.ingest.build import BOOL, INT64, ints, model, node, scalar, value

weighted = Collection()


@weighted.model()
def split_in_three() -> ModelProto:
    """A Split whose outputs go different ways, one of them to the end."""
    return model(
        [
            node("MatMul", "x w", "h", name="first"),
            node("Split", "h sizes", "a b c", name="split", axis=1),
            node("MatMul", "a wa", "a1", name="a1"),
            node("Tanh", "b", "b1", name="b1"),
            node("Mul", "a1 b1", "ab", name="ab"),
            node("Concat", "ab c", "y", name="y", axis=1),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 24])],
        [weight("w", 16, 48), ints("sizes", 24, 12, 12), weight("wa", 24, 12)],
    )


@weighted.model()
def top_k() -> ModelProto:
    """TopK: the values go one way, the indices (64-bit integers) another, and both out."""
    return model(
        [
            node("MatMul", "x w", "h", name="scores"),
            node("TopK", "h k", "values indices", name="top", axis=1),
            node("Gather", "table indices", "rows", name="rows"),
            node("Unsqueeze", "values last", "v", name="v"),
            node("Mul", "rows v", "m", name="m"),
            node("ReduceSum", "m middle", "y", name="y", keepdims=0),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 8]), value("indices", [2, 3], INT64)],
        [
            weight("w", 16, 40),
            ints("k", 3),
            weight("table", 40, 8),
            ints("last", 2),
            ints("middle", 1),
        ],
    )


@weighted.model()
def lstm() -> ModelProto:
    """An LSTM with Y and Y_h used and Y_c left out, as are its lengths and initial states."""
    return model(
        [
            node("Tanh", "x", "t", name="t"),
            node("LSTM", "t w r b", "Y Y_h", name="lstm", hidden_size=8, direction="bidirectional"),
            node("ReduceMean", "Y", "mean", name="mean", axes=[0], keepdims=0),
            node("Add", "mean Y_h", "sum", name="sum"),
            node("Flatten", "sum", "flat", name="flat", axis=0),
            node("MatMul", "flat head", "y", name="y"),
        ],
        [value("x", [5, 2, 6])],
        [value("y", [1, 12])],
        [
            weight("w", 2, 32, 6),
            weight("r", 2, 32, 8),
            weight("b", 2, 64),
            weight("head", 32, 12),
        ],
    )


@weighted.model()
def gru_last_state() -> ModelProto:
    """A GRU whose first output is left out, fed with an initial state behind omitted inputs."""
    return model(
        [
            node("MatMul", "x embed", "e", name="e"),
            node("GRU", "e w r - - h0", "- Y_h", name="gru", hidden_size=12),
            node("Squeeze", "Y_h first", "state", name="state"),
            node("MatMul", "state head", "y", name="y"),
        ],
        [value("x", [4, 2, 6]), value("h0", [1, 2, 12])],
        [value("y", [2, 24])],
        [
            weight("embed", 6, 8),
            weight("w", 1, 36, 8),
            weight("r", 1, 36, 12),
            ints("first", 0),
            weight("head", 12, 24),
        ],
    )


@weighted.model()
def pooling_indices() -> ModelProto:
    """MaxPool hands its indices across to MaxUnpool; Dropout gives a mask of booleans."""
    return model(
        [
            node("Conv", "x w", "c", name="c", pads=[1, 1, 1, 1]),
            node("MaxPool", "c", "p indices", name="pool", kernel_shape=[2, 2], strides=[2, 2]),
            node("Dropout", "p", "kept mask", name="dropout"),
            node("Where", "mask kept p", "q", name="where"),
            node("MaxUnpool", "q indices", "u", name="up", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", "u v", "y", name="y"),
        ],
        [value("x", [1, 4, 6, 6])],
        [value("y", [1, 4, 4, 4]), value("mask", [1, 8, 3, 3], BOOL)],
        [weight("w", 8, 4, 3, 3), weight("v", 4, 8, 3, 3)],
    )


@weighted.model()
def layer_statistics() -> ModelProto:
    """LayerNormalization with mean and deviation used as well; optional bounds of Clip left out."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("LayerNormalization", "h scale", "n mean inverse", name="norm", axis=-1),
            node("Clip", "n - most", "low", name="low"),
            node("Clip", "n least", "high", name="high"),
            node("Div", "mean inverse", "ratio", name="ratio"),
            node("Sum", "low high ratio", "y", name="y"),
        ],
        [value("x", [3, 16])],
        [value("y", [3, 40])],
        [weight("w", 16, 40), positive("scale", 40), weight("most"), weight("least")],
    )


@weighted.model(feeds={"k": np.array([2])})
def how_many() -> ModelProto:
    """TopK whose count is a graph input: the extents behind it are not known, so never cut."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("TopK", "h k", "v i", name="top"),
            node("Add", "v one", "y", name="y"),
            node("Add", "i shift", "j", name="j"),
        ],
        [value("x", [2, 16]), value("k", [1], INT64)],
        [value("y", [2, None]), value("j", [2, None], INT64)],
        [weight("w", 16, 20), weight("one", 1), scalar("shift", 3)],
    )
