"""Which nodes each kernel stands for."""

from collections import Counter
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from app.calibration.attribution import groups_of
from app.calibration.execution import execute
from app.calibration.labels import Labels, makers_in
from app.halves.feeds import seeded_feeds
from app.ingest import dissect_file
from tests.halves.weighted_models.weighted import numbers, positive, tensor, weight
from tests.ingest.build import floats, graph, ints, model, node, value

Groups = list[tuple[str, set[str]]]
"""Of each kernel, in the order in which they run: its operator, and the names of its nodes."""


def stated(*kernels: NodeProto, weights: tuple[TensorProto, ...] = ()) -> ModelProto:
    """An optimised graph, as a runtime might make it."""
    return model(kernels, [value("<i0>")], [], weights)


def kernel(name: str, op_type: str, inputs: str, outputs: str) -> NodeProto:
    """A kernel of an optimised graph."""
    made = node(op_type, inputs, outputs)
    made.name = name
    return made


def groups_in(labelled: ModelProto, optimised: ModelProto) -> list[list[int]]:
    """The places of each kernel's nodes, if all nodes are of the DAG."""
    places = range(len(labelled.graph.node))
    return [sorted(group) for group in groups_of(labelled.graph, optimised.graph, places)]


def chain(*op_types: str) -> ModelProto:
    """A labelled model of nodes in a row."""
    nodes = [node(name, f"t{i}", f"t{i + 1}") for i, name in enumerate(op_types)]
    proto = model(nodes, [value("t0")], [value(f"t{len(op_types)}")])
    Labels(proto)
    return proto


def test_a_kernel_does_what_its_names_tell_and_what_lies_between() -> None:
    """A kernel that begins at one node and ends at another did those between as well."""
    optimised = stated(kernel("<0>", "FusedConv", "<i0>", "<2:0>"))
    found = groups_in(chain("Conv", "BatchNormalization", "Relu"), optimised)
    assert found == [[0, 1, 2]]


def test_an_open_end_takes_what_runtimes_put_behind() -> None:
    """Of a kernel whose output has no name of the model's, an activation behind it is a part, but
    no convolution is: that is part of the kernel behind."""
    optimised = stated(
        kernel("<0:0>_nchwc", "Conv", "<i0>", "reorder_1"),
        kernel("<4:0>_nchwc", "Conv", "reorder_1", "<4:0>"),
    )
    found = groups_in(chain("Conv", "Relu", "Conv", "BatchNormalization", "Relu"), optimised)
    assert found == [[0, 1], [2, 3, 4]]


def test_a_sum_is_part_of_the_operand_that_is_made_last() -> None:
    """Where both operands of an addition end in kernels without an end of the model's, it is done
    when the later one is."""
    proto = model(
        [
            node("MaxPool", "x", "a"),
            node("Conv", "a", "b"),
            node("Add", "a b", "c"),
            node("Conv", "c", "d"),
        ],
        [value("x")],
        [value("d")],
    )
    Labels(proto)
    optimised = stated(
        kernel("<0:0>_nchwc", "MaxPool", "<i0>", "reorder_1"),
        kernel("<1:0>_nchwc", "Conv", "reorder_1", "reorder_2"),
        kernel("<3:0>_nchwc", "Conv", "reorder_2", "<3:0>"),
    )
    assert groups_in(proto, optimised) == [[0], [1, 2], [3]]


def test_kernels_that_the_runtime_adds_serve_those_that_read_them() -> None:
    """A change of layout counts for the node that needs it; one at the end, and one whose output
    nobody reads, for the node before."""
    optimised = stated(
        kernel("ReorderInput", "ReorderInput", "<i0>", "reorder_1"),
        kernel("<0:0>_nchwc", "Conv", "reorder_1", "reorder_2"),
        kernel("ReorderOutput", "ReorderOutput", "reorder_2", "<0:0>"),
        kernel("<1>", "Relu", "<0:0>", "<1:0>"),
        kernel("copy", "Identity", "<1:0>", "nobody's"),
    )
    assert groups_in(chain("Conv", "Relu"), optimised) == [[0], [0], [0], [1], [1]]


def test_folded_nodes_are_no_part_of_any_kernel() -> None:
    """What became a weight took its predecessors with it."""
    proto = model(
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n"),
            node("Reshape", "x n", "y"),
        ],
        [value("x")],
        [value("y")],
        [ints("zero", 0)],
    )
    Labels(proto)
    optimised = stated(kernel("<2>", "Reshape", "<i0> <1:0>", "<2:0>"), weights=(ints("<1:0>", 4),))
    assert groups_in(proto, optimised) == [[2]]


