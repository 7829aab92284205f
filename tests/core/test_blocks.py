"""Blocks: against their definition, for any topological order, and on graphs drawn by hand."""

import random
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.blocks import block_of_node, blocks_of
from app.core.dag import NO_PRODUCER, CostedDag, Node, Tensor
from tests.core.build import digraph, hand_made, nodes_of, reordered
from tests.fixture_models import FIXTURES, Fixture, ingested
from tests.oracles import all_cuts
from tests.strategies import dags

Places = dict[frozenset[str], str]
"""For each place between two blocks: the nodes before it, and the connecting tensor."""


def places_by_definition(dag: CostedDag) -> Places:
    """Every place, from the definition alone: a tensor such that its producer and all ancestors of
    that are before, all nodes after depend on it, and it is the only tensor in between."""
    graph = digraph(dag)
    places = {}
    everything = frozenset(range(dag.node_count))
    for t, producer in enumerate(dag.tensor_producers.tolist()):
        before = nodes_of(nx.ancestors(graph, ("tensor", t)))
        after = everything - before
        if producer == NO_PRODUCER or not after:
            continue
        if not after <= nodes_of(nx.descendants(graph, ("tensor", t))):
            continue
        between = [
            other
            for other, users in enumerate(dag.tensor_consumers.to_lists())
            if after.intersection(users)
            and (
                dag.tensor_producers[other] == NO_PRODUCER or dag.tensor_producers[other] in before
            )
        ]
        if between == [t]:
            places[frozenset(dag.node_names[i] for i in before)] = dag.tensor_names[t]
    return places


def places_of(dag: CostedDag) -> Places:
    """The places between the blocks that Kerf finds."""
    places = {}
    for block in blocks_of(dag)[:-1]:
        assert block.output_tensor is not None
        before = frozenset(dag.node_names[: block.stop])
        places[before] = dag.tensor_names[block.output_tensor]
    return places


