"""Quantised models: QDQ, operators on 8-bit integers, dynamic quantisation, packed weights."""

import ml_dtypes
import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from tests.halves.weighted_models.weighted import Collection, numbers, tensor, weight
from tests.ingest.build import model, node, value

weighted = Collection()


def quantised(name: str, *shape: int, dtype: type = np.int8) -> TensorProto:
    """An initializer of 8-bit integers."""
    scaled = np.clip(np.round(numbers(name, *shape) * 100), -127, 127)
    offset = 128 if dtype is np.uint8 else 0
    return tensor(name, (scaled + offset).astype(dtype))


def scale(name: str, number: float, *shape: int) -> TensorProto:
    """An initializer of one number, or of as many near it."""
    spread = 1 + 0.1 * np.arange(int(np.prod(shape))).reshape(shape)
    return tensor(name, (number * spread).astype(np.float32))


def zero(name: str, number: int, dtype: type, *shape: int) -> TensorProto:
    """A zero point."""
    return tensor(name, np.full(shape, number, dtype))


@weighted.model()
def qdq() -> ModelProto:
    """Convolutions between QuantizeLinear and DequantizeLinear; weights of int8 by channel."""

    def both(data: str, out: str) -> list[NodeProto]:
        return [
            node("QuantizeLinear", f"{data} s zp", f"{out}.q", name=f"{out}.q"),
            node("DequantizeLinear", f"{out}.q s zp", out, name=out),
        ]

    return model(
        [
            *both("x", "xd"),
            node("DequantizeLinear", "w ws wz", "wd", name="wd", axis=0),
            node("Conv", "xd wd", "c", name="c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r", name="r"),
            *both("r", "rd"),
            node("DequantizeLinear", "v vs vz", "vd", name="vd"),
            node("Conv", "rd vd", "e", name="e"),
            *both("e", "y"),
        ],
        [value("x", [1, 4, 6, 6])],
        [value("y", [1, 8, 4, 4])],
        [
            quantised("w", 40, 4, 3, 3),
            scale("ws", 0.01, 40),
            zero("wz", 0, np.int8, 40),
            quantised("v", 8, 40, 3, 3),
            scale("vs", 0.01),
            zero("vz", 0, np.int8),
            scale("s", 0.03),
            zero("zp", 120, np.uint8),
        ],
    )


@weighted.model()
def integer_operators() -> ModelProto:
    """QLinearConv and QLinearMatMul: uint8 crosses, scales and zero points are shared."""
    return model(
        [
            node("QuantizeLinear", "x s zp", "xq", name="xq"),
            node("QLinearConv", "xq s zp w ws wz s zp", "c", name="c", pads=[1, 1, 1, 1]),
            node("MaxPool", "c", "p", name="p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", "p", "f", name="f"),
            node("QLinearMatMul", "f s zp v ws wz s zp", "m", name="m"),
            node("DequantizeLinear", "m s zp", "y", name="y"),
        ],
        [value("x", [1, 4, 4, 4])],
        [value("y", [1, 24])],
        [
            quantised("w", 16, 4, 3, 3),
            quantised("v", 64, 24),
            scale("s", 0.03),
            zero("zp", 120, np.uint8),
            scale("ws", 0.01),
            zero("wz", 0, np.int8),
        ],
    )


@weighted.model()
def dynamic_quantisation() -> ModelProto:
    """DynamicQuantizeLinear gives a tensor, its scale and its zero point: three cross at once, two
    of them scalars."""
    return model(
        [
            node("DynamicQuantizeLinear", "x", "q qs qz", name="q"),
            node("MatMulInteger", "q w qz wz", "i", name="i"),
            node("Cast", "i", "f", name="f", to=TensorProto.FLOAT),
            node("Mul", "qs ws", "s", name="s"),
            node("Mul", "f s", "d", name="d"),
            node("Add", "d b", "h", name="h"),
            node("Relu", "h", "r", name="r"),
            node("DynamicQuantizeLinear", "r", "q2 qs2 qz2", name="q2"),
            node("MatMulInteger", "q2 v qz2 vz", "i2", name="i2"),
            node("Cast", "i2", "f2", name="f2", to=TensorProto.FLOAT),
            node("Mul", "f2 qs2", "y", name="y"),
        ],
        [value("x", [3, 32])],
        [value("y", [3, 48])],
        [
            quantised("w", 32, 40),
            zero("wz", 0, np.int8),
            scale("ws", 0.01),
            weight("b", 40),
            quantised("v", 40, 48, dtype=np.uint8),
            zero("vz", 128, np.uint8),
        ],
    )


@weighted.model()
def integer_convolution() -> ModelProto:
    """A graph input of bytes, and integers of 32 bits across."""
    return model(
        [
            node("ConvInteger", "x w xz", "c", name="c"),
            node("Cast", "c", "f", name="f", to=TensorProto.FLOAT),
            node("Mul", "f s", "m", name="m"),
            node("Sigmoid", "m", "y", name="y"),
        ],
        [value("x", [1, 4, 6, 6], TensorProto.UINT8)],
        [value("y", [1, 32, 4, 4])],
        [quantised("w", 32, 4, 3, 3), zero("xz", 128, np.uint8), scale("s", 0.001)],
    )


@weighted.model()
def blocks_of_four_bits() -> ModelProto:
    """Weights of int4, two to a byte, dequantised by blocks; large ones and small ones."""

    def packed(name: str, *shape: int) -> TensorProto:
        array = np.clip(np.round(numbers(name, *shape) * 8), -8, 7)
        return tensor(name, array.astype(ml_dtypes.int4))

    return model(
        [
            node("DequantizeLinear", "w ws", "wd", name="wd", axis=0, block_size=16),
            node("DequantizeLinear", "v vs", "vd", name="vd", axis=0, block_size=16),
            node("MatMul", "x wd", "h", name="h"),
            node("Relu", "h", "r", name="r"),
            node("MatMul", "r vd", "y", name="y"),
        ],
        [value("x", [2, 64])],
        [value("y", [2, 9])],
        [
            packed("w", 64, 48),
            tensor("ws", np.abs(numbers("ws", 4, 48)) + 0.1),
            packed("v", 48, 9),
            tensor("vs", np.abs(numbers("vs", 3, 9)) + 0.1),
        ],
        opset=21,
        ir_version=10,
    )
