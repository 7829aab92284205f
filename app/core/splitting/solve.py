"""Which table serves a scenario, its best row, and the ranges in which that row stays best."""

import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.constraints import ForcedSides
from app.core.dag import CostedDag, NodeWork
from app.core.errors import InfeasibleError, TooManyCutsError, UnpriceableError
from app.core.scenario import Objective, Scenario
from app.core.splitting.cut_table import CutTable, Family, build_table
from app.core.splitting.frontier import COLUMNS
from app.core.splitting.pareto import Matrix
from app.core.splitting.pricing import (
    DEVICE_RATE,
    RATES,
    SERVER_RATE,
    Costs,
    Interval,
    Pricing,
    rate_range,
    stays_best,
)
from app.core.splitting.ties import TIE, least_row, least_rows

Ranges = dict[str, tuple[float | None, float | None] | None]
"""By the name of a rate; None for an open end, and for a range where there is no rate to vary."""


class CutTables:
    """The tables of a DAG, of the cuts that ``forced`` allows, each built when first asked for.

    Safe to use from several threads. ``work``: seconds measured per node, which take the place of
    FLOPs. ``known``: tables that have been built before.
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

    @property
    def is_measured(self) -> bool:
        """Whether seconds take the place of FLOPs."""
        return self._work is not None

    def family_for(self, scenario: Scenario, pricing: Pricing) -> Family:
        """The family whose table serves a scenario."""
        if self.is_measured:
            return measured_family_for(scenario, bool(pricing.is_level))
        return family_for(scenario, bool(pricing.device_is_faster))

    def serving(
        self, scenario: Scenario, pricing: Pricing
    ) -> Iterator[tuple[Family, NDArray[np.intp]]]:
        """The families that serve many scenarios, each with the places of those that it serves."""
        flags = np.asarray(pricing.is_level if self.is_measured else pricing.device_is_faster)
        choose = measured_family_for if self.is_measured else family_for
        chosen = {flag: choose(scenario, flag) for flag in (False, True)}
        for family in dict.fromkeys(chosen.values()):
            serves = [flag for flag, each in chosen.items() if each is family]
            members = np.flatnonzero(np.isin(flags, serves))
            if len(members):
                yield family, members

    def has(self, family: Family) -> bool:
        """Whether a family's table is there, or known to be out of reach."""
        return family in self._tables

    def add(self, family: Family, table: CutTable) -> None:
        """Take a table that was built elsewhere, unless there is one."""
        with self._lock:
            self._tables.setdefault(family, table)

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
    """The best row of a table: its quantities (12,) and the objective's value."""

    table: CutTable
    row: int
    quantities: Costs
    value: float


def family_for(scenario: Scenario, device_is_faster: bool) -> Family:
    """The family whose table serves a scenario (see ``cut_table``)."""
    if scenario.objective is Objective.THROUGHPUT:
        return Family.full(scenario.mode)
    if scenario.objective is Objective.ENERGY or not device_is_faster:
        return Family.SLOWER_DEVICE
    if scenario.memory_bytes is None:
        return Family.hull(scenario.mode)
    return Family.full(scenario.mode)


def measured_family_for(scenario: Scenario, is_level: bool) -> Family:
    """The same with measured seconds; ``is_level``: whether one costs the same on both sides."""
    if scenario.objective is Objective.ENERGY:
        return Family.SLOWER_DEVICE
    if scenario.objective is Objective.THROUGHPUT and scenario.memory_bytes is None:
        return Family.MEASURED_PIPELINE
    if scenario.objective is Objective.DELAY and is_level:
        return Family.MEASURED
    return Family.measured_full(scenario.mode)


def best_row(tables: CutTables, scenario: Scenario, pricing: Pricing) -> BestRow:
    """The cut of least value.

    Raises ``InfeasibleError`` where no cut fits the device's memory, ``UnpriceableError`` where no
    value is finite, ``TooManyCutsError`` where the table is out of reach.
    """
    table = tables.get(tables.family_for(scenario, pricing))
    values = pricing.values(table.quantities)
    row = least_row(values, table.quantities, scenario.mode)
    value = float(values[row])
    if not math.isfinite(value):
        raise no_value(pricing, table.quantities)
    return BestRow(table, row, table.quantities[row], value)


def no_value(pricing: Pricing, quantities: Matrix) -> InfeasibleError | UnpriceableError:
    """The refusal where no cut has a finite value: none fits the device's memory, or those that do
    take more than floating point holds."""
    if pricing.memory_bytes is not None:
        least_needed = float(pricing.memory_needed(quantities).min())
        if least_needed > pricing.memory_bytes:
            return memory_infeasible(pricing, least_needed)
    return UnpriceableError(
        "the scenario makes delays infinite: a rate is too small or a count too large"
    )


def memory_infeasible(pricing: Pricing, least_needed: float) -> InfeasibleError:
    """The refusal of a memory limit that no cut keeps."""
    limit = float(pricing.memory_bytes or 0.0)
    return InfeasibleError(
        f"no cut fits the device: device.memory_bytes is {limit:.0f}, the least that any cut "
        f"(that the constraints allow) needs is {least_needed:.0f} bytes, "
        f"{least_needed - limit:.0f} more",
        loc=("device", "memory_bytes"),
    )


