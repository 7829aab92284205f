"""Seconds measured per node in the place of FLOPs: every method against brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.core.constraints import Constraints, forced_sides
from app.core.dag import CostedDag, NodeWork
from app.core.errors import InfeasibleError
from app.core.quantities import cut_of
from app.core.scenario import Mode, Objective, Scenario, objective_prices, prices_of
from app.core.splitting.blockwise import groups_of
from app.core.splitting.cut_table import Family, build_table
from app.core.splitting.frontier import DEVICE, SERVER
from app.core.splitting.general import best_cut_by_flow
from app.core.splitting.integer_programme import solve_programme
from app.core.splitting.network import build_network
from app.core.splitting.pricing import RATES, UPLINK_RATE, Pricing, pricing_of
from app.core.splitting.solve import CutTables, best_row, best_rows, valid_ranges
from tests.core.test_solve import full_scenarios, rates_of, value_of, with_rate
from tests.fixture_models import ingested
from tests.oracles import all_cuts
from tests.strategies import dags, works

TOLERANCE = 1e-9


@st.composite
def measured(draw: st.DrawFn, max_nodes: int = 9) -> tuple[CostedDag, NodeWork, Scenario]:
    """A DAG, seconds of its nodes, and a scenario in which a second costs a second; or, in half of
    them, in which one side is slower or faster than it was measured."""
    dag = draw(dags(max_nodes=max_nodes, min_nodes=0))
    off = st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.9, 1.25])
    scenario = replace(
        draw(full_scenarios()), device_flops_per_s=draw(off), server_flops_per_s=draw(off)
    )
    return dag, draw(works(dag)), scenario


def priced(dag: CostedDag, scenario: Scenario) -> Pricing:
    return pricing_of(scenario, prices_of(scenario, dag.model_batch), dag.model_batch)


def nodes_of(on_device: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> frozenset[int]:
    return frozenset(np.flatnonzero(on_device).tolist())


@given(measured())
@settings(max_examples=400, deadline=None)
def test_table_finds_the_best_cut(case: tuple[CostedDag, NodeWork, Scenario]) -> None:
    """The best row's value is the least over all cuts, for every objective and limit, whether or
    not a second costs the same on both sides; no row where no cut fits."""
    dag, work, scenario = case
    best = min(value_of(dag, device, scenario, work) for device in all_cuts(dag))
    tables, pricing = CutTables(dag, work=work), priced(dag, scenario)
    if best == math.inf:
        with pytest.raises(InfeasibleError, match="more"):
            best_row(tables, scenario, pricing)
        return
    found = best_row(tables, scenario, pricing)
    assert found.value == pytest.approx(best, rel=TOLERANCE)
    device = nodes_of(found.table.on_device(found.row))
    assert value_of(dag, device, scenario, work) == pytest.approx(best, rel=TOLERANCE)


@given(measured(), st.lists(st.sampled_from([0.5, 0.9, 1.0, 1.1]), min_size=2, max_size=5))
@settings(max_examples=100, deadline=None)
def test_many_scenarios_are_served_by_the_right_tables(
    case: tuple[CostedDag, NodeWork, Scenario], factors: list[float]
) -> None:
    """Scenarios with and without a side off its measure, priced at once, have the values that each
    has alone."""
    dag, work, scenario = case
    count = len(factors)
    many = replace(
        scenario,
        device_flops_per_s=np.array(factors),
        server_flops_per_s=np.ones(count),
        memory_bytes=None,
    )
    tables = CutTables(dag, work=work)
    found = best_rows(tables, many, priced(dag, many))
    for factor, value in zip(factors, found.values.tolist(), strict=True):
        alone = replace(many, device_flops_per_s=factor, server_flops_per_s=1.0, memory_bytes=None)
        assert value == pytest.approx(best_row(tables, alone, priced(dag, alone)).value)


@given(measured(), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_valid_while_is_exact_for_the_link_and_nothing_else(
    case: tuple[CostedDag, NodeWork, Scenario], rate: int
) -> None:
    """Measured seconds hang on no rate of the machines; just inside of each end of a rate of the
    link the cut is still a best one, just outside another is better."""
    dag, work, scenario = case
    scenario = replace(scenario, device_flops_per_s=1.0, server_flops_per_s=1.0)
    tables, pricing = CutTables(dag, work=work), priced(dag, scenario)
    try:
        best = best_row(tables, scenario, pricing)
    except InfeasibleError:
        return
    ranges = valid_ranges(tables, scenario, pricing, best.quantities, best.table.quantities)
    bounds = ranges[RATES[rate]]
    if rate < UPLINK_RATE:
        assert bounds is None
        return
    assert bounds is not None
    device = nodes_of(best.table.on_device(best.row))
    everything = list(all_cuts(dag))

    def excess(value: float) -> float:
        moved = with_rate(scenario, rate, value)
        least = min(value_of(dag, each, moved, work) for each in everything)
        return value_of(dag, device, moved, work) / max(least, 1e-300) - 1

    low, high = bounds
    for bound, outwards in zip(bounds, (1 / 1.001, 1.001), strict=True):
        if bound is None:
            assert excess(rates_of(scenario)[rate] * outwards**20000) < 1e-6
        else:
            assert excess(min(max(bound / outwards, low or 0.0), high or math.inf)) < 1e-9
            assert excess(bound * outwards) > 0


@given(measured())
@settings(max_examples=200, deadline=None)
def test_flows_find_the_best_cut(case: tuple[CostedDag, NodeWork, Scenario]) -> None:
    """The minimum cut on the DAG, and on the groups of a table's rows, has the least value over all
    cuts, for delay and energy, with a proof."""
    dag, work, scenario = case
    if scenario.objective is Objective.THROUGHPUT:
        scenario = replace(scenario, objective=Objective.DELAY)
    scenario = replace(scenario, memory_bytes=None)
    best = min(value_of(dag, device, scenario, work) for device in all_cuts(dag))
    forced = forced_sides(dag, Constraints())
    charged = objective_prices(scenario, prices_of(scenario, dag.model_batch))
    tables = CutTables(dag, work=work)
    table = tables.get(tables.family_for(scenario, priced(dag, scenario)))
    for groups in (None, groups_of(table)):
        network = build_network(dag, work, groups)
        found = best_cut_by_flow(dag, network, charged, scenario.mode, forced, work)
        assert found.value == pytest.approx(best, rel=TOLERANCE)
        assert found.certificate.proves_optimality
        on_device = nodes_of(found.cut.on_device)
        assert value_of(dag, on_device, scenario, work) == pytest.approx(best, rel=TOLERANCE)


@given(measured(max_nodes=7))
@settings(max_examples=60, deadline=None)
def test_integer_programme_finds_the_best_cut(
    case: tuple[CostedDag, NodeWork, Scenario],
) -> None:
    """The programme's cut is as good as the best one, for every objective and limit."""
    dag, work, scenario = case
    pricing = priced(dag, scenario)
    if scenario.memory_bytes is not None:
        everything = build_table(dag, Family.full(scenario.mode))
        needed = pricing.memory_needed(everything.quantities)
        # A limit within HiGHS' tolerance of what a cut needs is decided either way.
        assume(not (abs(needed / scenario.memory_bytes - 1) < 1e-4).any())
    values = [value_of(dag, device, scenario, work) for device in all_cuts(dag)]
    best, typical = min(values), max((each for each in values if each < math.inf), default=1.0)
    forced = forced_sides(dag, Constraints())
    found = solve_programme(dag, pricing, scenario.mode, forced, typical, 10.0, work)
    if found.on_device is None:
        assert best == math.inf
        return
    slack = 1e-6 * (best + typical)
    assert value_of(dag, nodes_of(found.on_device), scenario, work) <= best + slack
    assert found.bound <= best + slack


@pytest.mark.parametrize("family", [each for each in Family if "measured" in each])
@pytest.mark.parametrize("name", ["mobilenet_v2", "light_squeezenet", "gpt2"])
def test_rows_carry_the_seconds_of_their_cut(name: str, family: Family) -> None:
    """Seconds in a table are those that evaluating its cut gives, to the last digit, though many
    were added and taken off on the way."""
    dag = ingested(name).dag
    draw = np.random.default_rng(7)
    device, server = draw.lognormal(-9, 2, (2, dag.node_count))
    work = NodeWork(device, server)
    table = build_table(dag, family, work=work)
    assert len(table) > 1
    for row in range(len(table)):
        cut = cut_of(dag, table.on_device(row), Mode.TRAINING, work)
        seconds = (cut.quantities.device_flops, cut.quantities.server_flops)
        assert tuple(table.quantities[row, [DEVICE, SERVER]].tolist()) == seconds
