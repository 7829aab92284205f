"""Uncuttable tensors: what they tie together, what they hold on the device, what is told of it."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from app.core.blocks import blocks_of, kinds_of
from app.core.constraints import Constraints, forced_sides
from app.core.dag import NO_PRODUCER, CostedDag, Node, Tensor
from app.core.errors import ContradictoryPinsError, InfeasibleError, SplitError
from app.core.quantities import cut_of
from app.core.scenario import Mode
from app.core.splitting.cut_table import Family, build_table
from app.core.splitting.network import SOURCE, build_network
from tests.core.build import hand_made
from tests.oracles import all_cuts
from tests.strategies import dags

CHAIN = "x -> a -> p\np -> b -> q\nq -> c -> y"


def cuts(dag: CostedDag) -> set[str]:
    """The names of the device's nodes of every cut."""
    return {" ".join(dag.node_names[i] for i in sorted(device)) for device in all_cuts(dag)}


def mask(dag: CostedDag, names: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Nodes by name, as a mask."""
    return np.isin(dag.node_names, names.split())


def groups(dag: CostedDag) -> list[set[str]]:
    """The names of each group, in the order of their numbers."""
    numbers = dag.requirements.groups
    names = np.array(dag.node_names)
    return [set(names[numbers == g].tolist()) for g in range(int(numbers.max()) + 1)]


def test_size_and_mark_have_to_agree() -> None:
    """An uncuttable tensor has no bytes, and any other one has a shape."""
    known = Tensor("t", (2,), "string", 0, NO_PRODUCER, (0,), False, False, is_cuttable=False)
    CostedDag.build([Node("a", "Op", 1)], [known, replace(known, name="u", shape=None)], [])
    with pytest.raises(ValueError, match="uncuttable tensor has bytes"):
        CostedDag.build([Node("a", "Op", 1)], [replace(known, nbytes=8)], [])
    with pytest.raises(ValueError, match="no shape"):
        CostedDag.build([Node("a", "Op", 1)], [replace(known, shape=None, is_cuttable=True)], [])


@pytest.mark.parametrize(
    ("wires", "uncuttable", "expected", "tied"),
    [
        (CHAIN, "", {"", "a", "a b", "a b c"}, [{"a"}, {"b"}, {"c"}]),
        (CHAIN, "q", {"", "a", "a b c"}, [{"a"}, {"b", "c"}]),
        (CHAIN, "x", {"a", "a b", "a b c"}, [{"a"}, {"b"}, {"c"}]),
        (CHAIN, "x q", {"a", "a b c"}, [{"a"}, {"b", "c"}]),
        (CHAIN, "y", {"", "a", "a b", "a b c"}, [{"a"}, {"b"}, {"c"}]),
        (CHAIN, "p q", {"", "a b c"}, [{"a", "b", "c"}]),
        # What lies on a way between tied nodes is tied to them, cuttable though its tensors are.
        ("x -> a -> p,s\np -> b -> q\ns,q -> c -> y", "s", {"", "a b c"}, [{"a", "b", "c"}]),
        # What only one of them feeds, or what feeds only one of them, is not.
        (
            "x -> a -> s,p\nz -> e -> r\np -> d -> q\ns,r -> b -> y",
            "s",
            {"", "e", "a e b", "a e d b"},
            [{"e"}, {"a", "b"}, {"d"}],
        ),
        # A graph input that is read late holds all that the reader depends on.
        ("x -> a -> p\nz,p -> b -> q\nq -> c -> y", "z", {"a b", "a b c"}, [{"a"}, {"b"}, {"c"}]),
    ],
)
def test_cuts_by_hand(
    wires: str, uncuttable: str, expected: set[str], tied: list[set[str]]
) -> None:
    """The cuts are those in which no uncuttable tensor crosses; tied nodes are one group, before
    those that use what it makes."""
    dag = hand_made(wires, "y", uncuttable=uncuttable)
    order = list(dag.node_names)
    assert cuts(dag) == {" ".join(sorted(cut.split(), key=order.index)) for cut in expected}
    assert groups(dag) == tied
    for device in expected:
        assert dag.is_cut(mask(dag, device))


@given(dags(min_nodes=0))
@settings(max_examples=200, deadline=None)
def test_groups_are_what_requires_each_other(dag: CostedDag) -> None:
    """The groups are networkx's strongly connected components of the requirements, and no node
    requires one of a group of a higher number."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(dag.node_count))
    for t, users in enumerate(dag.tensor_consumers.to_lists()):
        maker = int(dag.tensor_producers[t])
        if maker >= 0:
            graph.add_edges_from((maker, user) for user in users)
            if not dag.tensor_is_cuttable[t]:
                graph.add_edges_from((user, maker) for user in users)
    numbers: list[int] = dag.requirements.groups.tolist()
    found = {frozenset(i for i, n in enumerate(numbers) if n == number) for number in numbers}
    assert found == {frozenset(part) for part in nx.strongly_connected_components(graph)}
    assert sorted(set(numbers)) == list(range(len(found)))
    assert all(numbers[a] <= numbers[b] for a, b in graph.edges)


@given(dags(max_nodes=7, min_nodes=0))
@settings(max_examples=150, deadline=None)
def test_cuts_form_a_lattice(dag: CostedDag) -> None:
    """What two cuts have in common is a cut, and so is what they have together; everything on the
    device is the largest, and what must run there the smallest one."""
    found = set(all_cuts(dag))
    for one in found:
        assert {one & other for other in found} | {one | other for other in found} <= found
    everything = frozenset(range(dag.node_count))
    assert everything in found
    least = frozenset(np.flatnonzero(dag.requirements.must_run_on_device).tolist())
    assert least == everything.intersection(*found)


@given(dags(max_nodes=6, min_nodes=0))
@settings(max_examples=300, deadline=None)
def test_a_choice_is_left_unless_uncuttable_tensors_take_it(dag: CostedDag) -> None:
    """Nothing is left to choose exactly where there are nodes, and everything on the device is
    the only cut."""
    only_cut = [frozenset(range(dag.node_count))]
    assert dag.leaves_a_choice == (dag.node_count == 0 or list(all_cuts(dag)) != only_cut)


@pytest.mark.parametrize(
    ("wires", "uncuttable", "expected"),
    [
        ("x -> a -> y", "", True),
        ("x -> a -> y", "y", True),
        ("x -> a -> y", "x", False),
        (CHAIN, "p q", True),
        (CHAIN, "x q", True),
        (CHAIN, "x p q", False),
        ("z,x -> a -> p\np -> b -> y", "z", True),
    ],
)
def test_choices_by_hand(wires: str, uncuttable: str, expected: bool) -> None:
    """What is tied from end to end may run on either side; what reads an unknown input may not."""
    assert hand_made(wires, "y", uncuttable=uncuttable).leaves_a_choice is expected


def test_without_nodes_nothing_is_taken_away() -> None:
    """A model without nodes leaves what choice there is, whatever passes through it."""
    through = Tensor("x", None, "string", 0, NO_PRODUCER, (), False, True, is_cuttable=False)
    assert CostedDag.build([], [], []).leaves_a_choice
    assert CostedDag.build([], [through], []).leaves_a_choice


def test_a_result_of_unknown_size_counts_no_bytes() -> None:
    """An uncuttable graph output may be made on the server, where it counts as 0 bytes."""
    dag = hand_made(CHAIN, "y", uncuttable="y")
    assert cut_of(dag, mask(dag, "a"), Mode.INFERENCE).quantities.result_bytes == 0


def refusal(dag: CostedDag, constraints: Constraints) -> SplitError:
    """The error that these constraints meet."""
    with pytest.raises(SplitError) as caught:
        forced_sides(dag, constraints)
    return caught.value


SIDE = "x -> a -> p,s\np -> b -> q\ns -> c -> r\nq,r -> d -> y"
"""Two branches from a to d; c and d come late in one, b and d in the other."""


def test_pins_spread_over_ties_both_ways() -> None:
    """A pin to either side takes along what an uncuttable tensor ties to the pinned node, and what
    that requires, or what requires it."""
    dag = hand_made(SIDE, "y", uncuttable="r")
    forced = forced_sides(dag, Constraints(pin_device=("c",)))
    assert forced.device.all()
    forced = forced_sides(dag, Constraints(pin_server=("d",)))
    assert forced.server.tolist() == mask(dag, "c d").tolist()
    assert not forced.device.any()


def test_an_uncuttable_input_forces_its_readers_without_constraints() -> None:
    """Without any constraints the readers of an uncuttable input run on the device, with what they
    require."""
    dag = hand_made("x -> a -> p\nz,p -> b -> q\nq -> c -> r\nr -> d -> y", "y", uncuttable="z q")
    forced = forced_sides(dag, Constraints())
    assert forced.device.tolist() == mask(dag, "a b c").tolist()
    assert not forced.server.any()


def test_pins_that_only_a_tie_contradicts_name_the_tensor() -> None:
    """Where pins would go together but for an uncuttable tensor, it is named; where they contradict
    the order of the DAG, it is not."""
    dag = hand_made(SIDE, "y", uncuttable="r")
    error = refusal(dag, Constraints(("c",), ("d",)))
    assert isinstance(error, ContradictoryPinsError)
    assert error.loc == ("constraints", "pin_device")
    assert error.detail == (
        "node 'c' is pinned to the device and 'd' to the server, but the first cannot run on the "
        "device without the second: tensor 'r' never crosses, as its size is not known before the "
        "model runs; drop one of the two"
    )
    assert "'r'" in refusal(dag, Constraints(("c",), ("b",))).detail
    plain = refusal(dag, Constraints(("d",), ("a",))).detail
    assert "'d' is pinned to the device but depends on 'a'" in plain
    both = refusal(dag, Constraints(("c",), ("c",))).detail
    assert "'c' is pinned to the device and to the server" in both


def test_as_few_tensors_as_can_be_are_named() -> None:
    """Of several ways to contradict, one over few uncuttable tensors is told, and of many tensors
    the first three and how many more."""
    wires = "\n".join(f"t{i} -> n{i} -> t{i + 1}" for i in range(8))
    dag = hand_made(wires, "t8", uncuttable=" ".join(f"t{i}" for i in range(1, 8)))
    many = refusal(dag, Constraints(("n0",), ("n6",))).detail
    assert "tensors 't1', 't2', 't3' and 3 more never cross, as their sizes are not" in many
    two = refusal(dag, Constraints(("n0",), ("n2",))).detail
    assert "tensors 't1' and 't2' never cross" in two
    nearest = refusal(dag, Constraints(("n0",), ("n6", "n1"))).detail
    assert "'n1' to the server" in nearest
    assert "tensor 't1' never crosses" in nearest


def test_a_server_pin_against_an_uncuttable_input_names_it() -> None:
    """A node that an uncuttable input holds on the device cannot be pinned to the server: the input
    is named, and the tensors that tie the node to its readers."""
    dag = hand_made("x -> a -> p\nz,p -> b -> q\nq -> c -> r\nr -> d -> y", "y", uncuttable="z q")
    error = refusal(dag, Constraints(pin_server=("a",)))
    assert isinstance(error, InfeasibleError)
    assert error.loc == ("constraints", "pin_server")
    assert error.detail == (
        "node 'a' is pinned to the server but has to run on the device, where the graph input 'z' "
        "is: tensor 'z' never crosses, as its size is not known before the model runs; unpin it"
    )
    assert "tensors 'z' and 'q' never cross" in refusal(dag, Constraints((), ("c",))).detail
    assert not forced_sides(dag, Constraints((), ("d",))).device[3]


def test_kept_inputs_that_only_a_tie_contradicts_name_the_tensor() -> None:
    """Where a pin drags a reader of an input to the server by way of an uncuttable tensor, the
    refusal to keep the inputs says so."""
    dag = hand_made(CHAIN, "y", uncuttable="p")
    error = refusal(dag, Constraints((), ("b",), keep_inputs_on_device=True))
    assert isinstance(error, InfeasibleError)
    assert "pin_server puts node 'a' on the server (tensor 'p' never crosses" in error.detail
    assert "the graph inputs 'x' (10 bytes) would cross raw" in error.detail
    plain = refusal(dag, Constraints((), ("a",), keep_inputs_on_device=True)).detail
    assert "never cross" not in plain


@pytest.mark.parametrize("family", Family)
def test_partial_cuts_without_a_completion_are_not_carried_on(family: Family) -> None:
    """Forty branches that the last node joins by uncuttable tensors lie on one side altogether: the
    search decides that at the first of them, and never has the ways to part them open."""
    names = [f"u{i}" for i in range(40)]
    branches = [f"x -> {name}_maker -> {name}" for name in names]
    wires = "\n".join([*branches, f"{','.join(names)} -> join -> y"])
    dag = hand_made(wires, "y", uncuttable=" ".join(names))
    table = build_table(dag, family, most_cuts=4)
    assert {int(row.sum()) for row in table.masks()} <= {0, 41}


@given(dags(max_nodes=8, min_nodes=0))
@settings(max_examples=100, deadline=None)
def test_a_search_without_constraints_knows_what_has_to_run_on_the_device(dag: CostedDag) -> None:
    """Without forced sides a table has the same rows as with those that no constraints force."""
    forced = forced_sides(dag, Constraints())
    for family in (Family.SLOWER_DEVICE, Family.FULL_INFERENCE):
        alone, told = build_table(dag, family), build_table(dag, family, forced)
        assert alone.quantities.tolist() == told.quantities.tolist()
        assert all(dag.is_cut(on_device) for on_device in alone.masks())


def test_the_general_network_has_a_vertex_per_group() -> None:
    """Tied nodes are one vertex of the general network; an uncuttable input is an arc that cannot
    be cut."""
    dag = hand_made("x -> a -> p\nz,p -> b -> q\nq -> c -> r\nr -> d -> y", "y", uncuttable="z q")
    network = build_network(dag)
    assert network.group_count == 3
    assert network.group_of_node.tolist() == [0, 1, 1, 2]
    unbreakable = network.is_infinite & (network.tails == SOURCE)
    assert network.heads[unbreakable].tolist() == [2 + 1]


def test_blocks_tell_uncuttable_tensors_apart() -> None:
    """Parts that differ only in whether what they make may cross are of different kinds; parts with
    tensors of unknown shape have kinds like any others."""
    wires = "x -> a -> p\np -> b -> q\nq -> c -> r\nr -> d -> s\ns -> e -> y"
    plain = hand_made(wires, "y")
    assert kinds_of(plain, blocks_of(plain)) == [0, 0, 0, 0, 0]
    marked = hand_made(wires, "y", uncuttable="q s")
    assert kinds_of(marked, blocks_of(marked)) == [0, 1, 2, 1, 2]