def test_only_nodes_of_the_dag_are_counted() -> None:
    """A kernel that works on weights alone, at every run, serves the node that reads them."""
    proto = model(
        [node("DequantizeLinear", "w s", "d"), node("MatMul", "x d", "y")],
        [value("x")],
        [value("y")],
        [floats("w", 4), floats("s", 1)],
    )
    Labels(proto)
    optimised = stated(
        kernel("<0>", "DequantizeLinear", "<w0> <w1>", "<0:0>"),
        kernel("<1>", "MatMul", "<i0> <0:0>", "<1:0>"),
    )
    found = groups_of(proto.graph, optimised.graph, [1])
    assert found == [{1}, {1}]


def run(proto: ModelProto, directory: Path) -> Groups:
    """What ONNX Runtime makes of a model on this machine."""
    path = directory / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with path.open("rb") as file:
        dissected = dissect_file(file)
    flat = dissected.flat
    names = [item.name for item in flat.graph.node]
    labels = Labels(flat)
    feeds = seeded_feeds(path, {}, 1)
    workshop = directory / "work"
    workshop.mkdir()
    executed = execute(flat, labels, path, feeds, threads=1, seconds=0.001, directory=workshop)
    counted = {makers_in(labels.of(name)).pop() for made in dissected.node_outputs for name in made}
    groups = groups_of(flat.graph, executed.optimised, counted)
    return [
        (item.op_type, {names[place] for place in group})
        for item, group in zip(executed.optimised.node, groups, strict=True)
    ]


def of_type(groups: Groups, op_types: str) -> list[set[str]]:
    """The groups of the kernels whose operators' names end like that."""
    return [names for op_type, names in groups if op_type.endswith(tuple(op_types.split()))]


def conv(name: str, data: str, channels: int) -> tuple[NodeProto, TensorProto]:
    """A convolution of so many channels to 32, and its weight."""
    made = node("Conv", f"{data} {name}.w", name, name=name, pads=[1, 1, 1, 1])
    return made, weight(f"{name}.w", 32, channels, 3, 3)


def test_convolutions_with_what_is_fused_into_them(tmp_path: Path) -> None:
    """Each convolution of a residual block is in the group of one convolution kernel, with its
    normalisation, and neither with the other's."""
    first, first_weight = conv("first", "x", 16)
    second, second_weight = conv("second", "r", 32)
    parts = ("scale", "bias", "mean", "var")
    norm = " ".join(["first", *parts])
    groups = run(
        model(
            [
                first,
                node("BatchNormalization", norm, "n", name="norm"),
                node("Relu", "n", "r", name="relu"),
                second,
                node("Add", "second r", "s", name="sum"),
                node("Relu", "s", "y", name="last"),
            ],
            [value("x", [1, 16, 12, 12])],
            [value("y", [1, 32, 12, 12])],
            [first_weight, second_weight, *(positive(part, 32) for part in parts)],
        ),
        tmp_path,
    )
    one, other = of_type(groups, "Conv")
    assert {"first", "norm"} <= one
    assert "second" in other
    assert not {"second", "sum", "last"} & one
    assert not {"first", "norm"} & other
    assert set().union(*(names for _, names in groups)) == {
        *("first", "norm", "relu", "second", "sum", "last")
    }


def test_a_layer_normalisation_in_pieces_is_one_kernel(tmp_path: Path) -> None:
    """What exporters write as nine nodes, and the runtime does in one pass."""
    pieces = [
        node("ReduceMean", "h", "mean", name="mean", axes=[-1]),
        node("Sub", "h mean", "d", name="sub"),
        node("Pow", "d two", "q", name="pow"),
        node("ReduceMean", "q", "v", name="variance", axes=[-1]),
        node("Add", "v epsilon", "e", name="add"),
        node("Sqrt", "e", "r", name="sqrt"),
        node("Div", "d r", "n", name="div"),
        node("Mul", "n gain", "g", name="gain"),
        node("Add", "g bias", "y", name="bias"),
    ]
    weights = [
        weight("w", 16, 16),
        tensor("two", np.array(2, np.float32)),
        tensor("epsilon", np.array(1e-5, np.float32)),
        positive("gain", 16),
        weight("bias", 16),
    ]
    groups = run(
        model(
            [node("MatMul", "x w", "h", name="before"), *pieces],
            [value("x", [1, 5, 16])],
            [value("y", [1, 5, 16])],
            weights,
        ),
        tmp_path,
    )
    assert of_type(groups, "LayerNormalization") == [{item.name for item in pieces}]
    assert of_type(groups, "MatMul Gemm") == [{"before"}]


