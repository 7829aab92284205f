"""The integer max-flow on real capacities: certificates, and networkx on whole numbers."""

import math
import random
from collections.abc import Sequence
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx.algorithms.flow import boykov_kolmogorov

from app.core.errors import UnpriceableError
from app.core.scenario import Link, Mode, Scenario, prices_of
from app.core.splitting.max_flow import MinimumCut, minimum_cut
from app.core.splitting.network import SINK, SOURCE, FlowNetwork, build_network
from tests.core.build import hand_made

Arc = tuple[int, int, float]
INF = math.inf
UNIT = 2**1200
"""Every float is a whole multiple of 1 / UNIT."""


def network_of(arcs: Sequence[Arc], vertices: int) -> FlowNetwork:
    """A network of these arcs; vertex 0 is the source, 1 the sink."""
    return FlowNetwork(
        vertex_count=vertices,
        group_count=0,
        tails=np.array([arc[0] for arc in arcs], dtype=np.int32),
        heads=np.array([arc[1] for arc in arcs], dtype=np.int32),
        quantities=np.zeros((len(arcs), 7)),
        is_infinite=np.array([arc[2] == INF for arc in arcs], dtype=np.bool_),
        group_of_node=np.zeros(0, dtype=np.int32),
    )


def solve(arcs: Sequence[Arc], vertices: int, upper_bound: float) -> MinimumCut:
    """The minimum cut of these arcs."""
    capacities = np.array([arc[2] for arc in arcs], dtype=np.float64)
    return minimum_cut(network_of(arcs, vertices), capacities, upper_bound)


def exact_optimum(arcs: Sequence[Arc], vertices: int) -> Fraction:
    """networkx's minimum cut in whole numbers, without any rounding."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(vertices))
    totals: dict[tuple[int, int], Fraction] = {}
    for tail, head, capacity in arcs:
        if capacity != INF:
            totals[tail, head] = totals.get((tail, head), Fraction(0)) + Fraction(capacity)
    for (tail, head), total in totals.items():
        graph.add_edge(tail, head, capacity=int(total * UNIT))
    for tail, head, capacity in arcs:
        if capacity == INF:
            graph.add_edge(tail, head, capacity=INF)
    value = nx.minimum_cut_value(graph, SOURCE, SINK, flow_func=boykov_kolmogorov)
    assert isinstance(value, int)
    return Fraction(value, UNIT)


def exact_value(arcs: Sequence[Arc], cut: MinimumCut) -> Fraction | float:
    """What the arcs cost that lead out of the source's side."""
    side = cut.source_side
    crossing = [capacity for tail, head, capacity in arcs if side[tail] and not side[head]]
    return INF if INF in crossing else sum(map(Fraction, crossing), Fraction(0))


def check(arcs: Sequence[Arc], vertices: int, upper_bound: float) -> None:
    """The cut separates, its value is the optimum, and the flow proves it."""
    cut = solve(arcs, vertices, upper_bound)
    assert cut.source_side[SOURCE]
    assert not cut.source_side[SINK]
    best, value = exact_optimum(arcs, vertices), exact_value(arcs, cut)
    assert best <= value <= best * (1 + Fraction(1, 10**9))
    # The flow is below the cut but for the one rounding to a float.
    assert Fraction(cut.flow_value) <= best * (1 + Fraction(1, 10**15))
    assert Fraction(cut.flow_value) >= best * (1 - Fraction(1, 10**9))


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Arc], int]:
    """Random networks whose capacities spread over twenty orders of magnitude, some infinite, and
    whose source and sink no infinite path joins."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    vertices = rng.randint(2, 9)
    arcs: list[Arc] = []
    for _ in range(rng.randint(0, 24)):
        tail, head = rng.sample(range(vertices), 2)
        if head == SOURCE or tail == SINK:
            tail, head = head, tail
        capacity = rng.choice([0.0, 1.0, *(10 ** rng.uniform(-10, 10) for _ in range(4))])
        # Infinite arcs lead to a lower vertex, hence never along a whole path to the sink.
        is_infinite = rng.random() < 0.2 and tail > head > SINK
        arcs.append((tail, head, INF if is_infinite else capacity))
    return arcs, vertices


@given(networks(), st.sampled_from([1.0, 1.5, 1e3, 1e9]))
@settings(max_examples=400, deadline=None)
def test_cuts_over_twenty_orders_of_magnitude_are_exact(
    drawn: tuple[list[Arc], int], slack: float
) -> None:
    """Whatever the capacities, the cut is networkx's to 1e-9, and the flow bounds it from below."""
    arcs, vertices = drawn
    upper_bound = float(exact_optimum(arcs, vertices)) * slack * (1 + 1e-12)
    check(arcs, vertices, upper_bound)


