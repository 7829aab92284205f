"""Operators that onnx has no shape rules for: what is told of them is what running them gives."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from app.core.dag import CostedDag
from tests.ingest.build import floats, model, node, shapes, taken, value

MICROSOFT = "com.microsoft"
ML = "ai.onnx.ml"
VERSIONS = {MICROSOFT: 1, ML: 3}
Array = NDArray[Any]
RANDOM = np.random.default_rng(7)


def f32(*shape: int) -> Array:
    """Floats between 0 and 1."""
    return RANDOM.random(shape, dtype=np.float32)


def u8(*shape: int) -> Array:
    """Bytes."""
    return RANDOM.integers(0, 255, shape, dtype=np.uint8)


def i32(*shape: int, below: int = 2) -> Array:
    """Small counts."""
    return RANDOM.integers(0, below, shape, dtype=np.int32)


SCALE, ZERO = np.array(0.1, dtype=np.float32), np.array(3, dtype=np.uint8)
Q = "s z"
"""Names of a scale and a zero point."""

STUMP = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_featureids": [0, 0, 0],
    "nodes_values": [0.5, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0],
}
"""A tree of one decision and two leaves."""

CASES: dict[str, tuple[NodeProto, dict[str, Array]]] = {
    "FusedMatMul": (
        node("FusedMatMul", "x w", "y", domain=MICROSOFT, transA=1, transB=1, alpha=0.5),
        {"x": f32(2, 4, 3), "w": f32(5, 4)},
    ),
    "FusedConv": (
        node(
            "FusedConv",
            "x w b",
            "y",
            domain=MICROSOFT,
            activation="Relu",
            pads=[1, 1, 1, 1],
            strides=[2, 2],
        ),
        {"x": f32(1, 3, 9, 7), "w": f32(4, 3, 3, 3), "b": f32(4)},
    ),
    "FusedGemm": (
        node("FusedGemm", "x w b", "y", domain=MICROSOFT, activation="Relu", transB=1),
        {"x": f32(2, 4), "w": f32(5, 4), "b": f32(5)},
    ),
    "BiasGelu": (node("BiasGelu", "x b", "y", domain=MICROSOFT), {"x": f32(2, 3, 4), "b": f32(4)}),
    "FastGelu": (node("FastGelu", "x b", "y", domain=MICROSOFT), {"x": f32(2, 3, 4), "b": f32(4)}),
    "QuickGelu": (node("QuickGelu", "x", "y", domain=MICROSOFT), {"x": f32(2, 3, 4)}),
    "Gelu": (node("Gelu", "x", "y", domain=MICROSOFT), {"x": f32(2, 3, 4)}),
    "SkipLayerNormalization": (
        node("SkipLayerNormalization", "x k g b", "y", domain=MICROSOFT),
        {"x": f32(2, 3, 4), "k": f32(2, 3, 4), "g": f32(4), "b": f32(4)},
    ),
    "SimplifiedLayerNormalization": (
        node("SimplifiedLayerNormalization", "x g", "y"),
        {"x": f32(2, 3, 4), "g": f32(4)},
    ),
    "Attention": (
        node("Attention", "x w b", "y", domain=MICROSOFT, num_heads=2),
        {"x": f32(2, 3, 8), "w": f32(8, 24), "b": f32(24)},
    ),
    "MultiHeadAttention": (
        node("MultiHeadAttention", "x k v", "y", domain=MICROSOFT, num_heads=2),
        {"x": f32(2, 3, 8), "k": f32(2, 5, 8), "v": f32(2, 5, 8)},
    ),
    "EmbedLayerNormalization": (
        node("EmbedLayerNormalization", "i - e p - g b", "y z", domain=MICROSOFT),
        {"i": i32(2, 5), "e": f32(30, 8), "p": f32(16, 8), "g": f32(8), "b": f32(8)},
    ),
    "MatMulNBits": (
        node("MatMulNBits", "x w sc", "y", domain=MICROSOFT, K=32, N=6, bits=4, block_size=32),
        {"x": f32(2, 32), "w": u8(6, 1, 16), "sc": f32(6)},
    ),
    "DynamicQuantizeMatMul": (
        node("DynamicQuantizeMatMul", "x w s z", "y", domain=MICROSOFT),
        {"x": f32(2, 4), "w": u8(4, 5), "s": SCALE.reshape(1), "z": ZERO.reshape(1)},
    ),
    "MatMulIntegerToFloat": (
        node("MatMulIntegerToFloat", "x w s s2", "y", domain=MICROSOFT),
        {"x": u8(2, 4), "w": u8(4, 5), "s": SCALE, "s2": SCALE},
    ),
    "QGemm": (
        node("QGemm", f"x {Q} w {Q} - {Q}", "y", domain=MICROSOFT),
        {"x": u8(2, 4), "w": u8(4, 5), "s": SCALE, "z": ZERO},
    ),
    "QLinearAdd": (
        node("QLinearAdd", f"x {Q} w {Q} {Q}", "y", domain=MICROSOFT),
        {"x": u8(2, 1, 4), "w": u8(3, 1), "s": SCALE, "z": ZERO},
    ),
    "QLinearMul": (
        node("QLinearMul", f"x {Q} w {Q} {Q}", "y", domain=MICROSOFT),
        {"x": u8(2, 4), "w": u8(2, 4), "s": SCALE, "z": ZERO},
    ),
    "QLinearSigmoid": (
        node("QLinearSigmoid", f"x {Q} {Q}", "y", domain=MICROSOFT),
        {"x": u8(2, 4), "s": SCALE, "z": ZERO},
    ),
    "QLinearLeakyRelu": (
        node("QLinearLeakyRelu", f"x {Q} {Q}", "y", domain=MICROSOFT),
        {"x": u8(2, 4), "s": SCALE, "z": ZERO},
    ),
    "QLinearSoftmax": (
        node("QLinearSoftmax", f"x {Q} {Q}", "y", domain=MICROSOFT, opset=13),
        {"x": u8(2, 4), "s": SCALE, "z": ZERO},
    ),
    "QLinearConcat": (
        node("QLinearConcat", f"{Q} x {Q} w {Q}", "y", domain=MICROSOFT, axis=1),
        {"x": u8(2, 4), "w": u8(2, 3), "s": SCALE, "z": ZERO},
    ),
    "QLinearAveragePool": (
        node(
            "QLinearAveragePool",
            f"x {Q} {Q}",
            "y",
            domain=MICROSOFT,
            kernel_shape=[2, 2],
            strides=[2, 2],
        ),
        {"x": u8(1, 3, 8, 6), "s": SCALE, "z": ZERO},
    ),
    "QLinearGlobalAveragePool": (
        node("QLinearGlobalAveragePool", f"x {Q} {Q}", "y", domain=MICROSOFT, channels_last=0),
        {"x": u8(1, 3, 8, 6), "s": SCALE, "z": ZERO},
    ),
    "QLinearWhere": (
        node("QLinearWhere", f"c x {Q} w {Q} {Q}", "y", domain=MICROSOFT),
        {"c": np.array([[True], [False]]), "x": u8(2, 4), "w": u8(1, 4), "s": SCALE, "z": ZERO},
    ),
    "RotaryEmbedding": (
        node("RotaryEmbedding", "x p co si", "y", domain=MICROSOFT),
        {
            "x": f32(2, 2, 3, 8),
            "p": np.array([[0, 1, 2], [0, 1, 2]]),
            "co": f32(8, 4),
            "si": f32(8, 4),
        },
    ),
    "Scaler": (
        node("Scaler", "x", "y", domain=ML, offset=[0.5] * 4, scale=[2.0] * 4),
        {"x": np.ones((3, 4), dtype=np.int64)},
    ),
    "Normalizer": (node("Normalizer", "x", "y", domain=ML, norm="L2"), {"x": f32(3, 4)}),
    "Binarizer": (node("Binarizer", "x", "y", domain=ML, threshold=0.5), {"x": f32(3, 4)}),
    "Imputer": (
        node("Imputer", "x", "y", domain=ML, imputed_value_floats=[1.0], replaced_value_float=0.5),
        {"x": f32(3, 4)},
    ),
    "LabelEncoder": (
        node("LabelEncoder", "x", "y", domain=ML, keys_int64s=[0, 1], values_floats=[0.5, 1.5]),
        {"x": i32(3, 4).astype(np.int64)},
    ),
    "OneHotEncoder": (
        node("OneHotEncoder", "x", "y", domain=ML, cats_int64s=[0, 1, 2], zeros=1),
        {"x": i32(3, 4).astype(np.int64)},
    ),
    "LinearClassifier": (
        node(
            "LinearClassifier",
            "x",
            "y z",
            domain=ML,
            classlabels_ints=[0, 1, 2],
            coefficients=[0.5] * 12,
            intercepts=[0.0] * 3,
            post_transform="SOFTMAX",
        ),
        {"x": f32(5, 4)},
    ),
    "LinearRegressor": (
        node("LinearRegressor", "x", "y", domain=ML, coefficients=[0.5] * 8, targets=2),
        {"x": f32(5, 4)},
    ),
    "ArrayFeatureExtractor": (
        node("ArrayFeatureExtractor", "x k", "y", domain=ML),
        {"x": f32(5, 4), "k": np.array([0, 3])},
    ),
    "FeatureVectorizer": (
        node("FeatureVectorizer", "x k", "y", domain=ML, inputdimensions=[4, 2]),
        {"x": f32(5, 4), "k": f32(5, 2)},
    ),
    "TreeEnsembleRegressor": (
        node(
            "TreeEnsembleRegressor",
            "x",
            "y",
            domain=ML,
            n_targets=2,
            **STUMP,
            target_ids=[0, 1],
            target_nodeids=[1, 2],
            target_treeids=[0, 0],
            target_weights=[1.0, 2.0],
        ),
        {"x": f32(5, 4)},
    ),
    "TreeEnsembleClassifier": (
        node(
            "TreeEnsembleClassifier",
            "x",
            "y z",
            domain=ML,
            classlabels_int64s=[0, 1, 2],
            **STUMP,
            class_ids=[0, 1],
            class_nodeids=[1, 2],
            class_treeids=[0, 0],
            class_weights=[1.0, 2.0],
        ),
        {"x": f32(5, 4)},
    ),
}


def told(case: tuple[NodeProto, dict[str, Array]]) -> tuple[CostedDag, list[Array]]:
    """The DAG of a model of one operator, and what running the model gives."""
    operator, feeds = case
    names = [name for name in operator.output if name]
    proto = model(
        [operator],
        [
            value(name, data.shape, numpy_helper.from_array(data).data_type)
            for name, data in feeds.items()
        ],
        [value(name, None, 0) for name in names],
        domains={operator.domain: VERSIONS[operator.domain]} if operator.domain else None,
        opset=17,
    )
    for info in proto.graph.output:
        info.ClearField("type")
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return taken(proto).dag, session.run(names, feeds)


@pytest.mark.parametrize("name", CASES)
def test_operators_of_the_runtime_make_what_it_makes(name: str) -> None:
    """Shapes and element types of the outputs are those that ONNX Runtime gives them."""
    dag, ran = told(CASES[name])
    for output, result in zip("yz", ran, strict=False):
        index = dag.tensor_names.index(output)
        assert dag.tensor_shapes[index] == result.shape
        assert dag.tensor_dtypes[index] == str(result.dtype)


def test_stale_shapes_of_the_file_do_not_stand_against_rules() -> None:
    """What a rule tells of an operator of the runtime wins over a shape that the file has from
    other dimensions."""
    proto = model(
        [node("FusedMatMul", "x w", "a", domain=MICROSOFT), node("Relu", "a", "y")],
        [value("x", ["n", 8])],
        [value("y", ["n", 8])],
        [floats("w", 8, 8)],
        [value("a", [1, 8])],
        domains={MICROSOFT: 1},
    )
    assert shapes(taken(proto, {"n": 4}).dag)["a"] == (4, 8)