def test_a_product_with_its_bias_and_activation(tmp_path: Path) -> None:
    """A product, the bias added to it and a Gelu in pieces are all accounted for, and the product
    is in one group only, with no part of the Gelu."""
    pieces = [
        node("Div", "h root", "a", name="div"),
        node("Erf", "a", "b", name="erf"),
        node("Add", "b one", "c", name="add"),
        node("Mul", "h c", "d", name="mul"),
        node("Mul", "d half", "y", name="half"),
    ]
    constants = {"root": 2**0.5, "one": 1.0, "half": 0.5}
    groups = run(
        model(
            [
                node("MatMul", "x w", "p", name="product"),
                node("Add", "p bias", "h", name="bias"),
                *pieces,
            ],
            [value("x", [1, 5, 16])],
            [value("y", [1, 5, 16])],
            [
                weight("w", 16, 16),
                weight("bias", 16),
                *(tensor(name, np.array(it, np.float32)) for name, it in constants.items()),
            ],
        ),
        tmp_path,
    )
    (product,) = of_type(groups, "MatMul Gemm")
    assert "product" in product
    assert not {item.name for item in pieces} & product
    assert {item.name for item in pieces} <= set().union(*of_type(groups, "Gelu"))


def test_a_quantised_product_has_its_steps(tmp_path: Path) -> None:
    """What is quantised around a convolution is in its group, and what only prepares its weights
    is in none."""
    codes = (10 * numbers("w", 8, 8, 3, 3)).astype(np.int8)
    scale = "step zero"
    weights = [
        tensor("w", codes),
        tensor("step", np.array(0.1, np.float32)),
        tensor("zero", np.array(0, np.int8)),
    ]
    groups = run(
        model(
            [
                node("QuantizeLinear", f"x {scale}", "q", name="first"),
                node("DequantizeLinear", f"q {scale}", "d", name="before"),
                node("DequantizeLinear", f"w {scale}", "f", name="weights"),
                node("Conv", "d f", "c", name="conv", pads=[1, 1, 1, 1]),
                node("QuantizeLinear", f"c {scale}", "r", name="after"),
                node("DequantizeLinear", f"r {scale}", "y", name="last"),
            ],
            [value("x", [1, 8, 6, 6])],
            [value("y", [1, 8, 6, 6])],
            weights,
        ),
        tmp_path,
    )
    (kernel_of_conv,) = of_type(groups, "Conv")
    assert {"before", "conv", "after"} <= kernel_of_conv
    assert "weights" not in set().union(*(names for _, names in groups))


def test_a_twin_that_is_computed_once_costs_once(tmp_path: Path) -> None:
    """Of two equal products one runs; both are accounted for, but not in two products."""
    groups = run(
        model(
            [
                node("MatMul", "x w", "a", name="one"),
                node("MatMul", "x w", "b", name="twin"),
                node("Sigmoid", "a", "c", name="left"),
                node("Tanh", "b", "d", name="right"),
                node("Mul", "c d", "y", name="joined"),
            ],
            [value("x", [8, 16])],
            [value("y", [8, 16])],
            [weight("w", 16, 16)],
        ),
        tmp_path,
    )
    assert len(of_type(groups, "MatMul Gemm")) == 1
    assert set().union(*(names for _, names in groups)) == {
        *("one", "twin", "left", "right", "joined")
    }


def test_what_hangs_on_shapes_alone_is_folded(tmp_path: Path) -> None:
    """Arithmetic on a shape that is known beforehand runs nowhere, and costs nothing."""
    groups = run(
        model(
            [
                node("Shape", "x", "s", name="shape"),
                node("Gather", "s first", "n", name="gather"),
                node("Concat", "n rest", "t", name="concat", axis=0),
                node("Reshape", "x t", "r", name="reshape"),
                node("Tanh", "r", "y", name="tanh"),
            ],
            [value("x", [2, 3, 4])],
            [value("y", [2, 12])],
            [ints("first", 0), ints("rest", 12)],
        ),
        tmp_path,
    )
    assert groups == [("Reshape", {"reshape"}), ("Tanh", {"tanh"})]


def test_nodes_with_bodies_are_one_kernel_each(tmp_path: Path) -> None:
    """What runs in branches belongs to the node that has them."""
    body = graph([node("Tanh", "h", "r", name="inner")], [], [value("r", [8, 8])])
    groups = run(
        model(
            [
                node("MatMul", "x w", "h", name="before"),
                node("ReduceMax", "h", "m", name="most", keepdims=0),
                node("Cast", "m", "c", name="cast", to=TensorProto.BOOL),
                node("If", "c", "y", name="choose", then_branch=body, else_branch=body),
            ],
            [value("x", [8, 8])],
            [value("y", [8, 8])],
            [weight("w", 8, 8)],
        ),
        tmp_path,
    )
    assert of_type(groups, "If") == [{"choose"}]
    names = Counter(name for _, names in groups for name in names)
    assert names == {"before": 1, "most": 1, "cast": 1, "choose": 1}
