"""Which table serves a scenario, its best row, and the ranges in which that row stays best."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.core.constraints import ForcedSides
from app.core.dag import CostedDag, NodeWork
from app.core.errors import InfeasibleError
from app.core.scenario import Objective, Scenario
from app.core.splitting.cut_table import CutTable, Family, build_table
from app.core.splitting.frontier import TooManyCutsError
from app.core.splitting.pareto import Matrix
from app.core.splitting.pricing import (
    DEVICE_RATE,
    RATES,
    SERVER_RATE,
    Costs,
    Interval,
    Pricing,
    Region,
    stays_best,
    valid_range,
)

EVERYWHERE = Interval(0.0, np.inf)


class CutTables:
    """The tables of a DAG, of the cuts that ``forced`` allows, each built when first asked for.

    Safe to use from several threads. ``known``: tables that have been built before.
    """

    def __init__(
        self,
        dag: CostedDag,
        forced: ForcedSides | None = None,
        work: NodeWork | None = None,
        known: Mapping[Family, CutTable] | None = None,
    ) -> None:
        self._dag = dag
        self._forced = forced
        self._work = work
        self._tables: dict[Family, CutTable | TooManyCutsError] = dict(known or {})
        self._lock = threading.Lock()

    def has(self, family: Family) -> bool:
        """Whether a family's table is there, or known to be out of reach."""
        return family in self._tables

    def get(self, family: Family) -> CutTable:
        """The table of a family. Raises ``TooManyCutsError`` where it is out of reach."""
        if family not in self._tables:
            with self._lock:
                if family not in self._tables:
                    self._tables[family] = self._build(family)
        table = self._tables[family]
        if isinstance(table, TooManyCutsError):
            raise table
        return table

    def _build(self, family: Family) -> CutTable | TooManyCutsError:
        try:
            return build_table(self._dag, family, self._forced, self._work)
        except TooManyCutsError as error:
            return error

    @property
    def built(self) -> dict[Family, CutTable]:
        """The tables that are there."""
        items = list(self._tables.items())
        return {family: table for family, table in items if isinstance(table, CutTable)}


@dataclass(frozen=True, slots=True, eq=False)
class BestRow:
    """The best row of a table: its quantities (11,) and the objective's value."""

    table: CutTable
    row: int
    quantities: Costs
    value: float


def family_for(scenario: Scenario, pricing: Pricing) -> Family:
    """The family whose table serves a scenario (see ``cut_table``)."""
    if scenario.objective is Objective.THROUGHPUT:
        return Family.full(scenario.mode)
    if scenario.objective is Objective.ENERGY or not pricing.device_is_faster:
        return Family.SLOWER_DEVICE
    return _family_for_faster_device(scenario)


def _family_for_faster_device(scenario: Scenario) -> Family:
    if scenario.memory_bytes is None:
        return Family.hull(scenario.mode)
    return Family.full(scenario.mode)


def best_row(tables: CutTables, scenario: Scenario, pricing: Pricing) -> BestRow:
    """The cut of least value.

    Raises ``InfeasibleError`` where no cut fits the device's memory, ``TooManyCutsError`` where
    the table is out of reach.
    """
    table = tables.get(family_for(scenario, pricing))
    values = pricing.values(table.quantities)
    row = int(values.argmin())
    value = float(values[row])
    if not np.isfinite(value):
        raise memory_infeasible(pricing, float(pricing.memory_needed(table.quantities).min()))
    return BestRow(table, row, table.quantities[row], value)


def memory_infeasible(pricing: Pricing, least_needed: float) -> InfeasibleError:
    """The refusal of a memory limit that no cut keeps."""
    return InfeasibleError(
        f"no cut fits the device: device.memory_bytes is {pricing.memory_bytes:.0f}, the least "
        f"that any cut (that the constraints allow) needs is {least_needed:.0f} bytes, "
        f"{least_needed - pricing.memory_bytes:.0f} more",
        loc=("device", "memory_bytes"),
    )


def valid_ranges(
    tables: CutTables, scenario: Scenario, pricing: Pricing, best: BestRow
) -> dict[str, tuple[float | None, float | None]]:
    """For each rate alone, the range in which the row stays best; None for an open end.

    As the rate of one side passes that of the other, the best cut comes from another table. Where
    the row is still best there, the range goes on in that table.
    """
    rates = (
        scenario.device_flops_per_s,
        scenario.server_flops_per_s,
        scenario.link.uplink_bits_per_s,
        scenario.link.downlink_bits_per_s,
    )
    ranges = {}
    for rate, name in enumerate(RATES):
        regions = _regions(tables, scenario, pricing, best, rate)
        low, high = valid_range(pricing, best.quantities, regions, rate)
        ranges[name] = (
            None if low is None else low * rates[rate],
            None if high is None else high * rates[rate],
        )
    return ranges


def _regions(
    tables: CutTables, scenario: Scenario, pricing: Pricing, best: BestRow, rate: int
) -> list[Region]:
    here = _allowed(pricing, best.table.quantities)
    if scenario.objective is not Objective.DELAY or rate not in (DEVICE_RATE, SERVER_RATE):
        return [Region(here, EVERYWHERE)]
    # The factor on this price at which a FLOP takes equally long on both sides.
    ratio = scenario.device_flops_per_s / scenario.server_flops_per_s
    turn = ratio if rate == DEVICE_RATE else 1 / ratio
    # A dearer device is the slower one; a dearer server makes the device the faster one.
    above, below = Interval(turn, np.inf), Interval(0.0, turn)
    slower, faster = (above, below) if rate == DEVICE_RATE else (below, above)
    here_is, there_is = (faster, slower) if pricing.device_is_faster else (slower, faster)
    span = stays_best(pricing, best.quantities, here, rate)
    ends_here = span.high < here_is.high if here_is is below else span.low > here_is.low
    if ends_here:
        return [Region(here, here_is)]
    other = _family_for_faster_device(scenario)
    there = tables.get(Family.SLOWER_DEVICE if pricing.device_is_faster else other)
    return [Region(here, here_is), Region(_allowed(pricing, there.quantities), there_is)]


def _allowed(pricing: Pricing, quantities: Matrix) -> Matrix:
    if not np.isfinite(pricing.memory_bytes):
        return quantities
    return quantities[pricing.memory_needed(quantities) <= pricing.memory_bytes]
