"""Whether to stay with the cut that runs, or to move to the best one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.core.constraints import Constraints
from app.core.dag import NO_PRODUCER, CostedDag, Mask
from app.core.errors import UnknownCutError
from app.core.quantities import Cut, cut_of
from app.core.scenario import Mode, Scenario
from app.services.prepared import PreparedModel
from app.services.solving import Solved, value_of

ROUNDING = 1e-12
"""A gain below this share of the value is no gain: sums in another order differ by as much."""


@dataclass(frozen=True, slots=True)
class CurrentCut:
    """The cut that runs, by a split's id or by its cut tensors, and what a switch costs.

    Moving pays when the gain of ``horizon_rounds`` rounds exceeds ``switching_s`` seconds.
    """

    split_id: str | None
    cut_tensors: tuple[str, ...] | None
    switching_s: float
    horizon_rounds: int


@dataclass(frozen=True, slots=True)
class Decision:
    """``gain``: seconds per round that the best cut saves over the current one; ``cut`` and
    ``value``: those of the cut to run."""

    stays: bool
    cut: Cut
    value: float
    gain: float
    current: CurrentCut
    current_value: float

    def facts(self) -> dict[str, Any]:
        """The decision as JSON; null where the current cut is not allowed any more."""
        allowed = math.isfinite(self.current_value)
        return {
            "decision": "stay" if self.stays else "move",
            "gain_s": self.gain if allowed else None,
            "current_total_s": self.current_value if allowed else None,
            "switching_s": self.current.switching_s,
            "horizon_rounds": self.current.horizon_rounds,
        }


def decide(
    model: PreparedModel,
    scenario: Scenario,
    constraints: Constraints,
    current: CurrentCut,
    on_device: Mask | None,
    solved: Solved,
) -> Decision:
    """Stay unless moving pays. A current cut that the constraints or the device's memory do not
    allow is always left. ``on_device``: the current cut, where a split's id names it.

    Raises ``UnknownCutError`` where the cut tensors are those of no cut.
    """
    if on_device is None:
        assert current.cut_tensors is not None
        on_device = _cut_by_tensors(model.dag, current.cut_tensors)
    forced = model.under(constraints).forced
    current_value = value_of(model, on_device, scenario)
    if bool((forced.device & ~on_device).any()) or bool((forced.server & on_device).any()):
        current_value = math.inf
    gain = max(0.0, current_value - solved.value)
    if gain <= ROUNDING * current_value < math.inf:
        gain = 0.0
    if gain * current.horizon_rounds > current.switching_s:
        return Decision(False, solved.cut, solved.value, gain, current, current_value)
    cut = cut_of(model.dag, on_device, scenario.mode, model.work)
    return Decision(True, cut, current_value, gain, current, current_value)


def _cut_by_tensors(dag: CostedDag, names: Sequence[str]) -> Mask:
    """The smallest cut that makes the named tensors and lets no other one cross.

    No tensors at all cross where everything is on the device. Complexity: linear in the uses of
    tensors.
    """
    index = {name: t for t, name in enumerate(dag.tensor_names)}
    unknown = [name for name in names if name not in index]
    if unknown:
        raise UnknownCutError(
            f"the model has no tensor named {unknown[0]!r} (tensor names stand in its graph)",
            loc=("current_cut",),
        )
    uncuttable = [name for name in names if not dag.tensor_is_cuttable[index[name]]]
    if uncuttable:
        raise UnknownCutError(
            f"tensor {uncuttable[0]!r} is a cut tensor of no cut: it never crosses, as its size is "
            "not known before the model runs",
            loc=("current_cut",),
        )
    if not names:
        return np.ones(dag.node_count, dtype=np.bool_)
    named = {index[name] for name in names}
    producers = dag.tensor_producers.tolist()
    makes: list[list[int]] = [[] for _ in range(dag.node_count)]
    inputs: list[int] = []
    for tensor, producer in enumerate(producers):
        (inputs if producer == NO_PRODUCER else makes[producer]).append(tensor)
    on_device = np.zeros(dag.node_count, dtype=np.bool_)
    # Nodes that must be on the device; whatever uses a tensor that may not cross is one. (No
    # uncuttable tensor may, as none is named: what is found meets all requirements of a cut.)
    stack = [producers[t] for t in named if producers[t] != NO_PRODUCER]
    stack += [user for t in inputs if t not in named for user in dag.tensor_consumers.row(t)]
    while stack:
        node = int(stack.pop())
        if not on_device[node]:
            on_device[node] = True
            stack += dag.predecessors.row(node).tolist()
            held = [t for t in makes[node] if t not in named]
            stack += [user for t in held for user in dag.tensor_consumers.row(t)]
    crossing = set(cut_of(dag, on_device, Mode.INFERENCE).cut_tensors.tolist())
    if crossing != named:
        never = ", ".join(repr(dag.tensor_names[t]) for t in sorted(named - crossing))
        raise UnknownCutError(
            f"no cut has just these cut tensors: where no others cross, {never} would not cross "
            "either; name the current cut by the id of its split instead",
            loc=("current_cut",),
        )
    return on_device
