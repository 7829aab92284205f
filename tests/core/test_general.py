"""The general algorithm against brute force and networkx."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.constraints import Constraints, ForcedSides, forced_sides
from app.core.dag import CostedDag
from app.core.errors import ContradictoryPinsError, InfeasibleError
from app.core.scenario import Scenario, prices_of
from app.core.splitting.general import Solution, best_cut_by_flow
from app.core.splitting.network import build_network
from tests.oracles import all_cuts, crossing_tensors, delay_s, networkx_optimum_s
from tests.strategies import dags, pins, scenarios

TOLERANCE = 1e-9


def solve(dag: CostedDag, scenario: Scenario, forced: ForcedSides) -> Solution:
    prices = prices_of(scenario, dag.model_batch)
    return best_cut_by_flow(dag, build_network(dag), prices, scenario.mode, forced)


@given(dags(min_nodes=0), scenarios())
@settings(max_examples=300, deadline=None)
def test_optimum_equals_brute_force_and_networkx(dag: CostedDag, scenario: Scenario) -> None:
    """On any small DAG the answer is a cut and its delay is the least over all cuts."""
    solution = solve(dag, scenario, forced_sides(dag, Constraints()))
    best = min(delay_s(dag, device, scenario) for device in all_cuts(dag))
    assert solution.value == pytest.approx(best, rel=TOLERANCE)
    assert networkx_optimum_s(dag, scenario) == pytest.approx(best, rel=TOLERANCE)
    device = frozenset(solution.cut.on_device.nonzero()[0].tolist())
    assert dag.is_cut(solution.cut.on_device)
    assert delay_s(dag, device, scenario) == pytest.approx(solution.value, rel=TOLERANCE)
    assert solution.certificate.proves_optimality


@given(dags(max_nodes=9), scenarios(), st.data())
@settings(max_examples=300, deadline=None)
def test_constraints_hold_and_the_optimum_is_the_best_feasible(
    dag: CostedDag, scenario: Scenario, data: st.DataObject
) -> None:
    """Under pins and kept inputs the answer is the best feasible cut, or an error if none is."""
    names = pins(dag, max_size=2)
    constraints = Constraints(data.draw(names), data.draw(names), data.draw(st.booleans()))
    on_device = {dag.node_index[name] for name in constraints.pin_device}
    on_server = {dag.node_index[name] for name in constraints.pin_server}
    feasible = [
        device
        for device in all_cuts(dag)
        if on_device <= device
        and not on_server & device
        and not (
            constraints.keep_inputs_on_device
            and any(dag.tensor_producers[t] < 0 for t in crossing_tensors(dag, device))
        )
    ]
    if not feasible:
        with pytest.raises((ContradictoryPinsError, InfeasibleError)):
            forced_sides(dag, constraints)
        return
    solution = solve(dag, scenario, forced_sides(dag, constraints))
    best = min(delay_s(dag, device, scenario) for device in feasible)
    assert solution.value == pytest.approx(best, rel=TOLERANCE)
    assert frozenset(solution.cut.on_device.nonzero()[0].tolist()) in feasible
