"""The best cut of a prepared model for one query, by whichever method serves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.core.constraints import Constraints
from app.core.dag import Mask
from app.core.errors import TooManyCutsError, UnpriceableError, UnsupportedError
from app.core.quantities import Cut, cut_of, delay_of
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
class Baselines:
    """The delays in seconds of the two trivial cuts, whether or not the constraints allow them.

    ``server_only_s``: None where everything on the server is no cut of the model.
    """

    device_only_s: float
    server_only_s: float | None

    @property
    def are_finite(self) -> bool:
        """Whether both (or the one that there is) are numbers that can be told."""
        return math.isfinite(self.device_only_s + (self.server_only_s or 0.0))


@dataclass(frozen=True, slots=True)
class Solved:
    """The best cut, its value (seconds or joules), and what is known of it.

    ``gap``: 0 where it is proved optimal, else by how much any cut can be better at most.
    ``valid_while``: None where the method does not tell.
    """

    cut: Cut
    value: float
    prices: Prices
    baselines: Baselines
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
    situation = _situation(model, scenario, constraints)
    if method in ("general", "blockwise"):
        return _by_flow(situation, method)
    try:
        return _by_table(situation)
    except TooManyCutsError:
        if method == "table":
            raise
    if _is_linear_and_free(scenario):
        return _by_flow(situation, "general")
    return _by_programme(situation)


def value_of(model: PreparedModel, on_device: Mask, scenario: Scenario) -> float:
    """The objective's value of a given cut; inf where it exceeds the device's memory."""
    batch = model.dag.model_batch
    pricing = pricing_of(scenario, prices_of(scenario, batch), batch)
    return float(pricing.values(quantities_row(model.dag, on_device)[None, :])[0])


@dataclass(frozen=True, slots=True, eq=False)
class _Situation:
    """A model, a scenario and constraints, priced."""

    model: PreparedModel
    scenario: Scenario
    constrained: Constrained
    prices: Prices
    pricing: Pricing
    baselines: Baselines


def _situation(model: PreparedModel, scenario: Scenario, constraints: Constraints) -> _Situation:
    prices = prices_of(scenario, model.dag.model_batch)
    device_only, server_only = model.device_only, model.server_only
    baselines = Baselines(
        float(delay_of(device_only[scenario.mode], prices).total_s),
        float(delay_of(server_only[scenario.mode], prices).total_s) if server_only else None,
    )
    if not baselines.are_finite:
        raise UnpriceableError(
            "the scenario makes delays infinite: a rate is too small or a count too large"
        )
    pricing = pricing_of(scenario, prices, model.dag.model_batch)
    return _Situation(model, scenario, model.under(constraints), prices, pricing, baselines)


def _by_table(at: _Situation) -> Solved:
    best = best_row(at.constrained.tables, at.scenario, at.pricing)
    return Solved(
        cut=at.model.cut_at(best.table, best.row, at.scenario.mode),
        value=best.value,
        prices=at.prices,
        baselines=at.baselines,
        method="table",
        gap=0.0,
        valid_while=_ranges(at, best.quantities, best.table.quantities),
    )


def _by_flow(at: _Situation, method: Literal["general", "blockwise"]) -> Solved:
    if not _is_linear_and_free(at.scenario):
        raise UnsupportedError(
            f"method {method} minimises delay or energy without a memory limit; for throughput or "
            "device.memory_bytes use method auto",
            loc=("method",),
        )
    dag, network, table = at.model.dag, at.model.network, None
    if method == "blockwise":
        family = family_for(at.scenario, bool(at.pricing.device_is_faster))
        table = at.constrained.tables.get(family)
        network = at.model.grouped_network(table)
    charged = objective_prices(at.scenario, at.prices)
    found = best_cut_by_flow(dag, network, charged, at.scenario.mode, at.constrained.forced)
    ranges = None
    if table is not None:
        ranges = _ranges(at, quantities_row(dag, found.cut.on_device), table.quantities)
    certificate = found.certificate
    return Solved(
        cut=found.cut,
        value=found.value,
        prices=at.prices,
        baselines=at.baselines,
        method=method,
        gap=0.0 if certificate.proves_optimality else certificate.gap,
        certificate=certificate,
        valid_while=ranges,
    )


def _by_programme(at: _Situation) -> Solved:
    dag, forced = at.model.dag, at.constrained.forced
    typical = value_of(at.model, ~forced.server, replace(at.scenario, memory_bytes=None))
    found = solve_programme(dag, at.pricing, at.scenario.mode, forced, typical, PROGRAMME_TIME_S)
    if found.on_device is None:
        least = at.pricing.memory_needed(quantities_row(dag, forced.device)[None, :])
        raise memory_infeasible(at.pricing, float(least[0]))
    value = value_of(at.model, found.on_device, at.scenario)
    gap = max(0.0, value - found.bound)
    return Solved(
        cut=cut_of(dag, found.on_device, at.scenario.mode),
        value=value,
        prices=at.prices,
        baselines=at.baselines,
        method="integer-programme",
        gap=0.0 if gap <= PROGRAMME_TOLERANCE * value else gap,
    )


def _ranges(at: _Situation, chosen: Costs, rivals: Matrix) -> Ranges | None:
    try:
        return valid_ranges(at.constrained.tables, at.scenario, at.pricing, chosen, rivals)
    except TooManyCutsError:
        return None


def _is_linear_and_free(scenario: Scenario) -> bool:
    return scenario.objective is not Objective.THROUGHPUT and scenario.memory_bytes is None
