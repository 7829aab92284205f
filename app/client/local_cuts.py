"""A client's own copy of a model's cut table, with which it prices cuts without asking."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from app.api.schemas import CutTableOut, DelayOut, ScenarioIn, SplitIn, TableRowOut
from app.client.calls import Fields
from app.client.errors import NotCoveredError, ProblemError
from app.core.errors import UnpriceableError

if TYPE_CHECKING:
    from app.core.scenario import Prices, Scenario
    from app.core.splitting.pareto import Matrix


@dataclass(frozen=True, slots=True)
class PricedCut:
    """The best cut for a scenario: its row of the table, and what it costs.

    ``objective_value``: seconds for delay, joules for energy.
    """

    row: TableRowOut
    delay: DelayOut
    objective_value: float


@dataclass(frozen=True, eq=False)
class LocalCuts:
    """Every cut of a model that can be best for a device no faster than the server, in one mode.

    ``tag``: what the service knows this content by; None where it did not say.
    """

    table: CutTableOut
    tag: str | None

    def best(self, scenario: ScenarioIn | Fields) -> PricedCut:
        """The best cut for a scenario: that which ``Client.split`` gives, to the last digit.

        ``scenario``: a body of ``POST /split``; its ``model_id`` may be left out, and its
        ``method`` and ``store`` do not matter here. Raises ``NotCoveredError`` where the table
        does not tell. What the service refuses is refused here as well: ``ProblemError`` for what
        is no such body, ``UnpriceableError`` where delays are not finite, and ``InfeasibleError``
        where no cut fits the device's memory.
        """
        # Not before they are needed, so that a client which prices nothing loads no solvers.
        from app.core.scenario import objective_prices, prices_of
        from app.core.splitting.pricing import pricing_of
        from app.core.splitting.solve import memory_infeasible
        from app.core.splitting.ties import least_row

        asked = self._scenario(scenario)
        prices = prices_of(asked, self.table.model_batch)
        pricing = pricing_of(asked, prices, self.table.model_batch)
        self._check_coverage(asked, bool(pricing.device_is_faster))
        values = pricing.values(self._quantities)
        row = least_row(values, self._quantities, asked.mode)
        if pricing.memory_bytes is not None and math.isinf(values[row]):
            least = pricing.memory_needed(self._quantities).min()
            raise memory_infeasible(pricing, float(least))
        chosen = self.table.cuts[row]
        delay = _delay(chosen, prices)
        if not math.isfinite(delay.total_s):
            raise UnpriceableError(
                "the scenario makes delays infinite: a rate is too small or a count too large"
            )
        return PricedCut(chosen, delay, _delay(chosen, objective_prices(asked, prices)).total_s)

    def _scenario(self, given: ScenarioIn | Fields) -> "Scenario":
        """What is asked for. Raises ``NotCoveredError``."""
        from app.api.queries import split_query

        body = _body(given, self.table.model_id)
        if body.model_id != self.table.model_id:
            raise NotCoveredError(
                f"these are the cuts of model {self.table.model_id!r}, not of {body.model_id!r}"
            )
        if body.mode != self.table.mode:
            raise NotCoveredError(
                f'these cuts are for {self.table.mode}; get those of mode "{body.mode}" for this '
                "scenario"
            )
        if body.current_cut is not None:
            raise NotCoveredError(f"current_cut cannot be weighed here; {_ASK}")
        query = split_query(body.model_copy(update={"store": False}))
        if query.basis is not None:
            what = "a profile's seconds" if query.basis.has_profile else "smashed data in this type"
            raise NotCoveredError(f"for {what} other cuts can be best than these; {_ASK}")
        if not query.constraints.is_empty:
            raise NotCoveredError(f"the cuts here are those without constraints; {_ASK}")
        return query.scenario

    def _check_coverage(self, scenario: "Scenario", device_is_faster: bool) -> None:
        from app.core.splitting.cut_table import Family
        from app.core.splitting.solve import family_for

        if family_for(scenario, device_is_faster) is not Family.SLOWER_DEVICE:
            what = (
                "a device faster than the server"
                if device_is_faster
                else f"the objective {scenario.objective}"
            )
            raise NotCoveredError(f"for {what} other cuts can be best than these; {_ASK}")

    @cached_property
    def _quantities(self) -> "Matrix":
        """(rows, 12) As the service's own table has them; 0 for what a mode does not count."""
        import numpy as np

        from app.core.splitting.frontier import COLUMNS, KEPT, PEAK

        activations = COLUMNS[KEPT if self.table.mode == "training" else PEAK]
        quantities = np.zeros((len(self.table.cuts), len(COLUMNS)))
        for place, row in enumerate(self.table.cuts):
            figures = row.quantities.model_dump()
            figures[activations] = figures["device_activation_bytes"]
            figures["round_trips"] = _round_trips(row)
            figures["device_runs"] = _device_runs(row)
            quantities[place] = [figures.get(name, 0.0) for name in COLUMNS]
        return quantities


_ASK = "ask the service (split) for this one"


def _body(given: ScenarioIn | Fields, model_id: str) -> SplitIn:
    """A scenario as a body of ``POST /split``.

    Raises ``ProblemError`` where it is none, as the service would put it.
    """
    from app.api.problems import INVALID_REQUEST, faults_of

    fields: dict[str, Any] = {"model_id": model_id}
    fields |= given.model_dump(exclude_unset=True) if isinstance(given, ScenarioIn) else given
    try:
        return SplitIn.model_validate(fields)
    except ValidationError as error:
        found = [{**item, "loc": ("body", *item["loc"])} for item in error.errors()]
        detail, errors = faults_of(found)
        status, kind, title = INVALID_REQUEST
        raise ProblemError(detail, status=status, type=kind, title=title, errors=errors) from error


def _round_trips(row: TableRowOut) -> float:
    return 1.0 if row.server_nodes else 0.0


def _device_runs(row: TableRowOut) -> float:
    return 1.0 if row.device_nodes else 0.0


def _delay(row: TableRowOut, prices: "Prices") -> DelayOut:
    from app.core.quantities import delay_terms

    figures = row.quantities
    terms = delay_terms(
        prices,
        device_flops=figures.device_flops,
        server_flops=figures.server_flops,
        uplink_bytes=figures.uplink_bytes,
        gradient_bytes=figures.gradient_bytes,
        result_bytes=figures.result_bytes,
        device_parameter_bytes=figures.device_parameter_bytes,
        round_trips=_round_trips(row),
        device_runs=_device_runs(row),
    )
    return DelayOut.model_validate(terms.as_dict())
