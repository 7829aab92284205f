"""What a cut loses where a figure is off: against brute force over all cuts."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.constraints import Constraints, forced_sides
from app.core.dag import NO_PRODUCER, CostedDag, Node, NodeWork, Tensor
from app.core.errors import SplitError
from app.core.scenario import Link, Mode, Objective, Scenario
from app.services.prepared import PreparedModel, VariantKey
from app.services.sensitivity import sensitivity_of
from app.services.solving import solve
from tests.core.test_solve import full_scenarios, value_of
from tests.oracles import all_cuts
from tests.strategies import dags, pins, works

FIGURES = ("device_flops_per_s", "server_flops_per_s", "bandwidth")
SHARES = {"10": 0.1, "25": 0.25, "50": 0.5}


def off_by(scenario: Scenario, figure: str, factor: float) -> Scenario:
    """A scenario with one of its figures times a factor."""
    if figure != "bandwidth":
        return replace(scenario, **{figure: getattr(scenario, figure) * factor})
    link = scenario.link
    up, down = link.uplink_bits_per_s * factor, link.downlink_bits_per_s * factor
    return replace(scenario, link=Link(up, down, link.round_trip_s))


def loss_by_force(
    dag: CostedDag,
    cuts: list[frozenset[int]],
    chosen: frozenset[int],
    scenario: Scenario,
    work: NodeWork | None,
) -> float:
    """The share by which a cut exceeds the best one."""
    own = value_of(dag, chosen, scenario, work)
    best = min(value_of(dag, device, scenario, work) for device in cuts)
    if own == best:
        return 0.0
    return own / best - 1 if best else math.inf


@st.composite
def cases(
    draw: st.DrawFn,
) -> tuple[CostedDag, NodeWork | None, Scenario, Constraints]:
    """Of FLOPs, or of measured seconds; any objective and limit; with constraints at times."""
    dag = draw(dags(max_nodes=7, min_nodes=0))
    scenario, work = draw(full_scenarios()), None
    if draw(st.booleans()):
        work = draw(works(dag))
        scenario = replace(scenario, device_flops_per_s=1.0, server_flops_per_s=1.0)
    constraints = Constraints(draw(pins(dag, 1)), (), draw(st.booleans()))
    return dag, work, scenario, constraints


@given(cases())
@settings(max_examples=250, deadline=None)
def test_losses_are_those_of_brute_force(
    case: tuple[CostedDag, NodeWork | None, Scenario, Constraints],
) -> None:
    """For every figure and percentage, the loss is what the chosen cut costs more than the best of
    the allowed ones, in the worse direction; 0 exactly where it stays best."""
    dag, work, scenario, constraints = case
    key = VariantKey() if work is None else VariantKey(None, "0" * 32, 1.0)
    model = PreparedModel.of("some-id", dag).variant(key, work)
    try:
        solved = solve(model, scenario, constraints, "auto")
        forced = forced_sides(dag, constraints)
    except SplitError:
        return
    must, must_not = set(np.flatnonzero(forced.device)), set(np.flatnonzero(forced.server))
    cuts = [each for each in all_cuts(dag) if must <= each and not must_not & each]
    chosen = frozenset(np.flatnonzero(solved.cut.on_device).tolist())
    found = sensitivity_of(model, scenario, constraints, solved.cut.on_device)
    assert tuple(found) == FIGURES
    for figure, losses in found.items():
        assert tuple(losses) == tuple(SHARES)
        for name, share in SHARES.items():
            worst = max(
                loss_by_force(dag, cuts, chosen, off_by(scenario, figure, factor), work)
                for factor in (1 + share, 1 - share)
            )
            loss = losses[name]
            if loss is None:
                assert not math.isfinite(worst)
            elif loss == 0:
                assert worst < 2e-9
            else:
                assert loss == pytest.approx(worst, rel=1e-6, abs=1e-9)


def independent(count: int) -> CostedDag:
    """Nodes that all read one input and share nothing else: each set of them is a cut."""
    draw = np.random.default_rng(3)
    nodes = [Node(f"n{i}", "Op", int(draw.integers(1, 10**6))) for i in range(count)]
    tensors = [Tensor("x", (), "x", 1000, NO_PRODUCER, tuple(range(count)), True, False)]
    sizes = draw.integers(1, 10**6, count).tolist()
    tensors += [Tensor(f"y{i}", (), "x", sizes[i], i, (), True, True) for i in range(count)]
    return CostedDag.build(nodes, tensors, [])


def least_of_independent(dag: CostedDag, scenario: Scenario) -> float:
    """The least delay of an inference, node by node."""
    device = dag.node_flops / float(scenario.device_flops_per_s)
    server = dag.node_flops / float(scenario.server_flops_per_s)
    down = 8 * dag.tensor_bytes[1:] / float(scenario.link.downlink_bits_per_s)
    shared = 8 * int(dag.tensor_bytes[0]) / float(scenario.link.uplink_bits_per_s)
    best = min(device.sum(), shared + np.minimum(device, server + down).sum())
    return float(best)


def test_flows_tell_where_tables_are_out_of_reach() -> None:
    """Of a model with too many cuts for any table, the loss of delay is told all the same, beside a
    limit of memory too where the best cuts keep it; where they do not, and for throughput, which no
    flow answers, it is not."""
    dag = independent(60)
    model = PreparedModel.of("some-id", dag)
    scenario = Scenario(1e6, 1e8, Link(1e9, 2e7), mode=Mode.INFERENCE)
    solved = solve(model, scenario, Constraints(), "auto")
    assert solved.method == "general"
    assert 0 < solved.cut.device_nodes < dag.node_count
    on_device = frozenset(np.flatnonzero(solved.cut.on_device).tolist())
    found = sensitivity_of(model, scenario, Constraints(), solved.cut.on_device)
    for figure, losses in found.items():
        for name, share in SHARES.items():
            worst = 0.0
            for factor in (1 + share, 1 - share):
                there = off_by(scenario, figure, factor)
                own = value_of(dag, on_device, there)
                worst = max(worst, own / least_of_independent(dag, there) - 1)
            assert losses[name] == pytest.approx(worst, rel=1e-6, abs=2e-9)
    assert found["device_flops_per_s"]["50"]
    roomy = replace(scenario, memory_bytes=1e9)
    assert sensitivity_of(model, roomy, Constraints(), solved.cut.on_device) == found
    narrow = replace(scenario, memory_bytes=1e3)
    nothing = np.zeros(dag.node_count, dtype=np.bool_)
    for losses in sensitivity_of(model, narrow, Constraints(), nothing).values():
        assert None in losses.values()
    pipeline = replace(scenario, objective=Objective.THROUGHPUT)
    for losses in sensitivity_of(model, pipeline, Constraints(), solved.cut.on_device).values():
        assert set(losses.values()) == {None}


def test_a_figure_that_cannot_be_priced_tells_nothing() -> None:
    """Where a lower rate has no finite price any more, the loss of that figure is not told."""
    model = PreparedModel.of("some-id", independent(3))
    scenario = Scenario(1e9, 6e-309, Link(1e9, 1e9), backward_ratio=0.0)
    nothing = np.zeros(3, dtype=np.bool_)
    found = sensitivity_of(model, scenario, Constraints(), ~nothing)
    assert set(found["server_flops_per_s"].values()) == {None}
    assert set(found["bandwidth"].values()) == {0.0}
