"""Tables, block-wise form, flow and integer programme: the same optimum, and its validity."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.core.blocks import blocks_of
from app.core.constraints import Constraints, forced_sides
from app.core.dag import CostedDag, NodeWork
from app.core.errors import InfeasibleError
from app.core.quantities import kept_activation_bytes, peak_activation_bytes
from app.core.scenario import DevicePower, Link, Mode, Objective, Scenario, prices_of
from app.core.splitting.blockwise import can_hold_a_cut, groups_of
from app.core.splitting.cut_table import Family, build_table
from app.core.splitting.general import best_cut_by_flow
from app.core.splitting.integer_programme import solve_programme
from app.core.splitting.network import build_network
from app.core.splitting.pricing import RATES, Pricing, pricing_of
from app.core.splitting.solve import CutTables, best_row, family_for, valid_ranges
from tests.oracles import all_cuts, crossing_tensors, delay_s, sums_of_work
from tests.strategies import dags, scenarios

TOLERANCE = 1e-9


def held_bytes(dag: CostedDag, device: frozenset[int]) -> int:
    rows = zip(dag.parameter_bytes.tolist(), dag.parameter_users.to_lists(), strict=True)
    return sum(nbytes for nbytes, users in rows if any(user in device for user in users))


def value_of(
    dag: CostedDag, device: frozenset[int], scenario: Scenario, work: NodeWork | None = None
) -> float:
    """An objective's value by its definition; inf where the device's memory is exceeded.

    ``work``: what each node takes on either side, if not its FLOPs.
    """
    mask = np.array([i in device for i in range(dag.node_count)], dtype=np.bool_)
    b = (scenario.batch_size or dag.model_batch) / dag.model_batch
    training = scenario.mode is Mode.TRAINING
    if scenario.memory_bytes is not None:
        weights = (2 + scenario.optimizer_states) if training else 1
        activations = (kept_activation_bytes if training else peak_activation_bytes)(dag, mask)
        if weights * held_bytes(dag, device) + b * activations > scenario.memory_bytes:
            return math.inf
    if scenario.objective is Objective.DELAY:
        return delay_s(dag, device, scenario, work=work)
    n = scenario.local_iterations if training else 1
    k = 1 + scenario.backward_ratio if training else 1.0
    up, down = scenario.link.uplink_bits_per_s, scenario.link.downlink_bits_per_s
    on_device, on_server = map(float, sums_of_work(dag, device, work))
    crossing = crossing_tensors(dag, device)
    compute_s = float(n * b * k * on_device / scenario.device_flops_per_s)
    server_s = float(n * b * k * on_server / scenario.server_flops_per_s)
    send_s = float(n * b * 8 * sum(int(dag.tensor_bytes[t]) for t in crossing) / up)
    if training:
        back = [t for t in crossing if dag.tensor_is_floating[t] and dag.tensor_producers[t] >= 0]
    else:
        back = [
            t
            for t in np.flatnonzero(dag.tensor_is_output & (dag.tensor_producers >= 0)).tolist()
            if int(dag.tensor_producers[t]) not in device
        ]
    receive_s = float(n * b * 8 * sum(int(dag.tensor_bytes[t]) for t in back) / down)
    if scenario.objective is Objective.THROUGHPUT:
        return max(compute_s, send_s, server_s, receive_s)
    assert scenario.power is not None
    model = 8 * held_bytes(dag, device) if training else 0
    power = scenario.power
    if device:
        compute_s += float(n * scenario.device_run_overhead_s)
    return float(
        power.compute_w * compute_s
        + power.transmit_w * (send_s + model / up)
        + power.receive_w * (receive_s + model / down)
    )


@st.composite
def full_scenarios(draw: st.DrawFn) -> Scenario:
    """Scenarios of every objective, with and without a memory limit."""
    base = draw(scenarios())
    objective = draw(st.sampled_from(Objective))
    mode = Mode.INFERENCE if objective is Objective.THROUGHPUT else base.mode
    watts = st.sampled_from([0.0, 0.5, 10.0])
    return replace(
        base,
        mode=mode,
        objective=objective,
        memory_bytes=draw(st.one_of(st.none(), st.floats(1.0, 1e5))),
        optimizer_states=draw(st.integers(0, 2)),
        power=DevicePower(draw(watts), draw(watts), draw(watts)),
    )


@given(dags(max_nodes=9, min_nodes=0), full_scenarios())
@settings(max_examples=400, deadline=None)
def test_table_finds_the_best_cut_for_every_objective_and_limit(
    dag: CostedDag, scenario: Scenario
) -> None:
    """The best row's value is the least over all cuts; no row where no cut fits."""
    best = min(value_of(dag, device, scenario) for device in all_cuts(dag))
    pricing = priced(dag, scenario)
    tables = CutTables(dag)
    if best == math.inf:
        with pytest.raises(InfeasibleError, match="more"):
            best_row(tables, scenario, pricing)
        return
    found = best_row(tables, scenario, pricing)
    assert found.value == pytest.approx(best, rel=TOLERANCE)
    device = frozenset(np.flatnonzero(found.table.on_device(found.row)).tolist())
    assert value_of(dag, device, scenario) == pytest.approx(best, rel=TOLERANCE)


