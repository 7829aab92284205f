"""The order of nodes, and their names."""

import random

import pytest
from onnx import NodeProto

from app.errors import InvalidModelError
from app.ingest import ingest
from tests.ingest.build import dag_of, floats, model, node, readers, taken, value


def test_a_file_in_order_stays_as_it_is() -> None:
    """Nodes that are in topological order keep the file's order, also where others would do."""
    names = ["d", "b", "c", "a"]
    nodes = [node("Relu", "x", name, name=name) for name in names]
    nodes.append(node("Sum", "a b c d", "y", name="sum"))
    dag = dag_of(nodes, [value("x")], [value("y")])
    assert dag.node_names == ("d", "b", "c", "a", "sum")


def test_an_unsorted_file_is_put_in_order() -> None:
    """A file whose nodes stand backwards gives the same DAG as one in order."""
    nodes = [node("Relu", f"t{i}", f"t{i + 1}", name=f"n{i}") for i in range(30)]
    backwards = dag_of(nodes[::-1], [value("t0")], [value("t30")])
    forwards = dag_of(nodes, [value("t0")], [value("t30")])
    assert backwards.node_names == forwards.node_names
    assert readers(backwards) == readers(forwards)


def test_any_order_of_the_file_gives_the_same_graph() -> None:
    """However the nodes are shuffled, the order is topological and the edges are the same."""
    rng = random.Random(0)
    nodes = [
        node(
            "Sum",
            " ".join({f"t{rng.randrange(i + 1)}" for _ in range(3)}),
            f"t{i + 1}",
            name=f"n{i}",
        )
        for i in range(25)
    ]
    outputs = [value(f"t{i}") for i in range(1, 26)]
    expected = readers(dag_of(nodes, [value("t0")], outputs))
    for _ in range(20):
        rng.shuffle(nodes)
        dag = dag_of(nodes, [value("t0")], outputs)
        assert {name: set(users) for name, users in readers(dag).items()} == {
            name: set(users) for name, users in expected.items()
        }


def test_ready_nodes_go_in_the_order_of_the_file() -> None:
    """Where one node of the file comes too early, the others keep their order around it."""
    dag = dag_of(
        [
            node("Add", "b c", "y", name="early"),
            node("Relu", "x", "c", name="second"),
            node("Neg", "x", "b", name="third"),
            node("Abs", "x", "z", name="fourth"),
        ],
        [value("x")],
        [value("y"), value("z")],
    )
    assert dag.node_names == ("second", "third", "early", "fourth")


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Add", "x b", "a", name="p"), node("Neg", "a", "b", name="q")],
        [node("Add", "x a", "a", name="p")],
    ],
    ids=["of two", "of one"],
)
def test_a_cycle_is_refused(nodes: list[NodeProto]) -> None:
    """A graph with a cycle is refused, naming a node of it."""
    with pytest.raises(InvalidModelError, match=r"cycle through or before node 'p' \(Add\)"):
        taken(model(nodes, [value("x")], [value("a")]))


def test_two_producers_are_refused() -> None:
    """A tensor that two nodes make is named."""
    nodes = [node("Relu", "x", "y"), node("Neg", "x", "y")]
    with pytest.raises(InvalidModelError, match="'y' is made by two nodes"):
        taken(model(nodes, [value("x")], [value("y")]))


@pytest.mark.parametrize("name", ["x", "w", "v"])
def test_a_node_may_not_make_what_the_graph_has(name: str) -> None:
    """A node whose output bears the name of a graph input, or of a small or large weight, is
    refused, naming it."""
    nodes = [node("Relu", "z", name), node("Add", f"{name} x", "y")]
    weights = [floats("w", 4), floats("v", 400)]
    with pytest.raises(InvalidModelError, match=f"'{name}'"):
        taken(model(nodes, [value("x"), value("z")], [value("y")], weights))


def test_a_missing_tensor_is_refused() -> None:
    """A node that reads what nothing makes is refused, naming the tensor."""
    with pytest.raises(InvalidModelError, match="'ghost'"):
        taken(model([node("Add", "x ghost", "y")], [value("x")], [value("y")]))
    with pytest.raises(InvalidModelError, match="ghost"):
        taken(model([node("Relu", "x", "y")], [value("x")], [value("y"), value("ghost")]))


def test_unnamed_and_duplicate_names_become_unique() -> None:
    """A node keeps its name where it is the first to bear it; others are named by type or name
    and place, never by a name that another node bears."""
    dag = dag_of(
        [
            node("Relu", "x", "a"),
            node("Neg", "a", "b", name="same"),
            node("Abs", "b", "c", name="same"),
            node("Relu", "c", "d", name="Neg_4"),
            node("Neg", "d", "e"),
            node("Neg", "e", "y", name="same_2"),
        ],
        [value("x")],
        [value("y")],
    )
    assert dag.node_names == ("Relu_0", "same", "same_2_", "Neg_4", "Neg_4_", "same_2")


def test_names_are_the_same_every_time() -> None:
    """Two reads of one file give the same names."""
    nodes = [node("Relu", f"t{i}", f"t{i + 1}", name="n" if i % 2 else "") for i in range(9)]
    data = model(nodes, [value("t0")], [value("t9")]).SerializeToString()
    assert ingest(data).dag.node_names == ingest(data).dag.node_names
    assert len(set(ingest(data).dag.node_names)) == 9
