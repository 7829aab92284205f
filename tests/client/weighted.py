"""Models with weights of their own, for what may and what may not go over the wire."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Weights = dict[str, NDArray[np.float32]]


def weights(width: int, seed: int = 0) -> Weights:
    """Two square matrices of random numbers."""
    draw = np.random.default_rng(seed)
    return {name: draw.standard_normal((width, width), np.float32) for name in ("w1", "w2")}


def perceptron(matrices: Weights, as_numbers: Sequence[str] = ()) -> bytes:
    """Two matrices with a Relu between them; in raw bytes, or as lists of numbers. No two graphs
    are the same."""
    (width, _) = matrices["w1"].shape
    initializers = [
        helper.make_tensor(name, TensorProto.FLOAT, matrix.shape, matrix.ravel().tolist())
        if name in as_numbers
        else numpy_helper.from_array(matrix, name)
        for name, matrix in matrices.items()
    ]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
            helper.make_node("Relu", ["a"], ["b"], name="middle"),
            helper.make_node("MatMul", ["b", "w2"], ["y"], name="second"),
        ],
        f"perceptron {next(_serial)}",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


_serial = itertools.count()
