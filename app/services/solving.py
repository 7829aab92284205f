"""The best cut of a prepared model for one query, by whichever method serves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.core.constraints import Constraints
from app.core.dag import Mask
from app.core.errors import TooManyCutsError, UnsupportedError
from app.core.quantities import Cut, cut_of
from app.core.scenario import Objective, Prices, Scenario, objective_prices, prices_of
from app.core.splitting.cut_table import Family, quantities_row
from app.core.splitting.general import Certificate, best_cut_by_flow
from app.core.splitting.integer_programme import solve_programme
from app.core.splitting.pareto import Matrix
from app.core.splitting.pricing import Costs, Pricing, pricing_of
from app.core.splitting.solve import best_row, family_for, memory_infeasible, valid_ranges
from app.services.prepared import Constrained, PreparedModel

Method = Literal["auto", "table", "blockwise", "general"]
UsedMethod = Literal["table", "blockwise", "general", "integer-programme"]
Ranges = dict[str, tuple[float | None, float | None]]

PROGRAMME_TIME_S = 10.0
PROGRAMME_TOLERANCE = 1e-6
"""HiGHS' bounds hold within its own tolerances; a smaller gap counts as none."""


@dataclass(frozen=True, slots=True)
class Solved:
    """The best cut, its value (seconds or joules), and what is known of it.

    ``gap``: 0 where it is proved optimal, else by how much any cut can be better at most.
    ``valid_while``: None where the method does not tell.
    """

    cut: Cut
    value: float
    prices: Prices
    method: UsedMethod
    gap: float
    certificate: Certificate | None = None
    valid_while: Ranges | None = None


def families_needed(scenario: Scenario, method: Method) -> Sequence[Family]:
    """The tables that a solution reads: of the situation, and of what lies beyond the turn."""
    if method == "general":
        return ()
    both = (family_for(scenario, faster) for faster in (False, True))
    return tuple(dict.fromkeys(both))


def solve(
    model: PreparedModel, scenario: Scenario, constraints: Constraints, method: Method
) -> Solved:
    """The best cut.

    Raises ``SplitError``: the constraints cannot hold, the scenario cannot be priced, no cut fits
    the device, or the method cannot serve the objective.
    """
    constrained = model.under(constraints)
    prices = prices_of(scenario, model.dag.model_batch)
    pricing = pricing_of(scenario, prices, model.dag.model_batch)
    if method in ("general", "blockwise"):
        return _by_flow(model, constrained, scenario, prices, pricing, method)
    try:
        return _by_table(model, constrained, scenario, prices, pricing)
    except TooManyCutsError:
        if method == "table":
            raise
    if _is_linear_and_free(scenario):
        return _by_flow(model, constrained, scenario, prices, pricing, "general")
    return _by_programme(model, constrained, scenario, prices, pricing)


def value_of(model: PreparedModel, on_device: Mask, scenario: Scenario) -> float:
    """The objective's value of a given cut; inf where it exceeds the device's memory."""
    batch = model.dag.model_batch
    pricing = pricing_of(scenario, prices_of(scenario, batch), batch)
    return float(pricing.values(quantities_row(model.dag, on_device)[None, :])[0])


def _by_table(
    model: PreparedModel,
    constrained: Constrained,
    scenario: Scenario,
    prices: Prices,
    pricing: Pricing,
) -> Solved:
    best = best_row(constrained.tables, scenario, pricing)
    return Solved(
        cut=model.cut_at(best.table, best.row, scenario.mode),
        value=best.value,
        prices=prices,
        method="table",
        gap=0.0,
        valid_while=_ranges(constrained, scenario, pricing, best.quantities, best.table.quantities),
    )


def _by_flow(
    model: PreparedModel,
    constrained: Constrained,
    scenario: Scenario,
    prices: Prices,
    pricing: Pricing,
    method: Literal["general", "blockwise"],
) -> Solved:
    if not _is_linear_and_free(scenario):
        raise UnsupportedError(
            f"method {method} minimises delay or energy without a memory limit; for throughput or "
            "device.memory_bytes use method auto",
            loc=("method",),
        )
    network, ranges = model.network, None
    charged = objective_prices(scenario, prices)
    if method == "blockwise":
        family = family_for(scenario, bool(pricing.device_is_faster))
        network = model.grouped_network(constrained.tables.get(family))
    found = best_cut_by_flow(model.dag, network, charged, scenario.mode, constrained.forced)
    if method == "blockwise":
        rivals = constrained.tables.get(family).quantities
        row = quantities_row(model.dag, found.cut.on_device)
        ranges = _ranges(constrained, scenario, pricing, row, rivals)
    certificate = found.certificate
    gap = 0.0 if certificate.proves_optimality else certificate.gap
    return Solved(found.cut, found.value, prices, method, gap, certificate, ranges)


def _by_programme(
    model: PreparedModel,
    constrained: Constrained,
    scenario: Scenario,
    prices: Prices,
    pricing: Pricing,
) -> Solved:
    forced = constrained.forced
    typical = value_of(model, ~forced.server, _without_limit(scenario))
    found = solve_programme(model.dag, pricing, scenario.mode, forced, typical, PROGRAMME_TIME_S)
    if found.on_device is None:
        least = pricing.memory_needed(quantities_row(model.dag, forced.device)[None, :])
        raise memory_infeasible(pricing, float(least[0]))
    cut = cut_of(model.dag, found.on_device, scenario.mode)
    value = value_of(model, found.on_device, scenario)
    gap = max(0.0, value - found.bound)
    proved = gap <= PROGRAMME_TOLERANCE * value
    return Solved(cut, value, prices, "integer-programme", 0.0 if proved else gap)


def _ranges(
    constrained: Constrained, scenario: Scenario, pricing: Pricing, chosen: Costs, rivals: Matrix
) -> Ranges | None:
    try:
        return valid_ranges(constrained.tables, scenario, pricing, chosen, rivals)
    except TooManyCutsError:
        return None


def _is_linear_and_free(scenario: Scenario) -> bool:
    return scenario.objective is not Objective.THROUGHPUT and scenario.memory_bytes is None


def _without_limit(scenario: Scenario) -> Scenario:
    return replace(scenario, memory_bytes=None)
