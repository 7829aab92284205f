"""Device, server, link and mode, and the prices that they put on the quantities of a cut.

The arithmetic is Kerf's own, after the split-learning setting of arXiv 2507.01041; the README
writes it out. Every price is linear, so a delay is the product of prices and quantities.
"""

from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.core.errors import UnpriceableError

BITS_PER_BYTE = 8

Figure = float | NDArray[np.float64]
"""A number, or an array of one number per scenario where many are priced at once."""


class Mode(StrEnum):
    """What the two sides do together."""

    TRAINING = "training"
    INFERENCE = "inference"


class Objective(StrEnum):
    """What is minimised: seconds, joules of the device, or seconds per item of a pipeline."""

    DELAY = "delay"
    ENERGY = "energy"
    THROUGHPUT = "throughput"


@dataclass(frozen=True, slots=True)
class Link:
    """The link between device and server: rates in bits/s, one round trip in seconds."""

    uplink_bits_per_s: Figure
    downlink_bits_per_s: Figure
    round_trip_s: Figure = 0.0


@dataclass(frozen=True, slots=True)
class DevicePower:
    """What the device draws, in watts, while it computes, sends and receives."""

    compute_w: Figure
    transmit_w: Figure
    receive_w: Figure


@dataclass(frozen=True, slots=True)
class Scenario:
    """One situation to split for, or many of one mode and objective with arrays for numbers.

    ``batch_size`` None stands for the batch that the model was bound to. ``local_iterations`` and
    ``backward_ratio`` (backward FLOPs over forward FLOPs) count in training only. ``memory_bytes``
    limits what the device holds: in inference parameters and live activations; in training
    (2 + ``optimizer_states``) times the parameters, for weights and gradients and what the
    optimizer keeps per weight, and all activations. ``power`` is needed for the energy objective;
    throughput is an inference objective. ``device_run_overhead_s``, ``server_run_overhead_s``: what
    an iteration costs a side beside its nodes, where any runs there: a half that has waited starts
    with cold caches. A pipeline does not wait, so throughput counts none.
    """

    device_flops_per_s: Figure
    server_flops_per_s: Figure
    link: Link
    mode: Mode = Mode.TRAINING
    batch_size: Figure | None = None
    local_iterations: Figure = 1
    backward_ratio: Figure = 2.0
    objective: Objective = Objective.DELAY
    memory_bytes: Figure | None = None
    optimizer_states: Figure = 0
    power: DevicePower | None = None
    device_run_overhead_s: Figure = 0.0
    server_run_overhead_s: Figure = 0.0

    def batches(self, model_batch: int) -> Figure:
        """How many batches of the model's own size one batch is."""
        return (model_batch if self.batch_size is None else self.batch_size) / model_batch


@dataclass(frozen=True, slots=True)
class Prices:
    """Seconds per unit of each quantity of a cut, for one scenario.

    ``result`` is zero in training and ``gradient`` and ``parameter`` are zero in inference, so one
    product serves both modes; a parameter byte goes down once and up once. ``round_trip_s`` and
    ``server_run_s`` are paid once where any node runs on the server, ``device_run_s`` where any
    runs on the device.
    """

    device_s_per_flop: Figure
    server_s_per_flop: Figure
    uplink_s_per_byte: Figure
    gradient_s_per_byte: Figure
    result_s_per_byte: Figure
    parameter_down_s_per_byte: Figure
    parameter_up_s_per_byte: Figure
    round_trip_s: Figure
    device_run_s: Figure = 0.0
    server_run_s: Figure = 0.0

    @property
    def parameter_s_per_byte(self) -> Figure:
        """Down and up again."""
        return self.parameter_down_s_per_byte + self.parameter_up_s_per_byte


def objective_prices(scenario: Scenario, prices: Prices) -> Prices:
    """What a linear objective charges for each unit: seconds for delay, joules for energy.

    Energy is the device's: what it draws while it computes, sends and receives. Raises
    ``UnpriceableError`` where a price is not a finite number, ``ValueError`` for energy without
    power, and for throughput, which is not linear.
    """
    if scenario.objective is Objective.DELAY:
        return prices
    power = scenario.power
    if scenario.objective is not Objective.ENERGY or power is None:
        raise ValueError(f"the objective {scenario.objective} has no prices here")
    joules = Prices(
        device_s_per_flop=power.compute_w * prices.device_s_per_flop,
        server_s_per_flop=0.0 * prices.server_s_per_flop,
        uplink_s_per_byte=power.transmit_w * prices.uplink_s_per_byte,
        gradient_s_per_byte=power.receive_w * prices.gradient_s_per_byte,
        result_s_per_byte=power.receive_w * prices.result_s_per_byte,
        parameter_down_s_per_byte=power.receive_w * prices.parameter_down_s_per_byte,
        parameter_up_s_per_byte=power.transmit_w * prices.parameter_up_s_per_byte,
        round_trip_s=0.0 * prices.round_trip_s,
        device_run_s=power.compute_w * prices.device_run_s,
        server_run_s=0.0 * prices.server_run_s,
    )
    if not np.isfinite(_sum(joules)).all():
        raise UnpriceableError(
            "the scenario makes energies infinite: a rate is too small, or a power or a count too "
            "large"
        )
    return joules


def prices_of(scenario: Scenario, model_batch: int) -> Prices:
    """The price list of a scenario for a model bound to ``model_batch`` samples.

    Raises ``UnpriceableError`` where a price is not a finite number.
    """
    training = scenario.mode is Mode.TRAINING
    iterations = scenario.local_iterations if training else 1
    rounds = iterations * scenario.batches(model_batch)
    passes = 1.0 + scenario.backward_ratio if training else 1.0
    up_s_per_byte = BITS_PER_BYTE / scenario.link.uplink_bits_per_s
    down_s_per_byte = BITS_PER_BYTE / scenario.link.downlink_bits_per_s
    prices = Prices(
        device_s_per_flop=rounds * passes / scenario.device_flops_per_s,
        server_s_per_flop=rounds * passes / scenario.server_flops_per_s,
        uplink_s_per_byte=rounds * up_s_per_byte,
        gradient_s_per_byte=rounds * down_s_per_byte if training else 0.0,
        result_s_per_byte=0.0 if training else rounds * down_s_per_byte,
        parameter_down_s_per_byte=down_s_per_byte if training else 0.0,
        parameter_up_s_per_byte=up_s_per_byte if training else 0.0,
        round_trip_s=iterations * scenario.link.round_trip_s,
        device_run_s=iterations * scenario.device_run_overhead_s,
        server_run_s=iterations * scenario.server_run_overhead_s,
    )
    if not np.isfinite(_sum(prices)).all():
        names = [f.name for f in fields(prices) if not np.isfinite(getattr(prices, f.name)).all()]
        raise UnpriceableError(
            f"the scenario makes {names[0] if names else 'the sum of its prices'} infinite: a rate "
            "is too small or a count too large"
        )
    return prices


def _sum(prices: Prices) -> Figure:
    return (
        prices.device_s_per_flop
        + prices.server_s_per_flop
        + prices.uplink_s_per_byte
        + prices.gradient_s_per_byte
        + prices.result_s_per_byte
        + prices.parameter_down_s_per_byte
        + prices.parameter_up_s_per_byte
        + prices.round_trip_s
        + prices.device_run_s
        + prices.server_run_s
    )
