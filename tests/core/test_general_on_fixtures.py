"""The general algorithm against networkx, on every fixture model."""

import random

import networkx as nx
import pytest

from app.core.constraints import Constraints, forced_sides
from app.core.dag import CostedDag
from app.core.scenario import Link, Mode, Scenario, prices_of
from app.core.splitting.general import best_cut_by_flow
from app.core.splitting.network import build_network
from app.services.graphs import networkx_graph
from tests.fixture_models import FIXTURES, Fixture, ingested
from tests.oracles import crossing_tensors, delay_s, networkx_optimum_s

SCENARIOS = 200


def random_scenario(rng: random.Random, mode: Mode) -> Scenario:
    """Rates over several orders of magnitude; in one of five the device is the faster side."""

    def rate(low: float, high: float) -> float:
        return float(low * (high / low) ** rng.random())

    device = rate(1e8, 1e14)
    return Scenario(
        device_flops_per_s=device,
        server_flops_per_s=device * rate(0.1, 1e4),
        link=Link(rate(1e4, 1e11), rate(1e4, 1e11), rng.choice([0.0, rate(1e-4, 1.0)])),
        mode=mode,
        batch_size=rng.choice([None, 1, 32]),
        local_iterations=rng.choice([1, 10, 100]),
        backward_ratio=rng.choice([1.0, 2.0, 3.0]),
    )


def random_constraints(
    rng: random.Random, dag: CostedDag, graph: "nx.MultiDiGraph[str]"
) -> Constraints:
    """Feasible constraints: the server's pin is no ancestor of the device's, or of an input's
    reader where inputs stay on the device."""
    keep_inputs = rng.random() < 0.5
    on_device = rng.choice(dag.node_names)
    fixed = nx.ancestors(graph, on_device) | {on_device}
    if keep_inputs:
        for raw in [v for v in graph if v.startswith("input:")]:
            for reader in graph.successors(raw):
                fixed |= nx.ancestors(graph, reader) | {reader}
    free = [name for name in dag.node_names if name not in fixed]
    on_server = (rng.choice(free),) if free and rng.random() < 0.5 else ()
    return Constraints((on_device,), on_server, keep_inputs)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_optimum_equals_networkx_on_every_fixture(fixture: Fixture, mode: Mode) -> None:
    """In 200 random scenarios, half of them constrained, the optimum is networkx's, the cut is
    closed and proved, and its delay recomputed from the formulas is the reported one."""
    dag = ingested(fixture.name).dag
    network, graph = build_network(dag), networkx_graph(dag)
    rng = random.Random(f"{fixture.name} {mode}")
    for index in range(SCENARIOS):
        scenario = random_scenario(rng, mode)
        constraints = random_constraints(rng, dag, graph) if index % 2 else Constraints()
        forced = forced_sides(dag, constraints)
        prices = prices_of(scenario, dag.model_batch)
        solution = best_cut_by_flow(dag, network, prices, mode, forced)
        on_device = {dag.node_index[name] for name in constraints.pin_device}
        on_server = {dag.node_index[name] for name in constraints.pin_server}
        keep_inputs = constraints.keep_inputs_on_device
        best = networkx_optimum_s(
            dag, scenario, frozenset(on_device), frozenset(on_server), keep_inputs
        )
        device = frozenset(solution.cut.on_device.nonzero()[0].tolist())
        assert solution.value == pytest.approx(best, rel=1e-9), scenario
        assert delay_s(dag, device, scenario) == pytest.approx(solution.value, rel=1e-9)
        assert dag.is_closed(solution.cut.on_device)
        assert solution.certificate.proves_optimality
        assert on_device <= device
        assert not on_server & device
        crossing = crossing_tensors(dag, device)
        assert not (keep_inputs and any(dag.tensor_producers[t] < 0 for t in crossing))
