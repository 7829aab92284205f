"""Loop and Scan: captures, carried states, weights inside bodies, names that shadow others."""

import numpy as np
from onnx import GraphProto, ModelProto, helper

from tests.halves.weighted_models.weighted import Collection, tensor, weight
from tests.ingest.build import BOOL, INT64, graph, model, node, scalar, value

weighted = Collection()
SHAPE = [2, 24]
TRUE = tensor("true", np.array(True))
STEP = [value("i", [], INT64), value("go", [], BOOL)]


@weighted.model()
def loop_with_captures() -> ModelProto:
    """A Loop that carries a state, captures an early tensor and a shared weight, and stacks what
    each step makes."""
    body = graph(
        [
            node("MatMul", "state w2", "m"),
            node("Add", "m early", "a"),
            node("Tanh", "a", "next"),
            node("ReduceMean", "next", "mean", axes=[1], keepdims=0),
            node("Identity", "go", "goes"),
        ],
        [*STEP, value("state", SHAPE)],
        [value("goes", [], BOOL), value("next", SHAPE), value("mean", [2])],
    )
    return model(
        [
            node("MatMul", "x w", "early", name="early"),
            node("Relu", "early", "start", name="start"),
            node("Loop", "trips true start", "end means", name="loop", body=body),
            node("MatMul", "end w2", "y", name="y"),
            node("ReduceMax", "means", "peak", name="peak", axes=[0], keepdims=0),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE), value("peak", [2])],
        [weight("w", 16, 24), weight("w2", 24, 24), scalar("trips", 3), TRUE],
    )


@weighted.model()
def loop_that_captures_its_start() -> ModelProto:
    """The tensor from which a Loop starts is captured by its body, too."""
    body = graph(
        [
            node("Gemm", "state inner.weight inner.bias", "m"),
            node("Sub", "m h", "next"),
            node("Identity", "go", "goes"),
        ],
        [*STEP, value("state", SHAPE)],
        [value("goes", [], BOOL), value("next", SHAPE)],
        [weight("inner.weight", 24, 24), weight("inner.bias", 24)],
    )
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Loop", "trips - h", "y", name="loop", body=body),
            node("Neg", "y", "z", name="z"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE), value("z", SHAPE)],
        [weight("w", 16, 24), scalar("trips", 2)],
    )


@weighted.model(feeds={"trips": np.array(3)})
def loop_by_input() -> ModelProto:
    """The number of trips is a graph input, and the body decides itself when to end."""
    body = graph(
        [
            node("MatMul", "state inner", "next"),
            node("ReduceSum", "next", "total", keepdims=0),
            node("Less", "total most", "goes"),
        ],
        [*STEP, value("state", SHAPE)],
        [value("goes", [], BOOL), value("next", SHAPE)],
        [weight("inner", 24, 24)],
    )
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Loop", "trips true h", "end", name="loop", body=body),
            node("Tanh", "end", "y", name="y"),
        ],
        [value("x", [2, 16]), value("trips", [], INT64)],
        [value("y", SHAPE)],
        [weight("w", 16, 24), tensor("most", np.array(1e3, np.float32)), TRUE],
    )


@weighted.model()
def scan() -> ModelProto:
    """A Scan along two inputs, with a state, a captured tensor and a captured weight."""
    body = graph(
        [
            node("MatMul", "state w2", "m"),
            node("Add", "m slice", "a"),
            node("Mul", "a gate", "b"),
            node("Add", "b offset", "next"),
            node("Relu", "next", "out"),
        ],
        [value("state", [24]), value("slice", [24]), value("offset", [24])],
        [value("next", [24]), value("out", [24])],
    )
    return model(
        [
            node("MatMul", "x w", "rows", name="rows"),
            node("Sigmoid", "first", "gate", name="gate"),
            node("Tanh", "rows", "offsets", name="offsets"),
            node(
                "Scan",
                "first rows offsets",
                "last all",
                name="scan",
                body=body,
                num_scan_inputs=2,
            ),
            node("MatMul", "all w2", "y", name="y"),
            node("Add", "y last", "z", name="z"),
        ],
        [value("x", [5, 16]), value("first", [24])],
        [value("z", [5, 24])],
        [weight("w", 16, 24), weight("w2", 24, 24)],
    )


@weighted.model()
def nested_loops() -> ModelProto:
    """A Scan in a Loop in an If: the innermost graph captures from all graphs around it."""
    innermost = graph(
        [
            node("Add", "row bias", "a"),
            node("Mul", "a scale", "b"),
            node("MatMul", "b w2", "c"),
            node("Add", "sum c", "after"),
            node("Identity", "after", "seen"),
        ],
        [value("sum", [24]), value("row", [24])],
        [value("after", [24]), value("seen", [24])],
    )
    middle = graph(
        [
            node("Sigmoid", "state", "scales"),
            node("ReduceMean", "scales", "scale", axes=[0], keepdims=0),
            node("Scan", "zeros state", "ended rows", body=innermost, num_scan_inputs=1),
            node("Add", "rows h", "next"),
            node("Identity", "go", "goes"),
        ],
        [*STEP, value("state", SHAPE)],
        [value("goes", [], BOOL), value("next", SHAPE)],
        [weight("bias", 24)],
    )
    taken = graph(
        [
            node("Tanh", "h", "start"),
            node("Loop", "trips - start", "r", body=middle),
        ],
        [],
        [value("r", SHAPE)],
    )
    other = graph([node("MatMul", "h w2", "r")], [], [value("r", SHAPE)])
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("ReduceMax", "h", "peak", name="peak", keepdims=0),
            node("Less", "peak most", "cond", name="cond"),
            node("If", "cond", "chosen", name="if", then_branch=taken, else_branch=other),
            node("MatMul", "chosen w2", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [
            weight("w", 16, 24),
            weight("w2", 24, 24),
            weight("zeros", 24),
            scalar("trips", 2),
            tensor("most", np.array(1e3, np.float32)),
        ],
    )


