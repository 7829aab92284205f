"""The general algorithm: the minimum s-t cut on the whole DAG."""

from dataclasses import dataclass

import numpy as np

from app.core.constraints import ForcedSides
from app.core.dag import CostedDag, Mask, NodeWork
from app.core.quantities import Cut, cut_of, delay_of
from app.core.scenario import Mode, Prices
from app.core.splitting.max_flow import minimum_cut
from app.core.splitting.network import FIRST_GROUP, FlowNetwork

PROOF_TOLERANCE = 1e-9
"""A cut counts as optimal when its delay exceeds the flow by at most this share of itself."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A proof by duality, in seconds: no cut is below any flow, and these two meet."""

    cut_value: float
    flow_value: float

    @property
    def gap(self) -> float:
        """How much better than this cut any other can be at most, in seconds."""
        return max(0.0, self.cut_value - self.flow_value)

    @property
    def proves_optimality(self) -> bool:
        """Whether flow and cut meet, but for the rounding of their sums."""
        return self.gap <= PROOF_TOLERANCE * self.cut_value


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The best cut for one price list, what it costs there, and the proof."""

    cut: Cut
    value: float
    certificate: Certificate


def best_cut_by_flow(
    dag: CostedDag,
    network: FlowNetwork,
    prices: Prices,
    mode: Mode,
    forced: ForcedSides,
    work: NodeWork | None = None,
) -> Solution:
    """The cut of least delay among those that satisfy ``forced``.

    The network decides which cut; its delay is evaluated from its quantities, not taken from the
    flow. ``work``: what the network was built with. Raises ``UnpriceableError`` where delays leave
    floating point.
    """
    capacities = network.capacities(prices, forced)
    upper_bound = min(
        float(delay_of(cut_of(dag, on_device, mode, work), prices).total_s)
        for on_device in (forced.device, ~forced.server)
    )
    found = minimum_cut(network, capacities, upper_bound)
    on_device: Mask = found.source_side[FIRST_GROUP + network.group_of_node.astype(np.intp)]
    cut = cut_of(dag, on_device, mode, work)
    value = float(delay_of(cut, prices).total_s)
    return Solution(cut, value, Certificate(value, found.flow_value))
