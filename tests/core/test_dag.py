"""The costed DAG: what it refuses, and its derived relations against networkx."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.csr import Csr
from app.core.dag import NO_PRODUCER, CostedDag, Node, NodeWork, Parameter, Tensor
from tests.core.build import digraph, hand_made
from tests.oracles import all_cuts
from tests.strategies import dags

A, B = Node("a", "Op", 1), Node("b", "Op", 2)


def tensor(producer: int, *consumers: int, nbytes: int = 4) -> Tensor:
    """A tensor between nodes given by index."""
    return Tensor("t", (), "x", nbytes, producer, consumers, True, False)


def joined(dag: CostedDag) -> "nx.DiGraph[int]":
    """The DAG with its tensors left out."""
    graph = digraph(dag)
    edges = [
        (before[1], after[1])
        for t in graph
        if t[0] == "tensor"
        for before in graph.predecessors(t)
        for after in graph.successors(t)
    ]
    plain: nx.DiGraph[int] = nx.DiGraph()
    plain.add_nodes_from(range(dag.node_count))
    plain.add_edges_from(edges)
    return plain


@pytest.mark.parametrize(
    ("nodes", "tensors", "parameters", "reason"),
    [
        ([A, A], [], [], "not distinct"),
        ([A, B], [tensor(1, 0)], [], "not topological"),
        ([A, B], [tensor(0, 0)], [], "not topological"),
        ([A], [tensor(0, 1)], [], "not there"),
        ([A], [tensor(0, -1)], [], "not there"),
        ([A], [tensor(1)], [], "producer that is not there"),
        ([A], [tensor(-2)], [], "producer that is not there"),
        ([A], [], [Parameter("w", 4, (1,))], "not there"),
        ([A], [], [Parameter("w", -4, (0,))], "negative"),
        ([A], [tensor(0, nbytes=-1)], [], "negative"),
        ([Node("a", "Op", -1)], [], [], "negative"),
    ],
)
def test_a_graph_that_is_no_dag_is_refused(
    nodes: list[Node], tensors: list[Tensor], parameters: list[Parameter], reason: str
) -> None:
    """Names used twice, edges against the order, indices out of range and negative costs are
    refused."""
    with pytest.raises(ValueError, match=reason):
        CostedDag.build(nodes, tensors, parameters)


def test_an_empty_graph_is_a_dag() -> None:
    """No nodes, tensors or parameters make an empty DAG."""
    dag = CostedDag.build([], [], [])
    assert (dag.node_count, dag.tensor_count, dag.total_flops) == (0, 0, 0)
    assert [side.tolist() for side in dag.edges] == [[], []]
    assert dag.is_cut(np.zeros(0, dtype=np.bool_))


def test_a_dag_holds_what_it_was_built_from() -> None:
    """Names, costs and uses come back as stated; indices follow the order of the statement."""
    dag = hand_made("x -> a -> p\np,x -> b -> y", "y", [("w", 7, "a b"), ("v", 9, "b")])
    assert dag.node_names == ("a", "b")
    assert dag.node_index == {"a": 0, "b": 1}
    assert dag.total_flops == 200
    assert dag.tensor_names == ("x", "p", "y")
    assert dag.tensor_producers.tolist() == [NO_PRODUCER, 0, 1]
    assert dag.tensor_consumers.to_lists() == [[0, 1], [1], []]
    assert dag.tensor_is_output.tolist() == [False, False, True]
    assert dag.returns_gradient.tolist() == [False, True, True]
    assert dag.parameter_bytes.tolist() == [7, 9]
    assert dag.parameter_users.to_lists() == [[0, 1], [1]]


def test_totals_do_not_overflow_32_bits() -> None:
    """Costs are summed in 64 bits."""
    dag = CostedDag.build([Node("a", "Op", 2**61), Node("b", "Op", 2**61)], [], [])
    assert dag.total_flops == 2**62


@given(dags())
@settings(max_examples=200, deadline=None)
def test_edges_and_neighbours_are_networkxs(dag: CostedDag) -> None:
    """Edges are the distinct pairs of producer and consumer; neighbours list them per node."""
    graph = joined(dag)
    makers, users = (side.tolist() for side in dag.edges)
    assert list(zip(makers, users, strict=True)) == sorted(graph.edges)
    for i in range(dag.node_count):
        assert dag.predecessors.row(i).tolist() == sorted(graph.predecessors(i))
        assert dag.successors.row(i).tolist() == sorted(graph.successors(i))


@given(dags(max_nodes=8))
@settings(max_examples=100, deadline=None)
def test_cuts_are_recognised(dag: CostedDag) -> None:
    """A set of nodes makes a cut exactly if it is among the cuts by definition."""
    cuts = set(all_cuts(dag))
    for bits in range(2**dag.node_count):
        mask = np.array([bits >> i & 1 for i in range(dag.node_count)], dtype=np.bool_)
        assert dag.is_cut(mask) == (frozenset(np.flatnonzero(mask).tolist()) in cuts)


def test_work_is_the_same_on_both_sides_unless_measured() -> None:
    """Without measurements a node's work is its FLOPs on either side."""
    work = NodeWork.from_flops(CostedDag.build([A, B], [], []))
    assert work.device.tolist() == work.server.tolist() == [1.0, 2.0]


rows = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=8)


@given(rows, st.lists(st.booleans(), min_size=10, max_size=10))
def test_compressed_rows_read_as_lists(lists: list[list[int]], flags: list[bool]) -> None:
    """Rows come back as they were packed, entry by entry, and answer for flagged entries."""
    packed = Csr.from_lists(lists)
    assert len(packed) == len(lists)
    assert packed.to_lists() == lists
    assert [packed.row(i).tolist() for i in range(len(packed))] == lists
    assert packed.row_of_entry().tolist() == [i for i, row in enumerate(lists) for _ in row]
    hits = packed.any_per_row(np.array(flags))
    assert hits.tolist() == [any(flags[entry] for entry in row) for row in lists]


@given(
    st.lists(st.sets(st.integers(0, 7), max_size=3).map(sorted), min_size=8, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_reached_rows_are_networkxs(lists: list[list[int]], flags: list[bool]) -> None:
    """From flagged rows, what entries lead to is reached, in circles as well, and nothing else."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(8))
    graph.add_edges_from((i, entry) for i, row in enumerate(lists) for entry in row)
    expected = {i for i, flag in enumerate(flags) if flag}
    for i in sorted(expected):
        expected |= nx.descendants(graph, i)
    given_flags = np.array(flags)
    reached = Csr.from_lists(lists).reached_from(given_flags)
    assert set(np.flatnonzero(reached).tolist()) == expected
    assert given_flags.tolist() == flags


@given(st.lists(st.sets(st.integers(0, 9), max_size=5).map(sorted), max_size=8))
def test_inverted_rows_are_the_transposed_relation(lists: list[list[int]]) -> None:
    """Inverting lists, for each column, the rows that hold it; twice gives the rows back."""
    packed = Csr.from_lists(lists)
    inverted = packed.inverted(10)
    assert inverted.to_lists() == [
        [i for i, row in enumerate(lists) if column in row] for column in range(10)
    ]
    assert inverted.inverted(len(lists)).to_lists() == lists
