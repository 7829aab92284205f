"""Bodies of If, Loop and Scan: what they capture, and the weights inside them."""

import pytest
from onnx import GraphProto, NodeProto, helper

from app.ingest.captures import used_names
from app.ingest.hoisting import hoist_body_weights
from tests.ingest.build import (
    BOOL,
    FLOAT,
    INT64,
    dag_of,
    floats,
    graph,
    model,
    node,
    parameters,
    readers,
    scalar,
    taken,
    value,
)

C = value("c", [], BOOL)


def branch(*nodes: NodeProto, weights: tuple[int, ...] = ()) -> GraphProto:
    """A branch without inputs; its result is ``r``, its weights of n floats are ``w0``, …"""
    initializers = [floats(f"w{i}", count) for i, count in enumerate(weights)]
    return graph(nodes, [], [value("r")], initializers)


def test_branches_read_the_tensors_that_they_capture() -> None:
    """An If consumes its condition and the outer tensors and weights that either branch names."""
    dag = dag_of(
        [
            node("Relu", "x", "h", name="relu"),
            node("Neg", "x", "g", name="neg"),
            node(
                "If",
                "c",
                "y",
                name="if",
                then_branch=branch(node("Add", "h w", "r")),
                else_branch=branch(node("Mul", "g v", "t"), node("Abs", "t", "r")),
            ),
        ],
        [value("x"), C],
        [value("y")],
        [floats("w", 4), floats("v", 4)],
    )
    assert dag.node_names == ("relu", "neg", "if")
    assert readers(dag) == {"x": ["relu", "neg"], "c": ["if"], "h": ["if"], "g": ["if"], "y": []}
    assert parameters(dag) == {"w": (16, ["if"]), "v": (16, ["if"])}


def test_a_branch_that_hands_an_outer_tensor_through_captures_it() -> None:
    """A body whose result is an outer tensor itself reads it, though ONNX's checker objects."""
    through = graph([], [], [value("h")])
    choice = node("If", "c", "y", name="if", then_branch=through, else_branch=through)
    assert used_names(choice) == ["c", "h"]
    dag = taken(model([node("Relu", "x", "h"), choice], [value("x"), C], [value("y")])).dag
    assert readers(dag)["h"] == ["if"]


def test_a_node_that_only_a_body_reads_is_alive() -> None:
    """A captured tensor keeps its producer, which runs before, whatever the file's order."""
    late = node("Relu", "x", "h", name="relu")
    choice = node(
        "If",
        "c",
        "y",
        name="if",
        then_branch=branch(node("Abs", "h", "r")),
        else_branch=branch(node("Neg", "h", "r")),
    )
    dag = dag_of([choice, late], [value("x"), C], [value("y")])
    assert dag.node_names == ("relu", "if")


def test_an_if_over_weights_that_captures_an_input_is_not_folded() -> None:
    """A node with a constant condition runs all the same if a branch reads a graph input."""
    dag = dag_of(
        [
            node(
                "If",
                "k",
                "y",
                name="if",
                then_branch=branch(node("Abs", "x", "r")),
                else_branch=branch(node("Abs", "x", "r")),
            )
        ],
        [value("x")],
        [value("y")],
        [helper.make_tensor("k", BOOL, [], [True])],
    )
    assert dag.node_names == ("if",)


def test_names_that_a_body_defines_shadow_outer_ones() -> None:
    """A body's inputs, initializers and results of its nodes are its own; a name used before the
    body makes it is the outer one."""
    body = graph(
        [
            node("Add", "i early", "a"),
            node("Add", "a w", "early"),
            node("Add", "early outer", "b"),
            node("If", "b", "d", then_branch=branch(node("Add", "b deep", "r"))),
        ],
        [value("i")],
        [value("d"), value("outer_result"), value("a")],
        [floats("w", 4)],
    )
    loop = node("Loop", "trip -", "y", body=body)
    assert used_names(loop) == ["trip", "early", "outer", "deep", "outer_result"]


def test_shadowing_does_not_reach_the_neighbour() -> None:
    """What one branch defines is not defined in the other."""
    choice = node(
        "If",
        "c",
        "y",
        then_branch=graph([node("Add", "p q", "own")], [], [value("own")]),
        else_branch=graph([node("Neg", "own", "r")], [], [value("r")]),
    )
    assert sorted(used_names(choice)) == ["c", "own", "p", "q"]


def loop_over(body: GraphProto) -> NodeProto:
    """Three rounds of a body that carries ``s`` to ``t``."""
    return node("Loop", "rounds - x", "y", name="loop", body=body)


def test_loops_capture() -> None:
    """A Loop consumes its operands and what its body captures, not what the body is handed."""
    body = graph(
        [node("Identity", "go", "still"), node("Add", "s h", "a"), node("Mul", "a w", "t")],
        [value("i", [], INT64), value("go", [], BOOL), value("s")],
        [value("still", [], BOOL), value("t")],
    )
    dag = dag_of(
        [node("Relu", "x", "h", name="relu"), loop_over(body)],
        [value("x")],
        [value("y")],
        [scalar("rounds", 3), floats("w", 4)],
    )
    assert readers(dag) == {"x": ["relu", "loop"], "h": ["loop"], "y": []}
    assert parameters(dag) == {"rounds": (8, ["loop"]), "w": (16, ["loop"])}


def test_scans_capture() -> None:
    """A Scan consumes its operands and what its body captures."""
    body = graph(
        [node("Add", "s e", "t"), node("Mul", "t h", "u")],
        [value("s", []), value("e", [])],
        [value("t", []), value("u", [])],
    )
    dag = dag_of(
        [
            node("ReduceSum", "x", "h", name="sum", keepdims=0),
            node("Scan", "start x", "last y", name="scan", body=body, num_scan_inputs=1),
        ],
        [value("x"), value("start", [])],
        [value("y"), value("last", [])],
    )
    assert readers(dag)["h"] == ["scan"]
    assert readers(dag)["x"] == ["sum", "scan"]


