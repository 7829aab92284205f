"""Folding: what depends on no graph input is parameters; what no output needs is dropped."""

import pytest
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from tests.ingest.build import (
    FLOAT,
    INT64,
    dag_of,
    floats,
    ints,
    model,
    node,
    parameters,
    readers,
    scalar,
    taken,
    value,
)


def test_nodes_without_graph_inputs_are_folded() -> None:
    """A chain over weights alone is no node, and its user uses the weights at its start."""
    dag = dag_of(
        [
            node("Add", "u v", "s", name="add"),
            node("Relu", "s", "r", name="relu"),
            node("Mul", "x r", "y", name="mul"),
        ],
        [value("x", [300])],
        [value("y", [300])],
        [floats("u", 300), floats("v", 300)],
    )
    assert dag.node_names == ("mul",)
    assert dag.tensor_names == ("x", "y")
    assert parameters(dag) == {"u": (1200, ["mul"]), "v": (1200, ["mul"])}
    assert dag.total_flops == 300


def test_dead_nodes_and_their_weights_are_dropped() -> None:
    """A node that no graph output hangs on costs nothing, nor do the weights that it alone uses."""
    dag = dag_of(
        [
            node("Relu", "x", "h", name="kept"),
            node("Mul", "h w", "d", name="dead"),
            node("Add", "d d", "dd", name="dead too"),
            node("Neg", "h", "y", name="last"),
        ],
        [value("x", [300])],
        [value("y", [300])],
        [floats("w", 300), floats("unused", 300)],
    )
    assert dag.node_names == ("kept", "last")
    assert dag.tensor_names == ("x", "h", "y")
    assert parameters(dag) == {}
    assert readers(dag)["h"] == ["last"]


def test_an_unused_graph_input_stays() -> None:
    """A graph input that nothing reads is a tensor without consumers."""
    dag = dag_of([node("Relu", "x", "y")], [value("x"), value("idle", [7])], [value("y")])
    assert readers(dag) == {"x": ["Relu_0"], "idle": [], "y": []}
    assert dag.tensor_bytes.tolist() == [16, 28, 16]


@pytest.mark.parametrize(
    ("made_by", "nbytes"),
    [
        (node("ConstantOfShape", "shape", "w"), 1200),
        (
            node(
                "ConstantOfShape",
                "shape",
                "w",
                value=helper.make_tensor("v", TensorProto.DOUBLE, [1], [1.0]),
            ),
            2400,
        ),
        (node("Expand", "one shape", "w"), 1200),
        (node("Tile", "one shape", "w"), 1200),
    ],
    ids=lambda item: item.op_type if hasattr(item, "op_type") else str(item),
)
def test_generated_weights_count_with_all_their_bytes(made_by: NodeProto, nbytes: int) -> None:
    """A weight that the file only tells how to make counts as large as it is, not as its recipe."""
    dag = dag_of(
        [made_by, node("Cast", "w", "c", to=FLOAT), node("Mul", "x c", "y", name="mul")],
        [value("x", [300])],
        [value("y", [300])],
        [ints("shape", 300), floats("one", 1)],
    )
    assert parameters(dag) == {"w": (nbytes, ["mul"])}


@pytest.mark.parametrize(
    "draw",
    [
        node("RandomNormal", "", "w", shape=[300], name="draw"),
        node("RandomUniformLike", "one", "w", name="draw"),
        node("Bernoulli", "one", "w", name="draw"),
    ],
    ids=lambda draw: str(draw.op_type),
)
def test_what_is_drawn_at_random_is_drawn_once(draw: NodeProto) -> None:
    """A node that draws at random runs like any other, though it depends on no graph input: what it
    drew is a tensor that crosses, so that both sides have the same."""
    dag = dag_of(
        [draw, node("Mul", "x w", "a", name="first"), node("Mul", "a w", "y", name="second")],
        [value("x", [300])],
        [value("y", [300])],
        [floats("one", 300)],
    )
    assert "draw" in dag.node_names
    drawn = dag.tensor_names.index("w")
    assert dag.tensor_producers[drawn] == dag.node_index["draw"]
    users = [dag.node_names[user] for user in dag.tensor_consumers.row(drawn)]
    assert users == ["first", "second"]


