"""Answers to ``/split``, from a prepared model and a query alone.

Without database and cache, so that ``kerf split model.onnx`` gives the answer that a service would
give, to the last digit.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from app.core.constraints import Constraints
from app.core.dag import CostedDag, Mask
from app.core.quantities import delay_of
from app.core.scenario import Objective, Scenario, objective_prices
from app.services.basis import Basis
from app.services.cut_facts import cut_facts
from app.services.prepared import PreparedModel
from app.services.solving import Method, Solved
from app.services.switching import CurrentCut, Decision


@dataclass(frozen=True, slots=True)
class SplitQuery:
    """One request for a cut; ``request`` is the JSON to keep beside a stored answer.

    ``basis``: what the model's own figures give way to; None where they do not. A rate of the
    scenario means nothing where a profile stands for it.
    """

    model_id: str
    scenario: Scenario
    constraints: Constraints
    method: Method
    store: bool
    request: dict[str, Any]
    current: CurrentCut | None = None
    basis: Basis | None = None


def answer_of(
    model: PreparedModel,
    query: SplitQuery,
    solved: Solved,
    decision: Decision | None,
    solve_s: float,
) -> dict[str, Any]:
    """The answer as JSON, without what storing adds; ``solve_s``: the seconds that finding took."""
    cut, value, gap = solved.cut, solved.value, solved.gap
    valid_while = solved.valid_while
    if decision is not None and decision.stays:
        cut, value, gap = decision.cut, decision.value, gap + decision.gain
        valid_while = valid_while if decision.gain <= 0 else None
    prices, mode = solved.prices, query.scenario.mode
    delay = delay_of(cut, prices).as_dict()
    if query.scenario.objective is not Objective.THROUGHPUT:
        # The same to the last digit, though the table sums in another order.
        charged = objective_prices(query.scenario, prices)
        value = float(delay_of(cut, charged).total_s)
    answer: dict[str, Any] = {
        "id": None,
        "model_id": query.model_id,
        "created_at": datetime.now(UTC).isoformat(),
        "cut": cut_facts(model, cut, mode),
        "delay": delay,
        "baselines": {
            "device_only_s": solved.baselines.device_only_s,
            "server_only_s": solved.baselines.server_only_s,
        },
        "objective_value": value,
        "optimal": gap <= 0.0,
        "gap": gap if gap > 0.0 else None,
        "method": solved.method,
        "solve_s": solve_s,
        "valid_while": valid_while,
    }
    if solved.certificate is not None:
        answer["certificate"] = asdict(solved.certificate)
    if decision is not None:
        answer["switching"] = decision.facts()
    return answer


def node_names(dag: CostedDag, on_device: Mask) -> dict[str, list[str]]:
    """The names of the nodes of both sides, in topological order."""
    sides = zip(dag.node_names, on_device.tolist(), strict=True)
    names: dict[str, list[str]] = {"device": [], "server": []}
    for name, is_device in sides:
        names["device" if is_device else "server"].append(name)
    return names