@given(dags(max_nodes=9, min_nodes=0), full_scenarios(), st.integers(0, 3))
@settings(max_examples=400, deadline=None)
def test_valid_while_is_exact(dag: CostedDag, scenario: Scenario, rate: int) -> None:
    """Just inside each bound the chosen cut is still a best one over all cuts; just outside it
    another is better. (Where cuts tie at the scenario itself, the range may be that point.)"""
    pricing = priced(dag, scenario)
    tables = CutTables(dag)
    try:
        best = best_row(tables, scenario, pricing)
    except InfeasibleError:
        return
    device = frozenset(np.flatnonzero(best.table.on_device(best.row)).tolist())
    bounds = valid_ranges(tables, scenario, pricing, best.quantities, best.table.quantities)[
        RATES[rate]
    ]
    assert bounds is not None
    everything = list(all_cuts(dag))

    def excess(value: float) -> float:
        """By how much, relatively, the chosen cut is worse than the best at another rate."""
        moved = with_rate(scenario, rate, value)
        chosen = value_of(dag, device, moved)
        return chosen / max(min(value_of(dag, d, moved) for d in everything), 1e-300) - 1

    for bound, outwards in zip(bounds, (1 / 1.001, 1.001), strict=True):
        if bound is None:
            assert excess(rates_of(scenario)[rate] * outwards**20000) < 1e-6
        else:
            low, high = bounds
            assert excess(min(max(bound / outwards, low or 0.0), high or math.inf)) < 1e-9
            assert excess(bound * outwards) > 0


def priced(dag: CostedDag, scenario: Scenario) -> Pricing:
    return pricing_of(scenario, prices_of(scenario, dag.model_batch), dag.model_batch)


def rates_of(scenario: Scenario) -> tuple[float, ...]:
    link = scenario.link
    return (
        float(scenario.device_flops_per_s),
        float(scenario.server_flops_per_s),
        float(link.uplink_bits_per_s),
        float(link.downlink_bits_per_s),
    )


def with_rate(scenario: Scenario, rate: int, value: float) -> Scenario:
    rates = list(rates_of(scenario))
    rates[rate] = value
    return replace(
        scenario,
        device_flops_per_s=rates[0],
        server_flops_per_s=rates[1],
        link=Link(rates[2], rates[3], scenario.link.round_trip_s),
    )


@given(dags(min_nodes=0), scenarios())
@settings(max_examples=200, deadline=None)
def test_blockwise_equals_general(dag: CostedDag, scenario: Scenario) -> None:
    """The minimum cut over the groups of a table's rows is the minimum cut over the nodes."""
    prices = prices_of(scenario, dag.model_batch)
    forced = forced_sides(dag, Constraints())
    table = build_table(dag, family_for(scenario, bool(priced(dag, scenario).device_is_faster)))
    grouped = build_network(dag, group_of_node=groups_of(table))
    blockwise = best_cut_by_flow(dag, grouped, prices, scenario.mode, forced)
    general = best_cut_by_flow(dag, build_network(dag), prices, scenario.mode, forced)
    assert blockwise.value == pytest.approx(general.value, rel=TOLERANCE)
    assert grouped.group_count <= len(table) + 1
    makers, users = dag.edges
    groups = groups_of(table)
    assert bool((groups[makers] <= groups[users]).all())


@given(dags())
@settings(max_examples=100, deadline=None)
def test_a_block_can_hold_a_cut_exactly_where_a_row_lies_inside(dag: CostedDag) -> None:
    """A block can hold a cut if and only if some non-dominated cut has it on both sides."""
    table = build_table(dag, Family.SLOWER_DEVICE)
    blocks = blocks_of(dag)
    for block, answer in zip(blocks, can_hold_a_cut(table, blocks), strict=True):
        nodes = set(range(block.start, block.stop))
        rows = [set(np.flatnonzero(mask).tolist()) & nodes for mask in table.masks()]
        assert answer == any(part and part != nodes for part in rows)


@given(dags(max_nodes=7, min_nodes=0), full_scenarios())
@settings(max_examples=100, deadline=None)
def test_integer_programme_finds_the_same_optimum(dag: CostedDag, scenario: Scenario) -> None:
    """The programme's cut is feasible and as good as the best one; its bound is below."""
    values = [value_of(dag, device, scenario) for device in all_cuts(dag)]
    best = min(values)
    pricing = priced(dag, scenario)
    forced = forced_sides(dag, Constraints())
    # A limit within HiGHS' tolerance of what a cut needs is decided either way.
    assume(not near_limit(dag, scenario))
    typical = max((value for value in values if value < math.inf), default=1.0)
    found = solve_programme(dag, pricing, scenario.mode, forced, typical, 10.0)
    if found.on_device is None:
        assert best == math.inf
        return
    device = frozenset(np.flatnonzero(found.on_device).tolist())
    assert dag.is_cut(found.on_device)
    assert value_of(dag, device, scenario) <= best * (1 + 1e-6) + 1e-6 * typical
    assert found.bound <= best * (1 + 1e-6) + 1e-6 * typical


def near_limit(dag: CostedDag, scenario: Scenario) -> bool:
    if scenario.memory_bytes is None:
        return False
    pricing = priced(dag, scenario)
    needed = pricing.memory_needed(build_table(dag, Family.full(scenario.mode)).quantities)
    return bool((abs(needed / scenario.memory_bytes - 1) < 1e-4).any())
