"""The best cuts for many scenarios of one model: a matrix product per group of scenarios."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.constraints import Constraints
from app.core.dag import Mask
from app.core.errors import InfeasibleError, SplitError, UnpriceableError
from app.core.quantities import Delay, delay_terms
from app.core.scenario import DevicePower, Link, Prices, Scenario, prices_of
from app.core.splitting.frontier import (
    DEVICE,
    GRADIENT,
    PARAMETER,
    RESULT,
    ROUND_TRIPS,
    SERVER,
    UPLINK,
)
from app.core.splitting.pareto import Matrix
from app.core.splitting.pricing import pricing_of
from app.core.splitting.solve import best_rows, family_for
from app.services.cut_facts import cut_facts
from app.services.prepared import PreparedModel

DELAY_FIELDS = tuple(field.name for field in fields(Delay))


@dataclass(frozen=True, slots=True, eq=False)
class ScenarioGroup:
    """Scenarios of one mode and objective: arrays for numbers, and their places in the batch."""

    places: NDArray[np.intp]
    scenario: Scenario


@dataclass(frozen=True, slots=True, eq=False)
class BatchSolved:
    """``answers``: one per scenario, in order, as JSON; ``cuts``: each distinct cut once.

    ``masks``: the device nodes of each of the cuts.
    """

    answers: list[dict[str, Any]]
    cuts: list[dict[str, Any]]
    masks: list[Mask]


def solve_batch(
    model: PreparedModel, constraints: Constraints, groups: Sequence[ScenarioGroup], count: int
) -> BatchSolved:
    """The best cut for each of ``count`` scenarios.

    Raises ``SplitError``, naming the first scenario at fault, or ``TooManyCutsError`` where the
    table that serves some of them is out of reach.
    """
    solved = BatchSolved([{}] * count, [], [])
    for group in groups:
        try:
            _solve_group(model, constraints, group, solved)
        except UnpriceableError:
            raise _first_unpriceable(model, group) from None
    return solved


def _solve_group(
    model: PreparedModel, constraints: Constraints, group: ScenarioGroup, solved: BatchSolved
) -> None:
    scenario, batch = group.scenario, model.dag.model_batch
    prices = prices_of(scenario, batch)
    pricing = pricing_of(scenario, prices, batch)
    best = best_rows(model.under(constraints).tables, scenario, pricing)
    infeasible = np.flatnonzero(~np.isfinite(best.values))
    if len(infeasible):
        raise _at_fault(model, group, int(infeasible[0]))
    numbers = np.zeros(len(group.places), dtype=np.intp)
    for family, table in enumerate(best.tables):
        served = np.flatnonzero(best.families == family)
        for row in np.unique(best.rows[served]).tolist():
            numbers[served[best.rows[served] == row]] = len(solved.cuts)
            cut = model.cut_at(table, row, scenario.mode)
            solved.cuts.append(cut_facts(model, cut, scenario.mode))
            solved.masks.append(cut.on_device)
    delay = _delays(prices, best.quantities)
    columns = [np.asarray(getattr(delay, name)).tolist() for name in DELAY_FIELDS]
    answers = zip(
        group.places.tolist(),
        numbers.tolist(),
        best.values.tolist(),
        zip(*columns, strict=True),
        strict=True,
    )
    for place, number, value, terms in answers:
        solved.answers[place] = {
            "id": None,
            "cut": number,
            "delay": dict(zip(DELAY_FIELDS, terms, strict=True)),
            "objective_value": value,
            "optimal": True,
        }


def _delays(prices: Prices, quantities: Matrix) -> Delay:
    return delay_terms(
        prices,
        device_flops=quantities[:, DEVICE],
        server_flops=quantities[:, SERVER],
        uplink_bytes=quantities[:, UPLINK],
        gradient_bytes=quantities[:, GRADIENT],
        result_bytes=quantities[:, RESULT],
        device_parameter_bytes=quantities[:, PARAMETER],
        round_trips=quantities[:, ROUND_TRIPS],
    )


def _at_fault(model: PreparedModel, group: ScenarioGroup, member: int) -> SplitError:
    """The refusal of a scenario without a finite value: no cut fits, or delays are infinite."""
    place = int(group.places[member])
    if group.scenario.memory_bytes is None:
        return UnpriceableError(
            f"scenario {place}: its delays are infinite; a rate is too small or a count too large",
            loc=("scenarios", place),
        )
    scenario = at(group.scenario, member)
    pricing = pricing_of(
        scenario, prices_of(scenario, model.dag.model_batch), model.dag.model_batch
    )
    table = model.free.tables.get(family_for(scenario, bool(pricing.device_is_faster)))
    needed = float(pricing.memory_needed(table.quantities).min())
    return InfeasibleError(
        f"scenario {place}: no cut fits the device's memory of {scenario.memory_bytes:.0f} bytes; "
        f"the least that any cut needs is {needed:.0f}",
        loc=("scenarios", place, "device", "memory_bytes"),
    )


def _first_unpriceable(model: PreparedModel, group: ScenarioGroup) -> SplitError:
    for member, place in enumerate(group.places.tolist()):
        try:
            prices_of(at(group.scenario, member), model.dag.model_batch)
        except UnpriceableError as error:
            return UnpriceableError(f"scenario {place}: {error.detail}", loc=("scenarios", place))
    raise AssertionError("every scenario of the group can be priced")


def at(scenario: Scenario, member: int) -> Scenario:
    """One scenario of a group."""

    def pick(figure: Any) -> Any:
        return figure[member].item() if isinstance(figure, np.ndarray) else figure

    def pick_all(holder: Any) -> dict[str, Any]:
        return {field.name: pick(getattr(holder, field.name)) for field in fields(holder)}

    power = scenario.power
    return replace(
        scenario,
        **{
            **pick_all(scenario),
            "link": Link(**pick_all(scenario.link)),
            "power": DevicePower(**pick_all(power)) if power else None,
        },
    )