@weighted.model()
def equal_names_in_bodies() -> ModelProto:
    """Two Loops whose bodies give the same names to their inputs, nodes, results and weights."""

    def body(seed: str) -> GraphProto:
        inner = weight(seed, 24, 24)
        inner.name = "inner"
        return graph(
            [
                node("MatMul", "state inner", "m", name="m"),
                node("Tanh", "m", "next", name="t"),
                node("Identity", "go", "goes", name="g"),
            ],
            [*STEP, value("state", SHAPE)],
            [value("goes", [], BOOL), value("next", SHAPE)],
            [inner],
        )

    return model(
        [
            node("Loop", "trips - x", "a", name="one", body=body("one")),
            node("Relu", "a", "b", name="m"),
            node("Loop", "trips - b", "c", name="two", body=body("two")),
            node("Loop", "trips - c", "y", name="three", body=body("one")),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [scalar("trips", 2)],
    )


@weighted.model()
def shadowing() -> ModelProto:
    """A body has an input and a weight with names of the graph around it."""
    shadow = weight("another w2", 24, 24)
    shadow.name = "w2"
    body = graph(
        [
            node("MatMul", "h w2", "m"),
            node("Add", "m early", "next"),
            node("Identity", "go", "goes"),
        ],
        [*STEP, value("h", SHAPE)],
        [value("goes", [], BOOL), value("next", SHAPE)],
        [shadow],
    )
    return model(
        [
            node("MatMul", "x w", "early", name="early"),
            node("MatMul", "early w2", "h", name="h"),
            node("Relu", "h", "s", name="s"),
            node("Loop", "trips - s", "end", name="loop", body=body),
            node("Add", "end h", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [weight("w", 16, 24), weight("w2", 24, 24), scalar("trips", 2)],
    )


@weighted.model()
def sequences() -> ModelProto:
    """A sequence of tensors between nodes, which is never cut."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("SplitToSequence", "h", "parts", name="parts", axis=0, keepdims=0),
            node("SequenceAt", "parts one", "row", name="row"),
            node("Mul", "row b", "r", name="r"),
            node("ConcatFromSequence", "parts", "again", name="again", axis=0, new_axis=1),
            node("Add", "again r", "sum", name="sum"),
            node("MatMul", "sum w2", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [weight("w", 16, 24), weight("w2", 24, 24), weight("b", 24), scalar("one", 1)],
        [value("row", [24]), value("again", SHAPE)],
    )


@weighted.model()
def sequence_output() -> ModelProto:
    """A sequence of tensors as a graph output."""
    proto = model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Relu", "h", "r", name="r"),
            node("SequenceConstruct", "h r", "both", name="both"),
            node("MatMul", "r w2", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [weight("w", 16, 24), weight("w2", 24, 24)],
    )
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, SHAPE))
    proto.graph.output.append(helper.make_value_info("both", kind))
    return proto


@weighted.model()
def scan_in_batches() -> ModelProto:
    """Scan as it was in operator set 8: lengths first, left out here, and a batch of its own."""
    body = graph(
        [
            node("MatMul", "state w2", "m"),
            node("Add", "m slice", "next"),
            node("Tanh", "next", "out"),
        ],
        [value("state", [1, 24]), value("slice", [1, 24])],
        [value("next", [1, 24]), value("out", [1, 24])],
    )
    return model(
        [
            node("MatMul", "x w", "rows", name="rows"),
            node("Scan", "- first rows", "last all", name="scan", body=body, num_scan_inputs=1),
            node("Relu", "all", "y", name="y"),
        ],
        [value("x", [2, 5, 1, 16]), value("first", [2, 1, 24])],
        [value("y", [2, 5, 1, 24]), value("last", [2, 1, 24])],
        [weight("w", 16, 24), weight("w2", 24, 24)],
        opset=8,
        ir_version=4,
    )


@weighted.model()
def optional_values() -> ModelProto:
    """An optional value between nodes, which is never cut, and another as a graph output."""
    proto = model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Optional", "h", "maybe", name="maybe"),
            node("OptionalHasElement", "maybe", "there", name="there"),
            node("OptionalGetElement", "maybe", "got", name="got"),
            node("MatMul", "got w2", "y", name="y"),
            node("Optional", "y", "last", name="last"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE), value("there", [], BOOL)],
        [weight("w", 16, 24), weight("w2", 24, 24)],
        [value("got", SHAPE)],
        opset=18,
    )
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(1, SHAPE))
    proto.graph.output.append(helper.make_value_info("last", kind))
    return proto


@weighted.model(feeds={"rows": [np.ones((2, 24), np.float32), np.full((1, 24), 2, np.float32)]})
def sequence_input() -> ModelProto:
    """A graph input that is a sequence, whose readers run on the device in every cut."""
    proto = model(
        [
            node("ConcatFromSequence", "rows", "all", name="all", axis=0),
            node("MatMul", "all w", "h", name="h"),
            node("MatMul", "h w", "y", name="y"),
        ],
        [],
        [value("y", [3, 24])],
        [weight("w", 24, 24)],
        [value("all", [3, 24])],
    )
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [None, 24]))
    proto.graph.input.append(helper.make_value_info("rows", kind))
    return proto
