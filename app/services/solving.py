"""The best cut of a prepared model for one query, by whichever method serves."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from app.core.constraints import Constraints
from app.core.dag import Mask
from app.core.errors import TooManyCutsError, UnpriceableError, UnsupportedError
from app.core.quantities import Cut, cut_of, delay_of
from app.core.scenario import Objective, Prices, Scenario, objective_prices, prices_of
from app.core.splitting.cut_table import Family, quantities_row
from app.core.splitting.frontier import SERVER
from app.core.splitting.general import PROOF_TOLERANCE, Certificate, best_cut_by_flow
from app.core.splitting.integer_programme import solve_programme
from app.core.splitting.pareto import Matrix
from app.core.splitting.pricing import Costs, Pricing, pricing_of
from app.core.splitting.solve import (
    Ranges,
    best_row,
    family_for,
    measured_family_for,
    memory_infeasible,
    valid_ranges,
)
from app.services.prepared import Constrained, PreparedModel

Method = Literal["auto", "table", "blockwise", "general"]
UsedMethod = Literal["table", "blockwise", "general", "integer-programme"]

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


def families_needed(model: PreparedModel, scenario: Scenario, method: Method) -> Sequence[Family]:
    """The tables that a solution reads: of the situation, and of what lies beyond the turn."""
    if method == "general":
        return ()
    if model.work is not None:
        return (measured_family_for(scenario, is_level=True),)
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
    can_flow = method == "auto" and _is_linear_and_free(scenario)
    try:
        solved = _by_table(situation)
    except TooManyCutsError:
        if method == "table":
            raise
        return _by_flow(situation, "general") if can_flow else _by_programme(situation)
    if solved.gap > 0 and can_flow:
        # What a table leaves open, a flow may prove, unless its sums leave floating point.
        with suppress(UnpriceableError):
            return _by_flow(situation, "general")
    return solved


def value_of(model: PreparedModel, on_device: Mask, scenario: Scenario) -> float:
    """The objective's value of a given cut; inf where it exceeds the device's memory."""
    batch = model.dag.model_batch
    pricing = pricing_of(scenario, prices_of(scenario, batch), batch)
    return float(pricing.values(quantities_row(model.dag, on_device, model.work)[None, :])[0])


def lost_in_rounding(model: PreparedModel, pricing: Pricing) -> Costs:
    """By how much a better cut than the best row of a table can have been missed: 0 for FLOPs,
    which are whole numbers; of measured seconds, the rounding of their sums.

    A billionth of the best value only where everything on the server would take thousands of times
    as long.
    """
    if model.work is None:
        return np.zeros(())
    ulps_s = model.dag.node_count * np.finfo(np.float64).eps * model.work.server.sum()
    return np.asarray(ulps_s * pricing.stages[:, SERVER].max(axis=0))


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
        gap=_gap_of_tables(at, best.value),
        valid_while=_ranges(at, best.quantities, best.table.quantities),
    )


def _by_flow(at: _Situation, method: Literal["general", "blockwise"]) -> Solved:
    if not _is_linear_and_free(at.scenario):
        raise UnsupportedError(
            f"method {method} minimises delay or energy without a memory limit; for throughput or "
            "device.memory_bytes use method auto",
            loc=("method",),
        )
    dag, work = at.model.dag, at.model.work
    network, table = at.model.network, None
    if method == "blockwise":
        table = at.constrained.tables.get(at.constrained.tables.family_for(at.scenario, at.pricing))
        network = at.model.grouped_network(table)
    charged = objective_prices(at.scenario, at.prices)
    found = best_cut_by_flow(dag, network, charged, at.scenario.mode, at.constrained.forced, work)
    certificate = found.certificate
    gap, ranges = 0.0 if certificate.proves_optimality else certificate.gap, None
    if table is not None:
        ranges = _ranges(at, quantities_row(dag, found.cut.on_device, work), table.quantities)
        # That the groups do not part the best cut is known from the table.
        gap += _gap_of_tables(at, found.value)
    return Solved(
        cut=found.cut,
        value=found.value,
        prices=at.prices,
        baselines=at.baselines,
        method=method,
        gap=gap,
        certificate=certificate,
        valid_while=ranges,
    )


def _by_programme(at: _Situation) -> Solved:
    dag, forced, work, mode = at.model.dag, at.constrained.forced, at.model.work, at.scenario.mode
    typical = value_of(at.model, ~forced.server, replace(at.scenario, memory_bytes=None))
    if not math.isfinite(typical):
        raise UnpriceableError(
            "the scenario makes energies infinite: a rate is too small, or a power or a count too "
            "large"
        )
    found = solve_programme(dag, at.pricing, mode, forced, typical, PROGRAMME_TIME_S, work)
    if found.on_device is None:
        least = at.pricing.memory_needed(quantities_row(dag, forced.device)[None, :])
        raise memory_infeasible(at.pricing, float(least[0]))
    value = value_of(at.model, found.on_device, at.scenario)
    gap = max(0.0, value - found.bound)
    return Solved(
        cut=cut_of(dag, found.on_device, mode, work),
        value=value,
        prices=at.prices,
        baselines=at.baselines,
        method="integer-programme",
        gap=0.0 if gap <= PROGRAMME_TOLERANCE * value else gap,
    )


def _gap_of_tables(at: _Situation, best_value: float) -> float:
    lost = float(lost_in_rounding(at.model, at.pricing))
    return 0.0 if lost <= PROOF_TOLERANCE * best_value else lost


def _ranges(at: _Situation, chosen: Costs, rivals: Matrix) -> Ranges | None:
    try:
        return valid_ranges(at.constrained.tables, at.scenario, at.pricing, chosen, rivals)
    except TooManyCutsError:
        return None


def _is_linear_and_free(scenario: Scenario) -> bool:
    return scenario.objective is not Objective.THROUGHPUT and scenario.memory_bytes is None
