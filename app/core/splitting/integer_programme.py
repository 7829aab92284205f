"""Memory limits and throughput as an integer programme, for DAGs whose tables are out of reach.

One 0-1 variable per node (on the device); everything else follows. HiGHS solves it by branch and
bound; where its time ends first, the cut is the best found and the bound tells how much better any
cut can be at most.

    closure       x_v <= x_u                        v requires u: v uses a tensor of u,
                                                    or u an uncuttable tensor of v
    crossing      y_t >= x_u - x_c                  t made by u and used by c
                  y_t >= 1 - x_c                    t a graph input used by c
    parameters    z_p >= x_v                        p used by v
    raw inputs    k_t >= x_c                        graph input t used by c (kept in training)
    round trip    s >= 1 - x_v                      v without successors
    stages        T >= each stage                   throughput
    memory, training     weights * parameters + b * kept <= M
    memory, inference    parameters + b * live(v) <= M + big * (1 - x_v)    for every node v

Memory rows are divided by M and values by a known one, so that HiGHS' absolute tolerances are
relative ones. live(v) = tensors on the device that are open while v runs, and what is retained of
those whose last consumer has run: r_v = r_(v-1) + (those closing at v - 1 that cross or are graph
outputs).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from app.core.constraints import ForcedSides
from app.core.dag import NO_PRODUCER, CostedDag, Mask, NodeWork
from app.core.errors import SplitError
from app.core.scenario import Mode
from app.core.splitting.frontier import (
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
from app.core.splitting.pricing import Pricing

RELATIVE_GAP = 1e-9
SCALE = 1e4
"""A typical value as HiGHS sees it: its absolute tolerances are about 1e-6."""
Terms = dict[int, float]


class NoCutFoundError(SplitError):
    """The time ended before any cut was found that keeps the limits."""


@dataclass(frozen=True, slots=True, eq=False)
class ProgrammeSolution:
    """``on_device`` (n,); ``bound``: no cut has a smaller value. None where none is feasible."""

    on_device: Mask | None
    bound: float


def solve_programme(
    dag: CostedDag,
    pricing: Pricing,
    mode: Mode,
    forced: ForcedSides,
    typical_value: float,
    time_limit_s: float,
    work: NodeWork | None = None,
) -> ProgrammeSolution:
    """The best cut that keeps the memory limit, under any objective.

    ``typical_value``: the objective's value for some cut, to scale by. Raises ``NoCutFoundError``
    where ``time_limit_s`` ends without any cut.
    """
    programme = _Programme(dag, work or NodeWork.from_flops(dag), pricing, mode, forced)
    return programme.solve(time_limit_s, typical_value)


@dataclass(slots=True)
class _Rows:
    """Constraints as they are collected: lower <= sum(coefficient * variable)."""

    data: list[float] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    lower: list[float] = field(default_factory=list)

    def at_least(self, terms: Terms, bound: float = 0.0) -> None:
        self.columns.extend(terms.keys())
        self.data.extend(terms.values())
        self.starts.append(len(self.data))
        self.lower.append(bound)


class _Programme:
    """Variables are numbered as they are made; the first n are the nodes."""

    def __init__(
        self,
        dag: CostedDag,
        work: NodeWork,
        pricing: Pricing,
        mode: Mode,
        forced: ForcedSides,
    ) -> None:
        self._dag = dag
        self._pricing = pricing
        self._mode = mode
        self._rows = _Rows()
        self._low = forced.device.astype(np.float64).tolist()
        self._high = (~forced.server).astype(np.float64).tolist()
        self._integral = [1] * dag.node_count
        self._consumers = dag.tensor_consumers.to_lists()
        self._producers: list[int] = dag.tensor_producers.tolist()
        self._bytes: list[int] = dag.tensor_bytes.tolist()
        self._crossing_bytes: list[int] = dag.crossing_bytes.tolist()
        self._crossing = [self._crossing_of(t) for t in range(dag.tensor_count)]
        self._quantities = self._linear_quantities(work)
        pairs = (side.tolist() for side in dag.requirements.pairs)
        for required, requiring in zip(*pairs, strict=True):
            self._rows.at_least({required: 1.0, requiring: -1.0})
        if pricing.memory_bytes is not None:
            self._limit_memory(float(pricing.memory_bytes))

    def solve(self, time_limit_s: float, typical_value: float) -> ProgrammeSolution:
        scale = SCALE / typical_value if typical_value > 0 else 1.0
        self._objective = self._new_variable(np.inf)
        for stage in self._pricing.stages:
            self._bound_by_stage(stage * scale)
        rows = self._rows
        width = len(self._low)
        shape = (len(rows.lower), width)
        matrix = csr_array((rows.data, rows.columns, rows.starts), shape=shape)
        objective = np.zeros(width)
        objective[self._objective] = 1.0
        result = milp(
            objective,
            integrality=np.array(self._integral),
            bounds=Bounds(np.array(self._low), np.array(self._high)),
            constraints=LinearConstraint(matrix, lb=np.array(rows.lower)),
            options={"time_limit": time_limit_s, "mip_rel_gap": RELATIVE_GAP},
        )
        if result.status == 2:
            return ProgrammeSolution(None, np.inf)
        if result.x is None:
            raise NoCutFoundError(
                f"no cut that keeps the limits was found within {time_limit_s:.0f} s"
            )
        on_device = np.asarray(result.x[: self._dag.node_count] > 0.5)
        # Without nodes nothing is integral, and HiGHS solves a linear programme, to its optimum.
        bound = result.fun if result.mip_dual_bound is None else result.mip_dual_bound
        return ProgrammeSolution(on_device, float(bound) / scale)

    def _new_variable(self, high: float = 1.0) -> int:
        self._low.append(0.0)
        self._high.append(high)
        self._integral.append(0)
        return len(self._low) - 1

    def _crossing_of(self, t: int) -> int:
        """The variable that is 1 where a tensor crosses; minimised, so bounded below only."""
        variable = self._new_variable()
        for user in self._consumers[t]:
            if self._producers[t] == NO_PRODUCER:
                self._rows.at_least({variable: 1.0, user: 1.0}, 1.0)
            else:
                self._rows.at_least({variable: 1.0, user: 1.0, self._producers[t]: -1.0})
        return variable

    def _any_of(self, nodes: list[int]) -> int:
        """The variable that is 1 where any of the nodes is on the device."""
        if len(nodes) == 1:
            return nodes[0]
        variable = self._new_variable()
        for node in nodes:
            self._rows.at_least({variable: 1.0, node: -1.0})
        return variable

    def _linear_quantities(self, work: NodeWork) -> dict[int, tuple[Terms, float]]:
        """By column of the table: terms and a constant."""
        dag = self._dag
        nodes = range(dag.node_count)
        device = dict(zip(nodes, work.device.tolist(), strict=True))
        server = {node: -value for node, value in enumerate(work.server.tolist())}
        uplink: Terms = {}
        gradient: Terms = {}
        kept: Terms = {}
        result: Terms = {}
        total_result = 0.0
        for t, variable in enumerate(self._crossing):
            uplink[variable] = self._crossing_bytes[t]
            if dag.returns_gradient[t]:
                gradient[variable] = self._crossing_bytes[t]
            maker = self._producers[t]
            if maker != NO_PRODUCER:
                kept[maker] = kept.get(maker, 0.0) + self._bytes[t]
                if dag.tensor_is_output[t]:
                    result[maker] = result.get(maker, 0.0) - self._bytes[t]
                    total_result += self._bytes[t]
            elif self._consumers[t]:
                reader = self._any_of(self._consumers[t])
                kept[reader] = kept.get(reader, 0.0) + self._bytes[t]
        parameter: Terms = {}
        sizes = dag.parameter_bytes.tolist()
        for p, users in enumerate(dag.parameter_users.to_lists()):
            if users:
                holder = self._any_of(users)
                parameter[holder] = parameter.get(holder, 0.0) + sizes[p]
        trip = self._new_variable()
        used = np.diff(dag.successors.offsets) > 0
        for node in np.flatnonzero(~used).tolist():
            self._rows.at_least({trip: 1.0, node: 1.0}, 1.0)
        device_run = self._new_variable()
        needs_none = np.diff(dag.predecessors.offsets) == 0
        for node in np.flatnonzero(needs_none).tolist():
            self._rows.at_least({device_run: 1.0, node: -1.0}, 0.0)
        return {
            DEVICE: (device, 0.0),
            SERVER: (server, float(work.server.sum())),
            UPLINK: (uplink, 0.0),
            GRADIENT: (gradient, 0.0),
            RESULT: (result, total_result),
            PARAMETER: (parameter, 0.0),
            KEPT: (kept, 0.0),
            ROUND_TRIPS: ({trip: 1.0}, 0.0),
            DEVICE_RUNS: ({device_run: 1.0}, 0.0),
        }

    def _bound_by_stage(self, weights: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> None:
        terms: Terms = {self._objective: 1.0}
        constant = 0.0
        for column, weight in enumerate(weights.tolist()):
            if weight:
                part, offset = self._quantities[column]
                _add(terms, part, -weight)
                constant += weight * offset
        self._rows.at_least(terms, constant)

    def _limit_memory(self, limit: float) -> None:
        weights = self._pricing.memory_weights / limit
        parameters, _ = self._quantities[PARAMETER]
        base: Terms = {}
        _add(base, parameters, -float(weights[PARAMETER]))
        if self._mode is Mode.TRAINING:
            kept, _ = self._quantities[KEPT]
            _add(base, kept, -float(weights[KEPT]))
            self._rows.at_least(base, -1.0)
        else:
            self._limit_peak(base, float(weights[PEAK]))

    def _limit_peak(self, base: Terms, per_byte: float) -> None:
        dag = self._dag
        total = per_byte * sum(self._bytes) + sum(-weight for weight in base.values())
        closing: list[list[int]] = [[] for _ in range(dag.node_count)]
        opening: list[list[int]] = [[] for _ in range(dag.node_count)]
        for t, users in enumerate(self._consumers):
            maker = self._producers[t]
            if users or maker != NO_PRODUCER:
                opening[max(maker, 0)].append(t)
                closing[users[-1] if users else maker].append(t)
        live: Terms = {}
        constant = 0.0
        retained = self._new_variable(np.inf)
        for node in range(dag.node_count):
            for t in opening[node]:
                constant += self._exists(live, t, 1.0)
            row = dict(base)
            _add(row, live, -per_byte)
            row[retained] = -per_byte
            row[node] = row.get(node, 0.0) - total
            self._rows.at_least(row, per_byte * constant - 1.0 - total)
            following = self._new_variable(np.inf)
            step: Terms = {following: 1.0, retained: -1.0}
            for t in closing[node]:
                constant += self._exists(live, t, -1.0)
                is_made_output = dag.tensor_is_output[t] and self._producers[t] != NO_PRODUCER
                stays = self._producers[t] if is_made_output else self._crossing[t]
                step[stays] = step.get(stays, 0.0) - self._bytes[t]
            self._rows.at_least(step)
            retained = following

    def _exists(self, live: Terms, t: int, sign: float) -> float:
        """Add a tensor to what is live, where it exists on the device; what is constant of it."""
        maker = self._producers[t]
        if maker == NO_PRODUCER:
            return sign * self._bytes[t]
        live[maker] = live.get(maker, 0.0) + sign * self._bytes[t]
        return 0.0


def _add(terms: Terms, part: Terms, factor: float) -> None:
    for variable, value in part.items():
        terms[variable] = terms.get(variable, 0.0) + factor * value
