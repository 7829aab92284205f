"""Pricing tables: the best row for a scenario, and the range in which it stays best.

Every objective here is the largest of a few stages, and every stage is a linear function of a
cut's quantities: delay and energy have one stage, throughput has four (device, uplink, server,
downlink). Within a stage each weight hangs on one rate (device FLOPS, server FLOPS, uplink,
downlink) or on none (the round trip). So with all other rates fixed, a cut's value is
max(c, a + b * x) in the price x of one rate, and ranges have closed forms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.scenario import Mode, Objective, Prices, Scenario, prices_of
from app.core.splitting.frontier import (
    COLUMNS,
    DEVICE,
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
    """A scenario's weights and its memory limit.

    ``weights`` (5, stages, 11): by rate (the last: none), stage, and quantity of
    ``frontier.COLUMNS``; seconds (delay, throughput) or joules (energy) per unit.
    ``memory_weights`` (11,): bytes of device memory per unit. ``memory_bytes``: inf for no limit.
    """

    weights: NDArray[np.float64]
    memory_weights: NDArray[np.float64]
    memory_bytes: float
    device_is_faster: bool

    def values(self, quantities: Matrix) -> Costs:
        """(k,) The objective's value of each cut; inf where it exceeds the device's memory."""
        stages = self.weights.sum(axis=0)
        values: Costs = (quantities @ stages.T).max(axis=1)
        if math.isfinite(self.memory_bytes):
            values[self.memory_needed(quantities) > self.memory_bytes] = np.inf
        return values

    def memory_needed(self, quantities: Matrix) -> Costs:
        """(k,) Bytes that each cut needs on the device."""
        return np.asarray(quantities @ self.memory_weights)


def pricing_of(scenario: Scenario, model_batch: int) -> Pricing:
    """The weights of a scenario. Raises ``UnpriceableError``, or ``ValueError`` where the
    objective lacks what it needs (energy: power; throughput: inference mode)."""
    prices = prices_of(scenario, model_batch)
    stages = {
        Objective.DELAY: _delay_weights,
        Objective.ENERGY: _energy_weights,
        Objective.THROUGHPUT: _throughput_weights,
    }[scenario.objective](scenario, prices)
    memory = np.zeros(len(COLUMNS))
    training = scenario.mode is Mode.TRAINING
    memory[PARAMETER] = 2 + scenario.optimizer_states if training else 1
    memory[KEPT if training else PEAK] = scenario.batches(model_batch)
    limit = math.inf if scenario.memory_bytes is None else scenario.memory_bytes
    return Pricing(stages, memory, limit, prices.device_is_faster)


def _delay_weights(_scenario: Scenario, prices: Prices) -> NDArray[np.float64]:
    weights = np.zeros((5, 1, len(COLUMNS)))
    weights[DEVICE_RATE, 0, DEVICE] = prices.device_s_per_flop
    weights[SERVER_RATE, 0, SERVER] = prices.server_s_per_flop
    weights[UPLINK_RATE, 0, UPLINK] = prices.uplink_s_per_byte
    weights[UPLINK_RATE, 0, PARAMETER] = prices.parameter_up_s_per_byte
    weights[DOWNLINK_RATE, 0, GRADIENT] = prices.gradient_s_per_byte
    weights[DOWNLINK_RATE, 0, RESULT] = prices.result_s_per_byte
    weights[DOWNLINK_RATE, 0, PARAMETER] = prices.parameter_down_s_per_byte
    weights[NO_RATE, 0, ROUND_TRIPS] = prices.round_trip_s
    return weights


def _energy_weights(scenario: Scenario, prices: Prices) -> NDArray[np.float64]:
    """Joules of the device: what it draws while it computes, sends and receives."""
    power = scenario.power
    if power is None:
        raise ValueError("the energy objective needs the device's power")
    weights = _delay_weights(scenario, prices)
    weights[DEVICE_RATE] *= power.compute_w
    weights[SERVER_RATE] = 0.0
    weights[UPLINK_RATE] *= power.transmit_w
    weights[DOWNLINK_RATE] *= power.receive_w
    weights[NO_RATE] = 0.0
    return weights


def _throughput_weights(scenario: Scenario, prices: Prices) -> NDArray[np.float64]:
    """Seconds per batch of each stage of the pipeline; the slowest one sets the pace."""
    if scenario.mode is not Mode.INFERENCE:
        raise ValueError("throughput is an objective of inference")
    weights = np.zeros((5, 4, len(COLUMNS)))
    weights[DEVICE_RATE, 0, DEVICE] = prices.device_s_per_flop
    weights[UPLINK_RATE, 1, UPLINK] = prices.uplink_s_per_byte
    weights[SERVER_RATE, 2, SERVER] = prices.server_s_per_flop
    weights[DOWNLINK_RATE, 3, RESULT] = prices.result_s_per_byte
    return weights


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval of the positive numbers; ``math.inf`` for an open end above."""

    low: float
    high: float