def test_a_generated_range_counts_with_all_its_bytes() -> None:
    """A constant Range is data of its length."""
    dag = dag_of(
        [node("Range", "start limit step", "w"), node("Add", "x w", "y", name="add")],
        [value("x", [50], INT64)],
        [value("y", [50], INT64)],
        [scalar("start", 0), scalar("limit", 100), scalar("step", 2)],
    )
    assert parameters(dag) == {"w": (400, ["add"])}


def test_tied_weights_count_once_with_both_users() -> None:
    """An embedding and its transpose in the output layer are one parameter with two users."""
    dag = dag_of(
        [
            node("Gather", "table ids", "e", name="embed"),
            node("Transpose", "table", "t", perm=[1, 0]),
            node("MatMul", "e t", "y", name="head"),
        ],
        [value("ids", [3], INT64)],
        [value("y", [3, 100])],
        [floats("table", 100, 8)],
    )
    assert dag.node_names == ("embed", "head")
    assert parameters(dag) == {"table": (3200, ["embed", "head"])}


def test_a_weight_used_twice_by_one_node_counts_once() -> None:
    """A node that reads a weight at two places uses it once."""
    dag = dag_of(
        [node("Add", "w w", "ww"), node("Sum", "x w ww w", "y", name="sum")],
        [value("x", [300])],
        [value("y", [300])],
        [floats("w", 300)],
    )
    assert parameters(dag) == {"w": (1200, ["sum"])}


@pytest.mark.parametrize(
    ("attributes", "nbytes"),
    [
        ({"value": helper.make_tensor("v", FLOAT, [2, 2], [1.0] * 4)}, 16),
        ({"value_float": 1.0}, 4),
        ({"value_floats": [1.0, 2.0]}, 8),
    ],
)
def test_constant_nodes_are_parameters(attributes: dict[str, object], nbytes: int) -> None:
    """A Constant node is no node of the DAG, and its value counts by its size."""
    dag = dag_of(
        [node("Constant", "", "c", **attributes), node("Add", "x c", "y", name="add")],
        [value("x", [2, 2])],
        [value("y", [2, 2])],
    )
    assert dag.node_names == ("add",)
    assert parameters(dag) == {"c": (nbytes, ["add"])}


def test_integer_constants_serve_as_arguments() -> None:
    """A Constant of integers gives a Reshape its shape."""
    dag = dag_of(
        [
            node("Constant", "", "c", value_ints=[2, -1]),
            node("Constant", "", "axis", value_int=1),
            node("Reshape", "x c", "r"),
            node("CumSum", "r axis", "y"),
        ],
        [value("x", [6])],
        [value("y", ["a", "b"])],
    )
    assert dict(zip(dag.tensor_names, dag.tensor_shapes, strict=True))["y"] == (2, 3)


def test_a_constant_graph_output_is_left_out_with_a_warning() -> None:
    """A graph output that hangs on no graph input is no tensor of the DAG, and is named."""
    ingested = taken(
        model(
            [node("Relu", "x", "y"), node("Neg", "w", "c")],
            [value("x")],
            [value("y"), value("c"), value("w")],
            [floats("w", 4)],
        )
    )
    assert ingested.dag.tensor_names == ("x", "y")
    assert parameters(ingested.dag) == {}
    assert len(ingested.facts.warnings) == 2
    for name, warning in zip("cw", ingested.facts.warnings, strict=True):
        assert f"'{name}' depends on no graph input" in warning


def test_a_graph_input_may_be_a_graph_output() -> None:
    """A graph input handed through is an output that no node makes and that costs no return."""
    dag = dag_of([node("Relu", "x", "y")], [value("x")], [value("x"), value("y")])
    assert dag.tensor_names == ("x", "y")
    assert dag.tensor_is_output.tolist() == [True, True]
    assert dag.tensor_producers.tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([], [value("x")]),
        ([node("Neg", "w", "c")], [value("c")]),
        ([node("Neg", "x", "d")], [value("x")]),
    ],
    ids=["handed through", "constant", "dead"],
)
def test_a_model_without_running_nodes_has_nothing_to_split(
    nodes: list[NodeProto], outputs: list[ValueInfoProto]
) -> None:
    """Where no node lies between input and output the DAG has none, and a warning says so."""
    ingested = taken(model(nodes, [value("x")], outputs, [floats("w", 4)]))
    assert ingested.dag.node_count == 0
    assert "there is nothing to split" in ingested.facts.warnings[-1]