@st.composite
def series_of_parts(draw: st.DrawFn) -> CostedDag:
    """Random DAGs in a row, mostly joined by one tensor: graphs that have blocks."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    tensors: list[tuple[int, list[int]]] = [(NO_PRODUCER, [])]
    joint = 0
    count = 0
    for _ in range(rng.randint(1, 6)):
        inside = [joint]
        for _ in range(rng.choice([1, 1, 2, 3, 4])):
            for t in rng.sample(inside, min(len(inside), rng.randint(1, 2))):
                tensors[t][1].append(count)
            for _ in range(rng.choice([1, 1, 1, 2])):
                inside.append(len(tensors))
                tensors.append((count, []))
            count += 1
        # Gather every loose end, as a residual sum does; at times forget one.
        loose = [t for t in inside[1:] if not tensors[t][1]]
        if rng.random() < 0.1:
            loose = loose[1:]
        for t in loose or [joint]:
            tensors[t][1].append(count)
        joint = len(tensors)
        tensors.append((count, []))
        count += 1
    if rng.random() < 0.3:  # a skip over everything, or a second input
        producer, users = rng.choice(tensors)
        later = [i for i in range(producer + 1, count) if i not in users]
        users.extend(rng.sample(later, min(1, len(later))))
    if rng.random() < 0.3:
        tensors.append((NO_PRODUCER, [rng.randrange(count)]))
    return CostedDag.build(
        [Node(f"n{i}", "Op", 1) for i in range(count)],
        [
            Tensor(f"t{t}", (), "x", 1, producer, tuple(sorted(set(users))), True, not users)
            for t, (producer, users) in enumerate(tensors)
        ],
        [],
    )


@given(st.one_of(series_of_parts(), dags()))
@settings(max_examples=400, deadline=None)
def test_places_are_those_of_the_definition(dag: CostedDag) -> None:
    """On any DAG the places between blocks are those where a single tensor connects its ancestors
    with nodes that all depend on it."""
    assert places_of(dag) == places_by_definition(dag)


@given(st.one_of(series_of_parts(), dags()), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_blocks_do_not_hang_on_the_order(dag: CostedDag, seed: int) -> None:
    """Any topological order of the nodes gives the same blocks and connecting tensors."""
    rng = random.Random(seed)
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(dag.node_count))
    graph.add_edges_from(zip(*(side.tolist() for side in dag.edges), strict=True))
    priority = {i: rng.random() for i in range(dag.node_count)}
    order = list(nx.lexicographical_topological_sort(graph, key=priority.__getitem__))
    assert places_of(reordered(dag, order)) == places_of(dag)


def test_the_drawn_graphs_have_blocks() -> None:
    """The graphs that the properties run on have many places, and few of them, too."""
    counts: list[int] = []

    @given(series_of_parts())
    @settings(max_examples=100, deadline=None, derandomize=True, database=None)
    def collect(dag: CostedDag) -> None:
        counts.append(len(blocks_of(dag)))

    collect()
    assert max(counts) >= 5
    assert min(counts) == 1


@given(st.one_of(series_of_parts(), dags(max_nodes=9)))
@settings(max_examples=150, deadline=None)
def test_every_cut_lies_in_one_block(dag: CostedDag) -> None:
    """Whatever cut is made, all blocks but one are on one side altogether."""
    if dag.node_count > 12:
        return
    blocks = blocks_of(dag)
    for device in all_cuts(dag):
        sides = [{i in device for i in range(block.start, block.stop)} for block in blocks]
        divided = [i for i, side in enumerate(sides) if len(side) == 2]
        assert len(divided) <= 1
        whole = [side == {True} for side in sides]
        assert whole == sorted(whole, reverse=True)


@given(st.one_of(series_of_parts(), dags()))
@settings(deadline=None)
def test_blocks_partition_the_nodes(dag: CostedDag) -> None:
    """Blocks follow each other without gap, each begins with the tensor that the last one ended
    in, and each node knows its block."""
    blocks = blocks_of(dag)
    assert [block.id for block in blocks] == list(range(len(blocks)))
    assert blocks[0].start == 0
    assert blocks[-1].stop == dag.node_count
    for before, after in pairwise(blocks):
        assert before.stop == after.start
        assert before.output_tensor == after.input_tensor is not None
        assert dag.tensor_producers[after.input_tensor] < after.start
    assert block_of_node(dag, blocks) == [
        next(block.id for block in blocks if i < block.stop) for i in range(dag.node_count)
    ]


def parts(dag: CostedDag) -> list[str]:
    """Each block as ``input: nodes: output``."""
    names = dag.tensor_names

    def name(tensor: int | None) -> str:
        return "?" if tensor is None else names[tensor]

    return [
        f"{name(block.input_tensor)}: {' '.join(dag.node_names[block.start : block.stop])}: "
        f"{name(block.output_tensor)}"
        for block in blocks_of(dag)
    ]


def test_a_chain_has_a_block_per_node() -> None:
    """Between any two nodes of a chain there is a place."""
    dag = hand_made("x -> a -> p\np -> b -> q\nq -> c -> y", "y")
    assert parts(dag) == ["x: a: p", "p: b: q", "q: c: y"]


def test_a_residual_is_one_block() -> None:
    """What a skip spans is one block; before and after it there are places."""
    dag = hand_made(
        "x -> stem -> p\np -> conv1 -> q\nq -> conv2 -> r\np,r -> add -> s\ns -> head -> y", "y"
    )
    assert parts(dag) == ["x: stem: p", "p: conv1 conv2 add: s", "s: head: y"]


def test_a_second_input_joins_what_is_before_its_use() -> None:
    """A graph input that is used late spans all before; after its use there are places again."""
    dag = hand_made("x -> a -> p\np -> b -> q\nq,z -> c -> r\nr -> d -> y", "y")
    assert parts(dag) == ["?: a b c: r", "r: d: y"]


def test_a_long_skip_leaves_one_block() -> None:
    """A tensor that the last node uses again leaves no place between."""
    dag = hand_made("x -> a -> p\np -> b -> q\nq -> c -> r\np,r -> d -> y", "y")
    assert parts(dag) == ["x: a: p", "p: b c d: y"]
    dag = hand_made("x -> a -> p\np -> b -> q\nq -> c -> r\nx,r -> d -> y", "y")
    assert parts(dag) == ["x: a b c d: y"]


def test_a_side_output_ends_the_places() -> None:
    """After a node that nothing uses (an early exit) no tensor connects all before with all
    after; a tensor that is a graph output and is used as well is no such end."""
    dag = hand_made("x -> a -> p\np -> exit -> e\np -> b -> q\nq -> c -> y", "e y")
    assert parts(dag) == ["x: a: p", "p: exit b c: ?"]
    dag = hand_made("x -> a -> p\np -> b -> q\nq -> c -> y", "p y")
    assert parts(dag) == ["x: a: p", "p: b: q", "q: c: y"]


def test_two_tensors_of_one_node_are_no_place() -> None:
    """A node whose two results are both used does not end a block; one used twice does."""
    dag = hand_made("x -> split -> p,q\np,q -> join -> y", "y")
    assert parts(dag) == ["x: split join: y"]
    dag = hand_made("x -> a -> p\np -> b -> q\np -> c -> r\nq,r -> d -> y", "y")
    assert parts(dag) == ["x: a: p", "p: b c d: y"]


def test_a_node_that_reads_no_tensor_is_in_every_cut_by_itself() -> None:
    """A node that uses parameters alone stands anywhere, so no place comes before it."""
    dag = hand_made("x -> a -> p\np -> b -> q\n -> free -> f\nq,f -> c -> r\nr -> d -> y", "y")
    assert parts(dag) == ["x: a b free c: r", "r: d: y"]


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_places_of_a_fixture_are_those_of_the_definition(fixture: Fixture) -> None:
    """The places of a real model, too, are those of the definition."""
    dag = ingested(fixture.name).dag
    assert places_of(dag) == places_by_definition(dag)


def test_real_models_have_their_blocks() -> None:
    """VGG-19 is a chain; ResNet-50 has a place after each of its 16 residual blocks."""
    vgg = ingested("light_vgg19").dag
    assert len(blocks_of(vgg)) == vgg.node_count
    resnet = ingested("resnet50").dag
    longest = [block for block in blocks_of(resnet) if block.stop - block.start > 3]
    assert len(longest) == 16
