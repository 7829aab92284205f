"""Pricing tables: the best row for a scenario, and the range in which it stays best.

Every objective here is the largest of a few stages, and every stage is a linear function of a
cut's quantities: delay and energy have one stage, throughput has four (device, uplink, server,
downlink). Within a stage each weight hangs on one rate (device FLOPS, server FLOPS, uplink,
downlink) or on none (the round trip, and what a run costs by itself). So with all other rates
fixed, a cut's value is max(c, a + b * x) in the price x of one rate, and ranges have closed forms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.scenario import Figure, Mode, Objective, Prices, Scenario, objective_prices
from app.core.splitting.frontier import (
    COLUMNS,
    DEVICE,
    DEVICE_RUNS,
    GRADIENT,
    KEPT,
    PARAMETER,
    PEAK,
    RESULT,
    ROUND_TRIPS,
    SERVER,
    UPLINK,
)
from app.core.splitting.pareto import Matrix

RATES = ("device_flops_per_s", "server_flops_per_s", "uplink_bits_per_s", "downlink_bits_per_s")
DEVICE_RATE, SERVER_RATE, UPLINK_RATE, DOWNLINK_RATE, NO_RATE = range(5)

Costs = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Pricing:
    """A scenario's weights and its memory limit, or those of s scenarios, along a last axis.

    ``weights`` (5, stages, 12[, s]): by rate (the last: none), stage, and quantity of
    ``frontier.COLUMNS``; seconds (delay, throughput) or joules (energy) per unit. ``stages``
    (stages, 12[, s]): the same over all rates.
    ``memory_weights`` (12[, s]): bytes of device memory per unit. ``memory_bytes``: None for no
    limit. ``device_is_faster``: whether a FLOP takes less time on the device than on the server;
    ``is_level``: whether it takes the same (as measured seconds do, unless one side is slower than
    it was measured).
    """

    weights: NDArray[np.float64]
    stages: NDArray[np.float64]
    memory_weights: NDArray[np.float64]
    memory_bytes: Figure | None
    device_is_faster: bool | NDArray[np.bool_]
    is_level: bool | NDArray[np.bool_]

    # Values that leave floating point are looked for, and need no warning. This costs half as a
    # decorator of what it does as a block, and the method of an array half of the operator; for a
    # table of a few rows they are most of the time.
    @np.errstate(over="ignore")
    def values(self, quantities: Matrix) -> Costs:
        """(k[, s]) The objective's value of each cut; inf where it exceeds the device's memory."""
        values: Costs = quantities.dot(self.stages[0])
        for stage in self.stages[1:]:
            np.maximum(values, quantities.dot(stage), out=values)
        if self.memory_bytes is not None:
            values[self.memory_needed(quantities) > self.memory_bytes] = np.inf
        return values

    def of(self, chosen: NDArray[np.intp]) -> "Pricing":
        """Some of the scenarios, by their places."""
        limit = self.memory_bytes
        return Pricing(
            self.weights[..., chosen],
            self.stages[..., chosen],
            self.memory_weights[..., chosen],
            limit[chosen] if isinstance(limit, np.ndarray) else limit,
            np.asarray(self.device_is_faster)[chosen],
            np.asarray(self.is_level)[chosen],
        )

    def memory_needed(self, quantities: Matrix) -> Costs:
        """(k[, s]) Bytes that each cut needs on the device."""
        return np.asarray(quantities @ self.memory_weights)


def pricing_of(scenario: Scenario, prices: Prices, model_batch: int) -> Pricing:
    """The weights of a scenario whose prices are known.

    Raises ``ValueError`` where the objective lacks what it needs (energy: power; throughput:
    inference mode).
    """
    shape = np.shape(prices.device_s_per_flop)
    memory = np.zeros((len(COLUMNS), *shape))
    if scenario.memory_bytes is not None:
        training = scenario.mode is Mode.TRAINING
        memory[PARAMETER] = 2 + scenario.optimizer_states if training else 1
        memory[KEPT if training else PEAK] = scenario.batches(model_batch)
    faster = prices.device_s_per_flop < prices.server_s_per_flop
    level = prices.device_s_per_flop == prices.server_s_per_flop
    if scenario.objective is Objective.THROUGHPUT:
        weights = _throughput_weights(scenario, prices)
    else:
        weights = _linear_weights(objective_prices(scenario, prices))
    return Pricing(weights, weights.sum(axis=0), memory, scenario.memory_bytes, faster, level)


def _linear_weights(prices: Prices) -> NDArray[np.float64]:
    weights = _no_weights(prices, 1)
    weights[DEVICE_RATE, 0, DEVICE] = prices.device_s_per_flop
    weights[SERVER_RATE, 0, SERVER] = prices.server_s_per_flop
    weights[UPLINK_RATE, 0, UPLINK] = prices.uplink_s_per_byte
    weights[UPLINK_RATE, 0, PARAMETER] = prices.parameter_up_s_per_byte
    weights[DOWNLINK_RATE, 0, GRADIENT] = prices.gradient_s_per_byte
    weights[DOWNLINK_RATE, 0, RESULT] = prices.result_s_per_byte
    weights[DOWNLINK_RATE, 0, PARAMETER] = prices.parameter_down_s_per_byte
    weights[NO_RATE, 0, ROUND_TRIPS] = prices.round_trip_s + prices.server_run_s
    weights[NO_RATE, 0, DEVICE_RUNS] = prices.device_run_s
    return weights


def _throughput_weights(scenario: Scenario, prices: Prices) -> NDArray[np.float64]:
    """Seconds per batch of each stage of the pipeline; the slowest one sets the pace.

    Nothing waits there but for its own next batch, so no run starts cold, and none is charged for.
    """
    if scenario.mode is not Mode.INFERENCE:
        raise ValueError("throughput is an objective of inference")
    weights = _no_weights(prices, 4)
    weights[DEVICE_RATE, 0, DEVICE] = prices.device_s_per_flop
    weights[UPLINK_RATE, 1, UPLINK] = prices.uplink_s_per_byte
    weights[SERVER_RATE, 2, SERVER] = prices.server_s_per_flop
    weights[DOWNLINK_RATE, 3, RESULT] = prices.result_s_per_byte
    return weights


def _no_weights(prices: Prices, stages: int) -> NDArray[np.float64]:
    return np.zeros((5, stages, len(COLUMNS), *np.shape(prices.device_s_per_flop)))


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval of the positive numbers; ``math.inf`` for an open end above."""

    low: float
    high: float