@pytest.mark.parametrize("is_constant_node", [False, True])
def test_weights_inside_bodies_are_parameters(is_constant_node: bool) -> None:
    """Weights inside a branch count, the large as well as the small, once for each branch that has
    its own."""

    def body(count: int) -> GraphProto:
        small = floats("w0", 1)
        if is_constant_node:
            big = node("Constant", "", "w1", value=floats("", count))
            nodes = [big, node("Mul", "x w0", "a"), node("ReduceSum", "w1", "b", keepdims=0)]
            return graph([*nodes, node("Add", "a b", "r")], [], [value("r")], [small])
        nodes = [node("Mul", "x w0", "a"), node("ReduceSum", "w1", "b", keepdims=0)]
        last = node("Add", "a b", "r")
        return graph([*nodes, last], [], [value("r")], [small, floats("w1", count)])

    dag = dag_of(
        [node("If", "c", "y", name="if", then_branch=body(300), else_branch=body(500))],
        [value("x"), C],
        [value("y")],
    )
    sizes = sorted(parameters(dag).values())
    assert sizes == [(4, ["if"]), (4, ["if"]), (1200, ["if"]), (2000, ["if"])]
    assert dag.tensor_names == ("x", "c", "y")


def test_a_large_constant_may_be_the_result_of_a_branch() -> None:
    """A branch that only returns a weight keeps its type and shape."""

    def body() -> GraphProto:
        return graph([], [], [value("r", [300])], [floats("r", 300)])

    dag = dag_of(
        [
            node("If", "c", "z", name="if", then_branch=body(), else_branch=body()),
            node("Add", "z x", "y", name="add"),
        ],
        [value("x", [300]), C],
        [value("y", [300])],
    )
    assert dict(zip(dag.tensor_names, dag.tensor_shapes, strict=True))["z"] == (300,)
    assert sorted(size for size, _ in parameters(dag).values()) == [1200, 1200]


def test_weights_of_nested_bodies_are_parameters_of_the_outer_node() -> None:
    """A weight two bodies deep, and one that an inner body captures from an outer one, count for
    the node of the main graph; names that stand for different weights stay apart."""

    def inner(own: int) -> GraphProto:
        nodes = [
            node("ReduceSum", "w", "a", keepdims=0),
            node("ReduceSum", "outer", "b", keepdims=0),
            node("Sum", "a b x", "r"),
        ]
        return graph(nodes, [], [value("r")], [floats("w", own)])

    def outer(count: int, own: int) -> GraphProto:
        choice = node("If", "c", "o", then_branch=inner(own), else_branch=inner(own + 1))
        return graph([choice], [], [value("o")], [floats("outer", count)])

    dag = dag_of(
        [
            node(
                "If", "c", "z", name="if", then_branch=outer(400, 500), else_branch=outer(600, 700)
            ),
            node("Add", "z w", "y", name="add"),
        ],
        [value("x"), C],
        [value("y")],
        [floats("w", 4)],
    )
    expected = [4 * count for count in (400, 500, 501, 600, 700, 701)]
    by_user = parameters(dag)
    assert by_user.pop("w") == (16, ["add"])
    assert sorted(by_user.values()) == [(size, ["if"]) for size in expected]


def test_renamed_weights_leave_shadowing_names_alone() -> None:
    """Where a hoisted weight gets a fresh name, an inner body's own name of that spelling stays."""
    inner = graph([node("Add", "w seen", "r")], [value("w")], [value("r")])
    outer = graph(
        [node("Scan", "w", "t", body=inner, num_scan_inputs=1), node("Add", "t w", "u")],
        [],
        [value("u")],
        [floats("w", 300)],
    )
    main = graph(
        [node("If", "c", "y", then_branch=outer, else_branch=outer)],
        [C, value("w")],
        [value("y")],
    )
    hoist_body_weights(main)
    names = [tensor.name for tensor in main.initializer]
    assert len(set(names)) == 2
    assert "w" not in names
    for attribute, name in zip(main.node[0].attribute, names, strict=True):
        scan, add = attribute.g.node
        assert list(scan.input) == [name]
        assert list(add.input) == ["t", name]
        assert list(scan.attribute[0].g.node[0].input) == ["w", "seen"]
    assert used_names(main.node[0]) == ["c", names[0], "seen", names[1]]


def test_shapes_inside_a_body_still_hang_on_its_small_constants() -> None:
    """A Reshape in a branch by a constant of the branch gives the If's result its shape."""

    def body() -> GraphProto:
        nodes = [
            node("Constant", "", "s", value_ints=[2, 2]),
            node("Reshape", "x s", "r"),
        ]
        return graph(nodes, [], [value("r", ["p", "q"], FLOAT)])

    dag = dag_of(
        [node("If", "c", "y", then_branch=body(), else_branch=body())],
        [value("x"), C],
        [value("y", ["p", "q"])],
    )
    assert dict(zip(dag.tensor_names, dag.tensor_shapes, strict=True))["y"] == (2, 2)


def test_an_if_costs_its_dearest_branch() -> None:
    """An If counts the FLOPs of the dearer branch, and needs no warning for it."""
    ingested = taken(
        model(
            [
                node(
                    "If",
                    "c",
                    "y",
                    then_branch=branch(node("Abs", "x", "r")),
                    else_branch=branch(node("Sigmoid", "x", "s"), node("Neg", "s", "r")),
                )
            ],
            [value("x"), C],
            [value("y")],
        )
    )
    assert ingested.dag.total_flops == 4 * (4 + 1)
    assert ingested.facts.warnings == ()
