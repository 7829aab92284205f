"""Operators beside ONNX's own: com.microsoft and ai.onnx.ml; and numbers drawn at random."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from tests.halves.weighted_models.weighted import Collection, numbers, positive, tensor, weight
from tests.ingest.build import INT64, model, node, value

weighted = Collection()
MICROSOFT = "com.microsoft"
ML = "ai.onnx.ml"


def foreign(
    domain: str, op_type: str, inputs: str, outputs: str, **attributes: object
) -> NodeProto:
    """A node of another domain, named after its first output."""
    made = node(op_type, inputs, outputs, name=outputs.split()[0], **attributes)
    made.domain = domain
    return made


@weighted.model()
def fused() -> ModelProto:
    """What ONNX Runtime's optimiser writes: fused products, activations, normalisations, attention
    with optional inputs left out. Only the middle uses the foreign domain."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            foreign(MICROSOFT, "FusedMatMul", "h v", "f", transB=1, alpha=0.5),
            foreign(MICROSOFT, "Gelu", "f", "g"),
            foreign(MICROSOFT, "Attention", "g wa ba", "a", num_heads=4),
            foreign(MICROSOFT, "SkipLayerNormalization", "a g gain", "s - - sum", epsilon=1e-5),
            foreign(MICROSOFT, "BiasGelu", "s bias", "b"),
            node("Add", "b sum", "t", name="t"),
            node("Tanh", "t", "y", name="y"),
        ],
        [value("x", [1, 3, 16])],
        [value("y", [1, 3, 24])],
        [
            weight("w", 16, 24),
            weight("v", 24, 24),
            weight("wa", 24, 72),
            weight("ba", 72),
            positive("gain", 24),
            weight("bias", 24),
        ],
        domains={MICROSOFT: 1},
    )


@weighted.model()
def packed_products() -> ModelProto:
    """Products with weights of 4 bits and of 8, as ONNX Runtime packs them."""
    random = np.random.default_rng(11)
    packed = random.integers(0, 256, (48, 2, 16), dtype=np.uint8)
    codes = random.integers(-100, 100, (48, 40), dtype=np.int8)
    return model(
        [
            foreign(
                MICROSOFT, "MatMulNBits", "x packed scales", "m", K=64, N=48, bits=4, block_size=32
            ),
            node("Relu", "m", "r", name="r"),
            foreign(MICROSOFT, "DynamicQuantizeMatMul", "r codes scale zero", "y"),
        ],
        [value("x", [2, 64])],
        [value("y", [2, 40])],
        [
            tensor("packed", packed),
            tensor("scales", np.abs(numbers("scales", 48, 2)) * 0.1 + 0.01),
            tensor("codes", codes),
            tensor("scale", np.array([0.01], np.float32)),
            tensor("zero", np.array([3], np.int8)),
        ],
        domains={MICROSOFT: 1},
    )


@weighted.model()
def forest() -> ModelProto:
    """Trees whose data lie in attributes, behind a scaler; classes as a sequence of maps."""
    trees, depth_nodes = 40, 3
    ids = [i for i in range(trees) for _ in range(depth_nodes)]
    cuts = [float(number) for number in numbers("cuts", trees * depth_nodes)]
    random = np.random.default_rng(5)
    leaves = [float(number) for number in numbers("leaves", 2 * trees)]
    proto = model(
        [
            foreign(
                ML, "Scaler", "x", "s", offset=cuts[:16], scale=[1.0 + abs(c) for c in cuts[:16]]
            ),
            node("MatMul", "s w", "h", name="h"),
            foreign(
                ML,
                "TreeEnsembleClassifier",
                "h",
                "label p",
                classlabels_int64s=[0, 1, 2],
                nodes_treeids=ids,
                nodes_nodeids=[0, 1, 2] * trees,
                nodes_featureids=[int(i) for i in random.integers(0, 24, len(ids))],
                nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * trees,
                nodes_values=cuts,
                nodes_truenodeids=[1, 0, 0] * trees,
                nodes_falsenodeids=[2, 0, 0] * trees,
                class_treeids=[i for i in range(trees) for _ in range(2)],
                class_nodeids=[1, 2] * trees,
                class_ids=[int(i) for i in random.integers(0, 3, 2 * trees)],
                class_weights=leaves,
            ),
            foreign(ML, "ZipMap", "p", "named", classlabels_int64s=[0, 1, 2]),
        ],
        [value("x", [4, 16])],
        [value("label", [4], INT64)],
        [weight("w", 16, 24)],
        domains={ML: 3},
    )
    row = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    proto.graph.output.append(helper.make_value_info("named", helper.make_sequence_type_proto(row)))
    return proto


@weighted.model()
def seeded_numbers() -> ModelProto:
    """Numbers drawn with a seed: by a node without inputs, which both sides use, and by nodes that
    take a tensor's shape."""
    return model(
        [
            node("RandomNormal", "", "noise", name="noise", shape=[2, 24], seed=3.0),
            node("RandomUniform", "", "gate", name="gate", shape=[24, 24], seed=4.0),
            node("MatMul", "x w", "h", name="h"),
            node("Add", "h noise", "a", name="a"),
            node("RandomUniformLike", "a", "u", name="u", seed=5.0),
            node("Mul", "a u", "m", name="m"),
            node("MatMul", "m gate", "g", name="g"),
            node("Add", "g noise", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 24])],
        [weight("w", 16, 24)],
    )


@weighted.model()
def encoder() -> ModelProto:
    """A LabelEncoder whose keys and values are large tensors in attributes."""
    keys = tensor("keys", np.arange(300, dtype=np.int64) * 3)
    values = tensor("values", np.random.default_rng(2).permutation(300).astype(np.int64))
    default = tensor("default", np.array([7], dtype=np.int64))
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("ArgMax", "h", "best", name="best", axis=1, keepdims=0),
            node("Mul", "best three", "key", name="key"),
            foreign(
                ML,
                "LabelEncoder",
                "key",
                "code",
                keys_tensor=keys,
                values_tensor=values,
                default_tensor=default,
            ),
            node("Gather", "table code", "y", name="y"),
        ],
        [value("x", [4, 16])],
        [value("y", [4, 8]), value("code", [4], INT64)],
        [weight("w", 16, 290), tensor("three", np.array(3)), weight("table", 300, 8)],
        domains={ML: 4},
    )
