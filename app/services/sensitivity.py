"""How much a cut loses where a figure of the scenario is not what it was said to be."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.constraints import Constraints
from app.core.dag import Mask
from app.core.errors import TooManyCutsError, UnpriceableError
from app.core.scenario import Link, Objective, Scenario, objective_prices, prices_of
from app.core.splitting.cut_table import quantities_row
from app.core.splitting.general import best_cut_by_flow
from app.core.splitting.pricing import Costs, Pricing, pricing_of
from app.core.splitting.solve import best_rows
from app.services.batches import at
from app.services.prepared import Constrained, PreparedModel

SHARES = (0.10, 0.25, 0.50)
FACTORS = np.array([factor for share in SHARES for factor in (1 + share, 1 - share)])
"""On a rate; two neighbours are the two directions of a share."""
NO_LOSS = 1e-9
"""A smaller loss is none: flows are proved optimal up to this share."""

Losses = dict[str, float | None]


def sensitivity_of(
    model: PreparedModel, scenario: Scenario, constraints: Constraints, on_device: Mask
) -> dict[str, Losses]:
    """By figure and percentage: the share by which the value of a cut exceeds the best one, if the
    figure is really higher or lower by so much, whichever is worse.

    Higher by p is (1 + p) times the rate, lower is (1 - p) times; the best is that of the cuts that
    the constraints and the device's memory allow. ``bandwidth`` stands for uplink and downlink
    together. None where it cannot be told: the tables are out of reach, or values are not finite.
    """
    constrained = model.under(constraints)
    own = quantities_row(model.dag, on_device, model.work)[None, :]
    # Figures and delays that leave floating point are looked for, and need no warning.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return {
            figure: _losses(model, constrained, varied, own)
            for figure, varied in _varied(scenario).items()
        }


def _varied(scenario: Scenario) -> dict[str, Scenario]:
    """For each figure the scenario with all values that are to be tried of it, along an array."""
    link, same = scenario.link, np.ones(len(FACTORS))

    def times(device: Any, server: Any, bandwidth: Any) -> Scenario:
        return replace(
            scenario,
            device_flops_per_s=scenario.device_flops_per_s * device,
            server_flops_per_s=scenario.server_flops_per_s * server,
            link=Link(
                link.uplink_bits_per_s * bandwidth,
                link.downlink_bits_per_s * bandwidth,
                link.round_trip_s,
            ),
        )

    return {
        "device_flops_per_s": times(FACTORS, same, same),
        "server_flops_per_s": times(same, FACTORS, same),
        "bandwidth": times(same, same, FACTORS),
    }


def _losses(
    model: PreparedModel, constrained: Constrained, varied: Scenario, own: NDArray[np.float64]
) -> Losses:
    try:
        prices = prices_of(varied, model.dag.model_batch)
        pricing = pricing_of(varied, prices, model.dag.model_batch)
        best = _best_values(model, constrained, varied, pricing)
    except (TooManyCutsError, UnpriceableError):
        return {_name(share): None for share in SHARES}
    values = pricing.values(own)[0]
    # Where the best value is 0, one cut loses nothing, and any other a share that is no number.
    shares = np.where(values <= best * (1 + NO_LOSS), 0.0, values / best - 1)
    shares[~np.isfinite(values)] = np.nan
    worst = shares.reshape(-1, 2).max(axis=1).tolist()
    return {
        _name(share): loss if np.isfinite(loss) else None
        for share, loss in zip(SHARES, worst, strict=True)
    }


def _name(share: float) -> str:
    return f"{share:.0%}".removesuffix("%")


def _best_values(
    model: PreparedModel, constrained: Constrained, varied: Scenario, pricing: Pricing
) -> Costs:
    """(6,) The least values; by flows where that spares a large table, or there can be none. NaN
    where only a table would tell, and there is none.

    Raises ``TooManyCutsError`` or ``UnpriceableError``.
    """
    tables, can_flow = constrained.tables, varied.objective is not Objective.THROUGHPUT
    # Of measured seconds that cost more on one side only energy has a small table.
    is_large = tables.is_measured and varied.objective is Objective.DELAY
    if is_large and not np.all(pricing.is_level):
        by_flows = _by_flows(model, constrained, varied)
        if not np.isnan(by_flows).any():
            return by_flows
    try:
        return best_rows(tables, varied, pricing).values
    except TooManyCutsError:
        if not can_flow:
            raise
        return _by_flows(model, constrained, varied)


def _by_flows(model: PreparedModel, constrained: Constrained, varied: Scenario) -> Costs:
    scenarios = (at(varied, member) for member in range(len(FACTORS)))
    return np.array([_least_by_flow(model, constrained, scenario) for scenario in scenarios])


def _least_by_flow(model: PreparedModel, constrained: Constrained, scenario: Scenario) -> float:
    """The least value, of a linear objective; NaN where the cut that has it without the limit of
    the device's memory exceeds that."""
    batch = model.dag.model_batch
    prices = prices_of(scenario, batch)
    charged = objective_prices(scenario, prices)
    found = best_cut_by_flow(
        model.dag, model.network, charged, scenario.mode, constrained.forced, model.work
    )
    if scenario.memory_bytes is not None:
        own = quantities_row(model.dag, found.cut.on_device, model.work)[None, :]
        needed_bytes = pricing_of(scenario, prices, batch).memory_needed(own)[0]
        if needed_bytes > scenario.memory_bytes:
            return math.nan
    return found.value
