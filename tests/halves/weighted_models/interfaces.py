"""Graph inputs and outputs, and names."""

import numpy as np
from onnx import ModelProto, StringStringEntryProto, TensorAnnotation, TensorProto, helper

from tests.halves.weighted_models.weighted import Collection, positive, tensor, weight
from tests.ingest.build import BOOL, INT64, model, node, value

weighted = Collection()
SHAPE = [2, 24]


def chain(*, ir_version: int = 8) -> ModelProto:
    """Two layers."""
    return model(
        [
            node("Gemm", "x w0 b0", "h", name="h"),
            node("Relu", "h", "r", name="r"),
            node("Gemm", "r w1 b1", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 8])],
        [weight("w0", 16, 24), weight("b0", 24), weight("w1", 24, 8), weight("b1", 8)],
        opset=11 if ir_version < 4 else 17,
        ir_version=ir_version,
    )


@weighted.model()
def weights_among_inputs() -> ModelProto:
    """Version 3 of the format, in which every weight is listed as an input."""
    proto = chain(ir_version=3)
    listed = [value(item.name, list(item.dims)) for item in proto.graph.initializer]
    proto.graph.input.extend(listed)
    return proto


@weighted.model()
def overridable_weights() -> ModelProto:
    """Version 8: two weights, one small, are inputs with a default; one stands before ``x``."""
    proto = chain()
    declared = [value("w1", [24, 8]), proto.graph.input[0], value("b0", [24])]
    del proto.graph.input[:]
    proto.graph.input.extend(declared)
    return proto


@weighted.model()
def output_used_inside() -> ModelProto:
    """Graph outputs that later nodes read as well, out of the order in which they are made."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Relu", "h", "r", name="r"),
            node("MatMul", "r v", "g", name="g"),
            node("Tanh", "g", "t", name="t"),
            node("Add", "t h", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE), value("h", SHAPE), value("t", SHAPE), value("r", SHAPE)],
        [weight("w", 16, 24), weight("v", 24, 24)],
    )


@weighted.model()
def output_is_input() -> ModelProto:
    """A graph input that is a graph output, too; a late node reads it. And one nobody reads."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Tanh", "h", "t", name="t"),
            node("Mul", "t z", "y", name="y"),
        ],
        [value("x", [2, 16]), value("z", SHAPE), value("aside", [3], INT64)],
        [value("z", SHAPE), value("y", SHAPE), value("aside", [3], INT64)],
        [weight("w", 16, 24)],
    )


@weighted.model()
def output_is_weight() -> ModelProto:
    """Graph outputs that depend on no input: an initializer, a Constant, and what is made of
    weights that nodes on either side use."""
    return model(
        [
            helper.make_node("Constant", [], ["k"], value=weight("k", 300)),
            node("Transpose", "v", "turned", name="turn"),
            node("MatMul", "x w", "h", name="h"),
            node("MatMul", "h turned", "t", name="t"),
            node("MatMul", "t v", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [
            value("turned", [24, 24]),
            value("y", SHAPE),
            value("w", [16, 24]),
            value("k", [300]),
        ],
        [weight("w", 16, 24), weight("v", 24, 24)],
    )


@weighted.model()
def unused_inputs() -> ModelProto:
    """Inputs that nothing reads, one of them through a node that no output depends on."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Cast", "flags", "dead", name="dead", to=TensorProto.FLOAT),
            node("MatMul", "h v", "y", name="y"),
        ],
        [value("first", [1]), value("x", [2, 16]), value("flags", [3], BOOL)],
        [value("y", SHAPE)],
        [weight("w", 16, 24), weight("v", 24, 24)],
    )


@weighted.model()
def late_inputs() -> ModelProto:
    """Inputs of which some are read late only, and one both early and late: they cross raw."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Add", "h bias", "a", name="a"),
            node("Relu", "a", "r", name="r"),
            node("Where", "mask r bias", "m", name="m"),
            node("Gather", "m ids", "g", name="g", axis=1),
            node("MatMul", "g v", "y", name="y"),
        ],
        [
            value("mask", SHAPE, BOOL),
            value("x", [2, 16]),
            value("ids", [20], INT64),
            value("bias", SHAPE),
        ],
        [value("y", SHAPE)],
        [weight("w", 16, 24), weight("v", 20, 24)],
    )