@given(networks(), st.sampled_from([1e15, 1e25, 1e40, 1e100]))
@settings(max_examples=200, deadline=None)
def test_an_upper_bound_far_off_does_not_matter(drawn: tuple[list[Arc], int], slack: float) -> None:
    """Where the bound is so far above the optimum that the first scaling rounds it away, further
    solves find it all the same."""
    arcs, vertices = drawn
    check(arcs, vertices, float(exact_optimum(arcs, vertices)) * slack)


@given(networks(), st.integers(-900, 900))
@settings(max_examples=100, deadline=None)
def test_the_unit_does_not_matter(drawn: tuple[list[Arc], int], exponent: int) -> None:
    """Capacities near the ends of floating point give the same cut as those near one."""
    arcs, vertices = drawn
    scaled = [(tail, head, math.ldexp(capacity, exponent)) for tail, head, capacity in arcs]
    upper_bound = float(exact_optimum(arcs, vertices)) * 2
    here = solve(arcs, vertices, upper_bound)
    there = solve(scaled, vertices, math.ldexp(upper_bound, exponent))
    assert here.source_side.tolist() == there.source_side.tolist()
    assert math.ldexp(here.flow_value, exponent) == there.flow_value


def test_nearly_equal_cuts_are_told_apart() -> None:
    """Of two cuts that differ by one part in 1e11 the lesser is found, beside a huge capacity."""
    lesser, greater = 1.0, 1.0 + 1e-11
    arcs = [(0, 2, greater), (2, 3, lesser), (3, 4, greater), (4, 1, 1e15)]
    cut = solve(arcs, 5, greater)
    assert cut.source_side.tolist() == [True, False, True, False, False]
    assert cut.flow_value == pytest.approx(lesser, rel=1e-13)


def test_small_terms_beside_large_ones_count() -> None:
    """A term 1e12 times smaller than the rest of the cut still decides."""
    arcs = [(0, 2, 1.0), (2, 1, 1.0), (0, 3, 2e-12), (3, 1, 1e-12)]
    cut = solve(arcs, 4, 1.5)
    assert cut.source_side[3]
    assert cut.flow_value == pytest.approx(1.0 + 1e-12, rel=1e-13)


def test_networks_without_flow() -> None:
    """Where nothing can flow (no arcs, no path, all zero) the cut is zero."""
    for arcs in (
        [],
        [(0, 2, 5.0)],
        [(2, 1, 5.0)],
        [(0, 2, 0.0), (2, 1, 0.0)],
        [(0, 2, 0.0), (2, 1, INF)],
        [(1, 0, 5.0)],
    ):
        for upper_bound in (0.0, 1.0, 1e300, 5e-324):
            cut = solve(arcs, 3, upper_bound)
            assert cut.flow_value == 0.0
            assert exact_value(arcs, cut) == 0
            assert cut.source_side[SOURCE]
            assert not cut.source_side[SINK]


def test_many_infinite_arcs_do_not_overflow() -> None:
    """Infinite arcs that together exceed 64 bits many times over leave the cut exact."""
    middle = range(2, 2002)
    arcs: list[Arc] = [(0, v, INF) for v in middle] + [(v, 2002, INF) for v in middle]
    cut = solve([*arcs, (2002, 1, 3.3)], 2003, 3.3)
    assert cut.flow_value == pytest.approx(3.3, rel=1e-12)
    assert cut.source_side.tolist() == [True, False, *[True] * 2001]


def test_delays_beyond_floating_point_are_refused() -> None:
    """Prices that are finite by themselves, but not times the model's quantities, are refused."""
    dag = hand_made("x -> a -> y", "y")
    network = build_network(dag)
    scenario = Scenario(1e-307, 1e-307, Link(1.0, 1.0), Mode.INFERENCE)
    with pytest.raises(UnpriceableError, match="infinite"):
        network.capacities(prices_of(scenario, 1))
    scenario = Scenario(1e-300, 1e-300, Link(1.0, 1.0), Mode.INFERENCE)
    assert np.isfinite(network.capacities(prices_of(scenario, 1))).any()