def stays_best(pricing: Pricing, chosen: Costs, rivals: Matrix) -> list[Interval]:
    """By rate: for which factors x on its price the chosen cut is no worse than any rival.

    The price is x times the scenario's. ``chosen``: (12,) quantities; ``rivals``: (k, 12), those
    that the memory limit allows.
    """
    if pricing.weights.shape[1] == 1:
        return _stays_best_in_one_stage(pricing, chosen, rivals)
    return [_stays_best_in_stages(pricing, chosen, rivals, rate) for rate in range(len(RATES))]


def _stays_best_in_one_stage(pricing: Pricing, chosen: Costs, rivals: Matrix) -> list[Interval]:
    """A rival costs (a_r - a) + (b_r - b) x more than the chosen cut; where that is negative, the
    chosen cut is not best: above its zero if b_r < b, below it if b_r > b."""
    weights = pricing.weights[:, 0, :]
    with np.errstate(over="ignore"):
        by_rate = (rivals - chosen) @ weights.T
    if len(by_rate) > FEW:
        return _zeros_of_many(by_rate)
    low, high = [0.0] * len(RATES), [math.inf] * len(RATES)
    for row in by_rate.tolist():
        extra = sum(row)
        for rate in range(len(RATES)):
            moving = row[rate]
            if moving > 0.0:
                low[rate] = max(low[rate], (moving - extra) / moving)
            elif moving < 0.0:
                high[rate] = min(high[rate], (moving - extra) / moving)
    return list(map(Interval, low, high))


FEW = 32
"""Up to here a loop takes less time than the calls of numpy."""


def _zeros_of_many(by_rate: Matrix) -> list[Interval]:
    moving = by_rate[:, : len(RATES)]
    fixed = by_rate.sum(axis=1, keepdims=True) - moving
    low, high = np.zeros(moving.shape), np.full(moving.shape, np.inf)
    # An end that leaves floating point is an open one.
    with np.errstate(over="ignore"):
        np.divide(-fixed, moving, out=low, where=moving > 0)
        np.divide(-fixed, moving, out=high, where=moving < 0)
    lows = low.max(axis=0, initial=0.0).tolist()
    highs = high.min(axis=0, initial=np.inf).tolist()
    return list(map(Interval, lows, highs))


def _stays_best_in_stages(pricing: Pricing, chosen: Costs, rivals: Matrix, rate: int) -> Interval:
    """The same for the largest of several stages, of which the rate moves at most one.

    Write F(x) = max(c, b x) for the chosen cut and F_r(x) = max(c_r, b_r x) for a rival, b x being
    the stage that the rate moves and c the largest of the others. F exceeds F_r in exactly two
    ways: c > c_r and c > b_r x, below x = c / b_r; or b x > c_r and b > b_r, above x = c_r / b.
    """
    moving = pricing.weights[rate]
    if not moving.any():
        return Interval(0.0, math.inf)
    stage = int(np.flatnonzero(moving.any(axis=1))[0])
    others = np.delete(pricing.stages, stage, axis=0)
    c, b = (chosen @ others.T).max(), chosen @ moving[stage]
    c_r, b_r = (rivals @ others.T).max(axis=1), rivals @ moving[stage]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        below = c / b_r[(c > c_r) & (b_r > 0)]
        above = c_r[b > b_r] / b
    return Interval(float(below.max(initial=0.0)), float(above.min(initial=np.inf)))


def rate_range(spans: Sequence[Interval]) -> tuple[float | None, float | None]:
    """The range of a rate, in factors on the scenario's, from spans of factors on its price.

    ``spans`` may adjoin; the first holds the factor 1. The range grows from 1 outwards, through as
    many spans as adjoin. None stands for an open end. A price is the inverse of its rate.
    """
    low, high = min(1.0, spans[0].low), max(1.0, spans[0].high)
    for span in spans[1:]:
        if span.low <= high <= span.high:
            high = span.high
        if span.low <= low <= span.high:
            low = span.low
    return (1 / high if math.isfinite(high) else None, 1 / low if low > 0 else None)
