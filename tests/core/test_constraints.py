"""Constraints: the forced sets, against networkx and against all cuts."""

from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.constraints import Constraints, forced_sides
from app.core.dag import CostedDag
from app.core.errors import ContradictoryPinsError, InfeasibleError, UnknownNodeError
from tests.core.build import digraph, hand_made, nodes_of
from tests.oracles import all_cuts, crossing_tensors
from tests.strategies import dags, pins

Step = Callable[["nx.DiGraph[tuple[str, int]]", tuple[str, int]], set[tuple[str, int]]]

CHAIN = hand_made("x -> conv1 -> p\np -> conv2 -> q\nq,z -> head -> y", "y")


def drawn(dag: CostedDag, data: st.DataObject) -> Constraints:
    """Pins of up to three nodes on either side."""
    names = pins(dag, max_size=3)
    return Constraints(data.draw(names), data.draw(names), data.draw(st.booleans()))


def members(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> frozenset[int]:
    """The nodes of a mask."""
    return frozenset(np.flatnonzero(mask).tolist())


def requirement_graph(dag: CostedDag) -> "nx.DiGraph[tuple[str, int]]":
    """The graph of nodes and tensors, where uncuttable tensors that nodes make lead both ways."""
    graph = digraph(dag)
    for t, users in enumerate(dag.tensor_consumers.to_lists()):
        maker = int(dag.tensor_producers[t])
        if maker >= 0 and not dag.tensor_is_cuttable[t]:
            graph.add_edge(("tensor", t), ("node", maker))
            graph.add_edges_from((("node", user), ("tensor", t)) for user in users)
    return graph


def readers(dag: CostedDag, *, uncuttable_only: bool) -> tuple[str, ...]:
    """The names of the nodes that use graph inputs."""
    return tuple(
        {
            dag.node_names[user]
            for t, users in enumerate(dag.tensor_consumers.to_lists())
            if dag.tensor_producers[t] < 0 and not (uncuttable_only and dag.tensor_is_cuttable[t])
            for user in users
        }
    )


@given(dags(min_nodes=0), st.data())
@settings(max_examples=300, deadline=None)
def test_forced_sets_are_ancestors_and_descendants(dag: CostedDag, data: st.DataObject) -> None:
    """The device's forced nodes are the pins and the readers of kept and of uncuttable inputs with
    all that they require, the server's are the pins with all that requires them; they are refused
    if they meet."""
    constraints = drawn(dag, data)
    graph = requirement_graph(dag)

    def reach(names: tuple[str, ...], step: Step) -> frozenset[int]:
        found = frozenset(dag.node_index[name] for name in names)
        for name in names:
            vertex = ("node", dag.node_index[name])
            found |= nodes_of(step(graph, vertex))
        return found

    device = reach(constraints.pin_device, nx.ancestors)
    server = reach(constraints.pin_server, nx.descendants)
    if device & server:
        with pytest.raises(ContradictoryPinsError):
            forced_sides(dag, constraints)
        return
    only_some = not constraints.keep_inputs_on_device
    device |= reach(readers(dag, uncuttable_only=only_some), nx.ancestors)
    if device & server:
        with pytest.raises(InfeasibleError):
            forced_sides(dag, constraints)
        return
    forced = forced_sides(dag, constraints)
    assert members(forced.device) == device
    assert members(forced.server) == server


@given(dags(max_nodes=8, min_nodes=0), st.data())
@settings(max_examples=200, deadline=None)
def test_forced_sets_describe_exactly_the_feasible_cuts(
    dag: CostedDag, data: st.DataObject
) -> None:
    """A cut satisfies the constraints exactly if it holds the one forced set and none of the
    other; where none does, the constraints are refused."""
    constraints = drawn(dag, data)
    on_device = {dag.node_index[name] for name in constraints.pin_device}
    on_server = {dag.node_index[name] for name in constraints.pin_server}
    feasible = {
        device
        for device in all_cuts(dag)
        if on_device <= device
        and not on_server & device
        and not (
            constraints.keep_inputs_on_device
            and any(dag.tensor_producers[t] < 0 for t in crossing_tensors(dag, device))
        )
    }
    if not feasible:
        with pytest.raises((ContradictoryPinsError, InfeasibleError)):
            forced_sides(dag, constraints)
        return
    forced = forced_sides(dag, constraints)
    described = {
        device
        for device in all_cuts(dag)
        if members(forced.device) <= device and not members(forced.server) & device
    }
    assert described == feasible


def test_without_constraints_nothing_is_forced() -> None:
    """No constraints force no node, and say that they are none."""
    forced = forced_sides(CHAIN, Constraints())
    assert not forced.device.any()
    assert not forced.server.any()
    assert Constraints().is_empty
    for constraints in (
        Constraints(pin_device=("conv1",)),
        Constraints(pin_server=("conv1",)),
        Constraints(keep_inputs_on_device=True),
    ):
        assert not constraints.is_empty


@pytest.mark.parametrize("field", ["pin_device", "pin_server"])
def test_an_unknown_node_is_named_with_its_neighbours(field: str) -> None:
    """A pin of a node that is not there names it, its place in the request and similar names."""

    def pinning(*names: str) -> Constraints:
        return Constraints(names) if field == "pin_device" else Constraints((), names)

    with pytest.raises(UnknownNodeError, match=r"'conv3'; near it are 'conv[12]'") as caught:
        forced_sides(CHAIN, pinning("head", "conv3"))
    assert caught.value.loc == ("constraints", field, 1)
    with pytest.raises(UnknownNodeError, match=r"named 'zzz' \(node names"):
        forced_sides(CHAIN, pinning("zzz"))


def test_a_node_pinned_both_ways_is_named() -> None:
    """A node on both sides is named; so are two that stand against the order of the DAG."""
    with pytest.raises(ContradictoryPinsError, match="'conv2' is pinned to the device and to the"):
        forced_sides(CHAIN, Constraints(("conv2",), ("conv2",)))
    with pytest.raises(
        ContradictoryPinsError, match="'head' is pinned to the device but depends"
    ) as e:
        forced_sides(CHAIN, Constraints(("head",), ("conv1",)))
    assert "'conv1', which is pinned to the server" in str(e.value)
    assert e.value.loc == ("constraints", "pin_device")


def test_inputs_that_would_cross_are_named_with_their_bytes() -> None:
    """Where kept inputs and a server pin exclude each other, both are named, and by how much."""
    with pytest.raises(InfeasibleError, match=r"'head'.*'z' \(10 bytes\)") as caught:
        forced_sides(CHAIN, Constraints(pin_server=("head",), keep_inputs_on_device=True))
    assert caught.value.loc == ("constraints", "keep_inputs_on_device")
    forced = forced_sides(CHAIN, Constraints(keep_inputs_on_device=True))
    assert members(forced.device) == {0, 1, 2}
