"""Minimum s-t cut of real capacities by an integer max-flow, without rounding the optimum away.

Solver: OR-Tools' push-relabel (Apache-2.0). igraph and PyMaxflow are as fast on these networks
(measured; the README has the figures), but both are GPL, and SciPy's max-flow has 32-bit
capacities only.

Rounding. Let U be the value of any feasible cut. An arc of capacity above U is in no minimum cut,
so every capacity may be capped at 2 U (not at U itself: U is a rounded sum, too). Scaled by a power
of two S with U * S < 2^61, a capacity c becomes floor(c * S) exactly as computed (scaling by a
power of two rounds nothing), so the integer flow F is feasible for the real network: F / S is a
lower bound on every cut. The cut found has real value C <= (F + number of arcs) / S, since flooring
loses less than one unit on each. Where that gap is not below ``RELATIVE_GAP`` of F (U was far above
the optimum), another solve with U = C has a larger S: each brings U closer to the optimum
by a factor of 2^61 over the number of arcs, so a second one is seldom needed, a third hardly ever.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ortools.graph.python import max_flow

from app.core.dag import Mask
from app.core.splitting.network import SINK, SOURCE, FlowNetwork

RELATIVE_GAP = 1e-12
LARGEST_FLOW_BITS = 61


@dataclass(frozen=True, slots=True, eq=False)
class MinimumCut:
    """``source_side`` (vertices,) bool; ``flow_value`` in seconds bounds every cut from below."""

    source_side: Mask
    flow_value: float


def minimum_cut(
    network: FlowNetwork, capacities: NDArray[np.float64], upper_bound: float
) -> MinimumCut:
    """The minimum cut of a network. Complexity: O(vertices^2 * sqrt(arcs)) at worst.

    ``upper_bound``: the value in seconds of some feasible cut; finite.
    """
    if upper_bound == 0.0:
        upper_bound = float(np.finfo(np.float64).tiny)
    while True:
        scale_bits = LARGEST_FLOW_BITS - math.frexp(upper_bound)[1]
        source_side, flow = _solve(network, capacities, upper_bound, scale_bits)
        cut = MinimumCut(source_side, math.ldexp(flow, -scale_bits))
        if len(capacities) <= RELATIVE_GAP * flow:
            return cut  # near enough by the number of arcs alone, as nearly always
        value = _cut_value(network, capacities, source_side)
        if value - cut.flow_value <= RELATIVE_GAP * value or not value < upper_bound / 2:
            return cut
        upper_bound = value


def _solve(
    network: FlowNetwork, capacities: NDArray[np.float64], upper_bound: float, scale_bits: int
) -> tuple[Mask, int]:
    """The source side, and the flow in units of 2^-``scale_bits`` seconds."""
    scaled = np.ldexp(np.minimum(capacities, 2.0 * upper_bound), scale_bits)
    solver = max_flow.SimpleMaxFlow()
    solver.add_arcs_with_capacity(network.tails, network.heads, scaled.astype(np.int64))
    status = solver.solve(SOURCE, SINK)
    if status != solver.OPTIMAL:
        raise RuntimeError(f"max-flow ended with {status}")
    source_side = np.zeros(network.vertex_count, dtype=np.bool_)
    source_side[SOURCE] = True  # the solver does not know of vertices without arcs
    source_side[solver.get_source_side_min_cut()] = True
    return source_side, solver.optimal_flow()


def _cut_value(network: FlowNetwork, capacities: NDArray[np.float64], source_side: Mask) -> float:
    cut_arcs = source_side[network.tails] & ~source_side[network.heads]
    return float(capacities[cut_arcs].sum())
