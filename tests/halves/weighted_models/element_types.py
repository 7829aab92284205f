"""Element types beside float32."""

import ml_dtypes
import numpy as np
from onnx import ModelProto, TensorProto

from tests.halves.weighted_models.weighted import Collection, numbers, tensor, weight
from tests.ingest.build import model, node, value

weighted = Collection()


@weighted.model()
def half_precision() -> ModelProto:
    """Everything in float16."""
    kind = TensorProto.FLOAT16

    def half(name: str, *shape: int) -> TensorProto:
        return tensor(name, numbers(name, *shape).astype(np.float16))

    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Add", "h b", "a", name="a"),
            node("Tanh", "a", "t", name="t"),
            node("MatMul", "t v", "g", name="g"),
            node("Softmax", "g", "y", name="y"),
        ],
        [value("x", [2, 32], kind)],
        [value("y", [2, 32], kind)],
        [half("w", 32, 40), half("b", 40), half("v", 40, 32)],
    )


@weighted.model()
def brain_floats() -> ModelProto:
    """bfloat16 crosses between casts, from a graph input and a weight of it."""
    kind = TensorProto.BFLOAT16
    return model(
        [
            node("Cast", "x", "f", name="f", to=TensorProto.FLOAT),
            node("Cast", "w", "wf", name="wf", to=TensorProto.FLOAT),
            node("MatMul", "f wf", "h", name="h"),
            node("Cast", "h", "b", name="b", to=kind),
            node("Reshape", "b shape", "r", name="r"),
            node("Cast", "r", "g", name="g", to=TensorProto.FLOAT),
            node("Tanh", "g", "t", name="t"),
            node("Cast", "t", "y", name="y", to=kind),
        ],
        [value("x", [2, 32], kind)],
        [value("y", [80], kind)],
        [
            tensor("w", numbers("w", 32, 40).astype(ml_dtypes.bfloat16)),
            tensor("shape", np.array([80])),
        ],
        opset=18,
    )


@weighted.model()
def double_precision() -> ModelProto:
    """Everything in float64."""
    kind = TensorProto.DOUBLE
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Sigmoid", "h", "s", name="s"),
            node("MatMul", "s v", "g", name="g"),
            node("ReduceMean", "g", "m", name="m", axes=[1]),
            node("Sub", "g m", "y", name="y"),
        ],
        [value("x", [2, 16], kind)],
        [value("y", [2, 24], kind)],
        [
            tensor("w", numbers("w", 16, 24).astype(np.float64)),
            tensor("v", numbers("v", 24, 24).astype(np.float64)),
        ],
    )


@weighted.model()
def eight_bits_across() -> ModelProto:
    """Tensors of two kinds of float8, of int4 and of uint8 between nodes."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Cast", "h", "e", name="e", to=TensorProto.FLOAT8E4M3FN),
            node("Cast", "e", "f", name="f", to=TensorProto.FLOAT),
            node("Cast", "f", "e5", name="e5", to=TensorProto.FLOAT8E5M2),
            node("Cast", "e5", "f5", name="f5", to=TensorProto.FLOAT),
            node("Cast", "f5", "i", name="i", to=TensorProto.INT4),
            node("Cast", "i", "g", name="g", to=TensorProto.FLOAT),
            node("Abs", "g", "a", name="a"),
            node("Cast", "a", "u", name="u", to=TensorProto.UINT8),
            node("Cast", "u", "k", name="k", to=TensorProto.FLOAT),
            node("MatMul", "k v", "y", name="y"),
        ],
        [value("x", [3, 16])],
        [value("y", [3, 24])],
        [
            tensor("w", 3 * numbers("w", 16, 25)),
            weight("v", 25, 24),
        ],
        opset=21,
        ir_version=10,
    )