@weighted.model()
def names_missing() -> ModelProto:
    """Nodes without names, and nodes with the names that Kerf would give these."""
    return model(
        [
            node("MatMul", "x w", "a"),
            node("Relu", "a", "b", name="same"),
            node("MatMul", "b v", "c", name="MatMul_0"),
            node("Relu", "c", "d"),
            node("Tanh", "d", "e", name="Relu_3"),
            node("Relu", "e", "y", name="Relu_3_"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [weight("w", 16, 24), weight("v", 24, 24)],
    )


@weighted.model()
def names_odd() -> ModelProto:
    """Names with spaces, slashes, colons, quotes and letters of other scripts; a node, a tensor
    and a weight that share one."""
    first, second = "/block 0/a:0", 'größe "quoted"'
    return model(
        [
            helper.make_node("MatMul", ["вход", "W/äh"], [first], name="same"),
            helper.make_node("Relu", [first], ["same"], name=first),
            helper.make_node("MatMul", ["same", second], ["y\n"], name="重み"),
        ],
        [value("вход", [2, 16])],
        [value("y\n", SHAPE)],
        [weight("W/äh", 16, 24), weight(second, 24, 24)],
    )


@weighted.model(is_valid=False)
def out_of_order() -> ModelProto:
    """Nodes that stand before the makers of what they use: forbidden, but runtimes take it."""
    proto = output_used_inside.build()
    nodes = list(reversed(proto.graph.node))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


@weighted.model(parameters=("w0", "b0", "w1", "b1"))
def fed_weights() -> ModelProto:
    """A graph as training has it: it is fed its weights as inputs, one of them used twice."""
    return model(
        [
            node("Gemm", "x w0 b0", "h", name="h"),
            node("Relu", "h", "r", name="r"),
            node("Gemm", "r w1 b1", "g", name="g"),
            node("Transpose", "w1", "turned", name="turned"),
            node("MatMul", "g turned", "t", name="t"),
            node("Add", "t b0", "y", name="y"),
        ],
        [
            value("w0", [16, 24]),
            value("x", [2, 16]),
            value("b0", [24]),
            value("w1", [24, 20]),
            value("b1", [20]),
        ],
        [value("y", SHAPE)],
    )


@weighted.model()
def annotated() -> ModelProto:
    """Metadata of the model, of the graph and of nodes, documentation, the producer's name,
    quantisation annotations, and stored types of inner tensors."""
    proto = chain(ir_version=10)
    proto.producer_name, proto.producer_version, proto.domain = "somebody", "1.2", "org.example"
    proto.model_version, proto.doc_string = 7, "A model. " * 400
    helper.set_model_props(proto, {"names": "{0: 'cat', 1: 'dog'}", "long": "l" * 3000})
    entry = StringStringEntryProto(key="SCALE_TENSOR", value="b0")
    for name in ("w0", "h", "r"):
        proto.graph.quantization_annotation.append(
            TensorAnnotation(tensor_name=name, quant_parameter_tensor_names=[entry])
        )
    proto.graph.value_info.extend([value("h", SHAPE), value("r", SHAPE)])
    proto.graph.doc_string = "the graph"
    for made in proto.graph.node:
        made.doc_string = "where it was made"
        made.metadata_props.add(key="namespace", value="layer")
    return proto


@weighted.model()
def scalars_and_flags() -> ModelProto:
    """Scalars, booleans and 64-bit integers between nodes, each the only tensor somewhere."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("ArgMax", "h", "best", name="best", axis=1, keepdims=0),
            node("ReduceMax", "best", "most", name="most", keepdims=0),
            node("Greater", "most limit", "flag", name="flag"),
            node("Not", "flag", "other", name="other"),
            node("Where", "other table turned", "y", name="y"),
        ],
        [value("x", [3, 16])],
        [value("y", [30, 10]), value("other", [], BOOL)],
        [
            weight("w", 16, 24),
            tensor("limit", np.array(11)),
            weight("table", 30, 10),
            weight("turned", 30, 10),
        ],
    )


@weighted.model(is_valid=False)
def spelled_domain() -> ModelProto:
    """Nodes that spell the default domain out, and imports of domains that nothing uses."""
    proto = chain()
    for made in proto.graph.node[1:]:
        made.domain = "ai.onnx"
    proto.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 3)])
    proto.opset_import.extend([helper.make_opsetid("com.example", 1)])
    return proto


@weighted.model()
def training_information() -> ModelProto:
    """A model with a graph for its training beside its own, which uses its weights."""
    proto = chain()
    training = proto.training_info.add()
    training.algorithm.CopyFrom(
        helper.make_graph(
            [node("Sub", "w0 step", "w0.next"), node("Add", "step step", "step.next")],
            "algorithm",
            [],
            [value("w0.next", [16, 24])],
            [weight("step", 16, 24)],
        )
    )
    training.update_binding.add(key="w0", value="w0.next")
    return proto


@weighted.model()
def old_operators() -> ModelProto:
    """Operator set 7: arguments in attributes, operators that are gone by now."""
    return model(
        [
            node("Conv", "x w", "c", name="c", pads=[1, 1, 1, 1]),
            node("BatchNormalization", "c scale bias mean var", "n", name="n", epsilon=1e-3),
            node("Upsample", "n", "u", name="u", mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]),
            node("Dropout", "u", "d", name="d", ratio=0.5),
            node("Slice", "d", "s", name="s", axes=[2, 3], starts=[0, 1], ends=[6, 7]),
            node("Pad", "s", "p", name="p", pads=[0, 0, 1, 0, 0, 0, 0, 1], value=0.5),
            node("ReduceSum", "p", "r", name="r", axes=[2], keepdims=0),
            node("Squeeze", "r", "q", name="q", axes=[0]),
            node("Clip", "q", "y", name="y", min=-1.0, max=9.0),
        ],
        [value("x", [1, 4, 4, 4])],
        [value("y", [12, 7])],
        [
            weight("w", 12, 4, 3, 3),
            positive("scale", 12),
            weight("bias", 12),
            weight("mean", 12),
            positive("var", 12),
        ],
        opset=7,
        ir_version=4,
    )


@weighted.model()
def passed_through() -> ModelProto:
    """Outputs that are inputs by way of Identity, Dropout and a Cast to the same type."""
    return model(
        [
            node("Identity", "x", "same", name="same"),
            node("Dropout", "z", "kept", name="kept"),
            node("MatMul", "x w", "h", name="h"),
            node("Cast", "h", "y", name="y", to=TensorProto.FLOAT),
        ],
        [value("x", [2, 16]), value("z", [3])],
        [value("same", [2, 16]), value("kept", [3]), value("y", SHAPE)],
        [weight("w", 16, 24)],
    )


@weighted.model()
def nothing_to_split() -> ModelProto:
    """Nothing depends on a graph input: one half makes all there is."""
    return model(
        [node("MatMul", "w v", "y", name="y")],
        [value("x", [2, 16])],
        [value("y", [16, 24])],
        [weight("w", 16, 24), weight("v", 24, 24)],
    )