def stays_best(pricing: Pricing, chosen: Costs, rivals: Matrix, rate: int) -> Interval:
    """For which factors x on the price of one rate the chosen cut is no worse than any rival.

    The price is x times the scenario's; x = 1 is in the interval where the cut is best now.
    ``chosen``: (11,) quantities; ``rivals``: (k, 11), those that the memory limit allows.

    Write F(x) = max(c, a + b x) for the chosen cut and F_r(x) = max(c_r, a_r + b_r x) for a rival,
    all of a, b, c >= 0. F exceeds F_r in exactly two ways. (1) c > c_r and c > a_r + b_r x: below
    x = (c - a_r) / b_r. (2) a + b x > c_r and a + b x > a_r + b_r x: the first holds above
    (c_r - a) / b, the second above (a_r - a) / (b - b_r) if b > b_r and below it if b < b_r. With
    one stage there is no c (minus infinity), with several the stage that moves has a = 0; so (2)
    excludes one side only.
    """
    moving = pricing.weights[rate]
    fixed = pricing.weights.sum(axis=0) - moving
    stage = int(np.flatnonzero(moving.any(axis=1))[0]) if moving.any() else 0
    cuts = np.concatenate([chosen[None, :], rivals])
    a, b = cuts @ fixed[stage], cuts @ moving[stage]
    others = np.delete(fixed, stage, axis=0)
    c = (cuts @ others.T).max(axis=1) if len(others) else np.full(len(cuts), -np.inf)
    low, high = 0.0, math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        below = (c[0] - a[1:]) / b[1:]
        low = _largest(below[(c[0] > c[1:]) & (b[1:] > 0)], low)
        # Where the chosen cut does not move, it is above the rival's fixed part always or never.
        unmoved = np.where(a[0] > c[1:], -np.inf, np.inf)
        meets_fixed = (c[1:] - a[0]) / b[0] if b[0] > 0 else unmoved
        meets_moving = (a[1:] - a[0]) / (b[0] - b[1:])
    steeper = b[0] > b[1:]
    high = _smallest(np.maximum(meets_fixed, meets_moving)[steeper], high)
    flatter = (b[0] < b[1:]) & (meets_fixed < meets_moving)
    low = _largest(meets_moving[flatter], low)
    return Interval(low, high)


def _largest(items: Costs, least: float) -> float:
    return max(least, float(items.max(initial=least)))


def _smallest(items: Costs, most: float) -> float:
    return min(most, float(items.min(initial=most)))


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Cuts among which the best is, for the prices of one rate in an interval of factors."""

    rivals: Matrix
    interval: Interval


def valid_range(
    pricing: Pricing, chosen: Costs, regions: Sequence[Region], rate: int
) -> tuple[float | None, float | None]:
    """The range of one rate, in factors on the scenario's rate, in which the chosen cut is best.

    ``regions`` adjoin; one holds the factor 1. None stands for an open end. The range grows from 1
    outwards, through as many regions as the cut stays best in.
    """
    low, high = 1.0, 1.0
    spans = [_overlap(stays_best(pricing, chosen, r.rivals, rate), r.interval) for r in regions]
    for span in sorted(spans, key=lambda span: span.low):
        if span.low <= high <= span.high:
            high = span.high
    for span in sorted(spans, key=lambda span: -span.high):
        if span.low <= low <= span.high:
            low = span.low
    # A price is the inverse of its rate.
    return (1 / high if math.isfinite(high) else None, 1 / low if low > 0 else None)


def _overlap(first: Interval, second: Interval) -> Interval:
    return Interval(max(first.low, second.low), min(first.high, second.high))
