"""The best cuts for many scenarios of one model: a matrix product per group of scenarios."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.constraints import Constraints
from app.core.dag import Mask
from app.core.errors import InfeasibleError, SplitError, UnpriceableError
from app.core.quantities import Cut, Delay, delay_of, delay_terms
from app.core.scenario import (
    DevicePower,
    Link,
    Mode,
    Objective,
    Prices,
    Scenario,
    objective_prices,
    prices_of,
)
from app.core.splitting.frontier import (
    DEVICE,
    DEVICE_RUNS,
    GRADIENT,
    PARAMETER,
    RESULT,
    ROUND_TRIPS,
    SERVER,
    UPLINK,
)
from app.core.splitting.general import PROOF_TOLERANCE
from app.core.splitting.pareto import Matrix
from app.core.splitting.pricing import Costs, pricing_of
from app.core.splitting.solve import CutTables, best_rows, no_value
from app.services.basis import Basis, Posed
from app.services.cut_facts import cut_facts
from app.services.prepared import PreparedModel
from app.services.solving import lost_in_rounding

DELAY_FIELDS = tuple(field.name for field in fields(Delay))


@dataclass(frozen=True, slots=True, eq=False)
class ScenarioGroup:
    """Scenarios of one mode, objective and basis: arrays for numbers, and their places in the
    batch."""

    places: NDArray[np.intp]
    scenario: Scenario
    basis: Basis | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PosedGroup:
    """Scenarios that are priced on the same figures, and their places in the batch."""

    places: NDArray[np.intp]
    posed: Posed


@dataclass(frozen=True, slots=True, eq=False)
class BatchSolved:
    """``answers``: one per scenario, in order, as JSON; ``cuts``: each distinct cut once.

    ``masks``: the device nodes of each of the cuts; ``numbers``: the places of the cuts by their
    device nodes, activations and type of smashed data. ``device_only_s`` and ``server_only_s``: the
    delays of the trivial cuts in each scenario; None where everything on the server is no cut of
    the model.
    """

    answers: list[dict[str, Any]]
    cuts: list[dict[str, Any]]
    masks: list[Mask]
    numbers: dict[tuple[bytes, int, str | None], int]
    device_only_s: Costs
    server_only_s: Costs | None

    def number_of(self, model: PreparedModel, cut: Cut, mode: Mode) -> int:
        """The place of a cut in ``cuts``, where it is put at its first use."""
        facts = cut_facts(model, cut, mode)
        # In the two modes a cut may differ in its activations alone.
        activation_bytes = facts["quantities"]["device_activation_bytes"]
        key = (cut.on_device.tobytes(), activation_bytes, model.dag.smashed_dtype)
        number = self.numbers.setdefault(key, len(self.cuts))
        if number == len(self.cuts):
            self.cuts.append(facts)
            self.masks.append(cut.on_device)
        return number


def solve_batch(
    model: PreparedModel, constraints: Constraints, groups: Sequence[PosedGroup], count: int
) -> BatchSolved:
    """The best cut for each of ``count`` scenarios of a model.

    Raises ``SplitError``, naming the first scenario at fault, or ``TooManyCutsError`` where the
    table that serves some of them is out of reach.
    """
    server_only_s = np.zeros(count) if model.server_only else None
    solved = BatchSolved([{}] * count, [], [], {}, np.zeros(count), server_only_s)
    for group in groups:
        try:
            # Delays that leave floating point are looked for, and need no warning.
            with np.errstate(over="ignore", invalid="ignore"):
                _solve_group(constraints, group, solved)
        except UnpriceableError as error:
            raise error if error.loc else _first_unpriceable(group) from None
    return solved


def _solve_group(constraints: Constraints, group: PosedGroup, solved: BatchSolved) -> None:
    model, scenario = group.posed.model, group.posed.scenario
    batch = model.dag.model_batch
    prices = prices_of(scenario, batch)
    pricing = pricing_of(scenario, prices, batch)
    tables, mode = model.under(constraints).tables, scenario.mode
    baselines_s = np.asarray(delay_of(model.device_only[mode], prices).total_s)
    solved.device_only_s[group.places] = baselines_s
    if model.server_only and solved.server_only_s is not None:
        server_only_s = delay_of(model.server_only[mode], prices).total_s
        solved.server_only_s[group.places] = server_only_s
        baselines_s = baselines_s + server_only_s
    unpriceable = np.flatnonzero(~np.isfinite(baselines_s))
    if len(unpriceable):
        raise _unpriceable(int(group.places[unpriceable[0]]))
    best = best_rows(tables, scenario, pricing)
    infeasible = np.flatnonzero(~np.isfinite(best.values))
    if len(infeasible):
        raise _at_fault(tables, group, int(infeasible[0]))
    numbers = np.zeros(len(group.places), dtype=np.intp)
    for family, table in enumerate(best.tables):
        served = np.flatnonzero(best.families == family)
        for row in np.unique(best.rows[served]).tolist():
            cut = model.cut_at(table, row, mode)
            numbers[served[best.rows[served] == row]] = solved.number_of(model, cut, mode)
    delay = _delays(prices, best.quantities)
    values = best.values
    if scenario.objective is not Objective.THROUGHPUT:
        # The same to the last digit, though the table sums in another order.
        charged = objective_prices(scenario, prices)
        values = np.asarray(_delays(charged, best.quantities).total_s)
    optimal = lost_in_rounding(model, pricing) <= PROOF_TOLERANCE * values
    told = {} if group.posed.profiles is None else {"profiles": group.posed.profiles}
    columns = [np.asarray(getattr(delay, name)).tolist() for name in DELAY_FIELDS]
    answers = zip(
        group.places.tolist(),
        numbers.tolist(),
        values.tolist(),
        optimal.tolist(),
        zip(*columns, strict=True),
        strict=True,
    )
    for place, number, value, is_optimal, terms in answers:
        solved.answers[place] = {
            "id": None,
            "cut": number,
            "delay": dict(zip(DELAY_FIELDS, terms, strict=True)),
            "objective_value": value,
            "optimal": is_optimal,
            **told,
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
        device_runs=quantities[:, DEVICE_RUNS],
    )


def _at_fault(tables: CutTables, group: PosedGroup, member: int) -> SplitError:
    """The refusal of a scenario without a finite value: no cut fits, or delays are infinite."""
    place = int(group.places[member])
    scenario, batch = at(group.posed.scenario, member), group.posed.model.dag.model_batch
    pricing = pricing_of(scenario, prices_of(scenario, batch), batch)
    refusal = no_value(pricing, tables.get(tables.family_for(scenario, pricing)).quantities)
    if isinstance(refusal, UnpriceableError):
        return _unpriceable(place)
    return InfeasibleError(
        f"scenario {place}: {refusal.detail}", loc=("scenarios", place, *refusal.loc)
    )


def _unpriceable(place: int) -> UnpriceableError:
    return UnpriceableError(
        f"scenario {place} makes delays infinite: a rate is too small or a count too large",
        loc=("scenarios", place),
    )


def _first_unpriceable(group: PosedGroup) -> SplitError:
    batch = group.posed.model.dag.model_batch
    for member, place in enumerate(group.places.tolist()):
        scenario = at(group.posed.scenario, member)
        try:
            pricing_of(scenario, prices_of(scenario, batch), batch)
        except UnpriceableError as error:
            return UnpriceableError(f"scenario {place}: {error.detail}", loc=("scenarios", place))
    raise AssertionError("every scenario of the group can be priced")


def at(scenario: Scenario, member: int) -> Scenario:
    """One scenario of a group."""
    return _picked(scenario, lambda figures: figures[member].item())


def of(scenario: Scenario, members: NDArray[np.intp]) -> Scenario:
    """Some scenarios of a group, by their places in it."""
    return _picked(scenario, lambda figures: figures[members])


def _picked(scenario: Scenario, of_array: Callable[[NDArray[np.float64]], Any]) -> Scenario:
    def pick(figure: Any) -> Any:
        return of_array(figure) if isinstance(figure, np.ndarray) else figure

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
