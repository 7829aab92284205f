"""Table, block-wise form, general algorithm and networkx: one optimum on every fixture model."""

import os
import random
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest

from app.core.constraints import Constraints, forced_sides
from app.core.dag import CostedDag
from app.core.quantities import cut_of, delay_of
from app.core.scenario import (
    DevicePower,
    Link,
    Mode,
    Objective,
    Scenario,
    objective_prices,
    prices_of,
)
from app.core.splitting.blockwise import groups_of
from app.core.splitting.cut_table import CutTable, quantities_row
from app.core.splitting.general import best_cut_by_flow
from app.core.splitting.network import FlowNetwork, build_network
from app.core.splitting.pricing import pricing_of
from app.core.splitting.solve import CutTables, best_row, family_for
from app.services.graphs import networkx_graph
from tests.fixture_models import FIXTURES, Fixture, ingested
from tests.oracles import crossing_tensors, delay_s, networkx_optimum_s

SCENARIOS = int(os.environ.get("KERF_TEST_SCENARIOS", "12"))
"""Per model and mode; `make soak` runs 500, that is 1,000 per model."""


def rate(rng: random.Random, low: float, high: float) -> float:
    """A rate, evenly spread over the orders of magnitude."""
    return float(low * (high / low) ** rng.random())


def random_scenario(rng: random.Random, mode: Mode) -> Scenario:
    """Ten orders of magnitude in every rate; the device is the faster side about half the time."""
    return Scenario(
        device_flops_per_s=rate(rng, 1e7, 1e17),
        server_flops_per_s=rate(rng, 1e7, 1e17),
        link=Link(
            rate(rng, 1e2, 1e12),
            rate(rng, 1e2, 1e12),
            rng.choice([0.0, rate(rng, 1e-8, 1e2)]),
        ),
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
    """In random scenarios, half of them constrained, the optimum is networkx's, it is a cut
    and proved, and its delay recomputed from the formulas is the reported one."""
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
        assert dag.is_cut(solution.cut.on_device)
        assert solution.certificate.proves_optimality
        assert on_device <= device
        assert not on_server & device
        crossing = crossing_tensors(dag, device)
        assert not (keep_inputs and any(dag.tensor_producers[t] < 0 for t in crossing))


class Grouped:
    """The block-wise networks of a model, one per table that serves some scenario."""

    def __init__(self, dag: CostedDag) -> None:
        self.dag = dag
        self.tables = CutTables(dag)
        self._networks: dict[int, FlowNetwork] = {}

    def table(self, scenario: Scenario) -> CutTable:
        faster = scenario.device_flops_per_s > scenario.server_flops_per_s
        return self.tables.get(family_for(scenario, bool(faster)))

    def network(self, scenario: Scenario) -> FlowNetwork:
        table = self.table(scenario)
        if id(table) not in self._networks:
            groups = groups_of(table)
            self._networks[id(table)] = build_network(self.dag, group_of_node=groups)
        return self._networks[id(table)]


@pytest.mark.parametrize("objective", [Objective.DELAY, Objective.ENERGY])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_table_blockwise_and_general_agree(
    fixture: Fixture, mode: Mode, objective: Objective
) -> None:
    """In random scenarios over ten orders of magnitude in every price, the table's best row, the
    minimum cut over its groups and the minimum cut over the nodes have the same value."""
    dag = ingested(fixture.name).dag
    network, grouped = build_network(dag), Grouped(dag)
    forced = forced_sides(dag, Constraints())
    rng = random.Random(f"{fixture.name} {mode} {objective}")
    for _ in range(2 * SCENARIOS):
        watts = DevicePower(rate(rng, 1e-3, 1e7), rate(rng, 1e-3, 1e7), rate(rng, 1e-3, 1e7))
        scenario = replace(random_scenario(rng, mode), objective=objective, power=watts)
        prices = prices_of(scenario, dag.model_batch)
        charged = objective_prices(scenario, prices)
        pricing = pricing_of(scenario, prices, dag.model_batch)
        general = best_cut_by_flow(dag, network, charged, mode, forced)
        blockwise = best_cut_by_flow(dag, grouped.network(scenario), charged, mode, forced)
        best = best_row(grouped.tables, scenario, pricing)
        assert best.value == pytest.approx(general.value, rel=1e-9), scenario
        assert blockwise.value == pytest.approx(general.value, rel=1e-9), scenario
        cut = cut_of(dag, best.table.on_device(best.row), mode)
        assert delay_of(cut, charged).total_s == pytest.approx(best.value, rel=1e-9)


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_throughput_and_memory_limits_are_no_worse_than_any_cut_at_hand(fixture: Fixture) -> None:
    """The full table's best row is feasible and no worse than any row of the other tables, nor than
    the prefixes of the topological order, where these fit the device's memory."""
    dag = ingested(fixture.name).dag
    tables = CutTables(dag)
    prefixes = [np.arange(dag.node_count) < k for k in range(dag.node_count + 1)]
    others = np.array(
        [quantities_row(dag, mask) for mask in prefixes[:: max(1, len(prefixes) // 60)]]
    )
    rng = random.Random(fixture.name)
    for _ in range(SCENARIOS):
        scenario = replace(
            random_scenario(rng, Mode.INFERENCE),
            objective=rng.choice([Objective.THROUGHPUT, Objective.DELAY]),
            memory_bytes=rng.choice([None, rate(rng, 1e6, 1e10)]),
        )
        prices = prices_of(scenario, dag.model_batch)
        pricing = pricing_of(scenario, prices, dag.model_batch)
        best = best_row(tables, scenario, pricing)
        assert pricing.values(best.quantities[None, :])[0] == pytest.approx(best.value, rel=1e-12)
        rivals = np.concatenate([others, *(t.quantities for t in tables.built.values())])
        assert best.value <= pricing.values(rivals).min() * (1 + 1e-9)