def valid_ranges(
    tables: CutTables, scenario: Scenario, pricing: Pricing, chosen: Costs, rivals: Matrix
) -> Ranges:
    """For each rate alone, the range in which a cut stays best; None for an open end.

    ``chosen`` (12,): the quantities of the cut; ``rivals`` (k, 11): those of the table that serves
    the scenario. As the rate of one side passes that of the other, the best cut comes from another
    table. Where the cut is still best there, the range goes on in that table. Measured seconds hang
    on no rate of the device or the server: None for both. Raises ``TooManyCutsError``.
    """
    link = scenario.link
    rates = (
        float(scenario.device_flops_per_s),
        float(scenario.server_flops_per_s),
        float(link.uplink_bits_per_s),
        float(link.downlink_bits_per_s),
    )
    here = stays_best(pricing, chosen, _allowed(pricing, rivals))
    spans = [[interval] for interval in here]
    if scenario.objective is Objective.DELAY and not tables.is_measured:
        # The factor on each price at which a FLOP takes equally long on both sides.
        turns = {DEVICE_RATE: rates[0] / rates[1], SERVER_RATE: rates[1] / rates[0]}
        # A dearer device is the slower one, a dearer server makes the device the faster one.
        above = {rate: pricing.device_is_faster != (rate == DEVICE_RATE) for rate in turns}
        goes_on = [rate for rate in turns if _reaches(here[rate], turns[rate], above[rate])]
        if goes_on:
            there = tables.get(family_for(scenario, not pricing.device_is_faster))
            beyond = stays_best(pricing, chosen, _allowed(pricing, there.quantities))
            for rate in goes_on:
                spans[rate] = _across(here[rate], beyond[rate], turns[rate], above[rate])
    ranges: Ranges = {}
    for rate, name in enumerate(RATES):
        if tables.is_measured and rate in (DEVICE_RATE, SERVER_RATE):
            ranges[name] = None
            continue
        low, high = rate_range(spans[rate])
        ranges[name] = (
            None if low is None else low * rates[rate],
            None if high is None else high * rates[rate],
        )
    return ranges


def _reaches(here: Interval, turn: float, above: bool) -> bool:
    """Whether a cut stays best up to the turn, above which (or below) the table at hand serves."""
    return here.low <= turn if above else turn <= here.high


def _across(here: Interval, beyond: Interval, turn: float, above: bool) -> list[Interval]:
    """The span of the table at hand up to the turn, and that of the other table from there on.

    At the turn, cuts of both tables may tie; their zero is there but for rounding.
    """
    if above:
        high = turn if beyond.high >= turn * (1 - TIE) else beyond.high
        return [Interval(turn, here.high), Interval(beyond.low, high)]
    low = turn if beyond.low <= turn * (1 + TIE) else beyond.low
    return [Interval(here.low, turn), Interval(low, beyond.high)]


def _allowed(pricing: Pricing, quantities: Matrix) -> Matrix:
    if pricing.memory_bytes is None:
        return quantities
    return quantities[pricing.memory_needed(quantities) <= pricing.memory_bytes]


@dataclass(frozen=True, slots=True, eq=False)
class BestRows:
    """The best rows of many scenarios: ``tables[family[i]]`` has the row ``rows[i]``.

    Shapes: ``families`` (s,) of indices into ``tables``; ``rows`` (s,); ``quantities`` (s, 12);
    ``values`` (s,), inf where no cut fits the device's memory.
    """

    tables: list[CutTable]
    families: NDArray[np.intp]
    rows: NDArray[np.intp]
    quantities: Matrix
    values: Costs


MOST_VALUES = 4_000_000
"""Values of cuts under scenarios that are held at once."""


def best_rows(tables: CutTables, scenario: Scenario, pricing: Pricing) -> BestRows:
    """The cuts of least value for many scenarios (arrays for numbers) of one mode and objective.

    One matrix product per table that serves some of them. Raises ``TooManyCutsError``.
    """
    count = np.size(pricing.device_is_faster)
    families = np.zeros(count, dtype=np.intp)
    rows = np.zeros(count, dtype=np.intp)
    quantities = np.zeros((count, len(COLUMNS)))
    values = np.zeros(count)
    used: list[CutTable] = []
    for family, members in tables.serving(scenario, pricing):
        table = tables.get(family)
        step = max(1, MOST_VALUES // max(1, len(table)))
        for start in range(0, len(members), step):
            chosen = members[start : start + step]
            costs = pricing.of(chosen).values(table.quantities)
            rows[chosen] = least_rows(costs, table.quantities, scenario.mode)
            values[chosen] = costs[rows[chosen], np.arange(len(chosen))]
        families[members] = len(used)
        quantities[members] = table.quantities[rows[members]]
        used.append(table)
    return BestRows(used, families, rows, quantities, values)
