"""Constraints on a cut, resolved to sets of nodes that must lie on one side."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from app.core.dag import NO_PRODUCER, CostedDag, Mask
from app.core.errors import UnknownNodeError
from app.core.refusals import contradiction, input_never_crosses, inputs_would_cross


@dataclass(frozen=True, slots=True)
class Constraints:
    """Names of nodes held on one side, and whether raw graph inputs may leave the device."""

    pin_device: tuple[str, ...] = ()
    pin_server: tuple[str, ...] = ()
    keep_inputs_on_device: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether every cut satisfies these constraints."""
        return not (self.pin_device or self.pin_server or self.keep_inputs_on_device)


@dataclass(frozen=True, slots=True, eq=False)
class ForcedSides:
    """(n,) masks: the nodes that lie on the device, and on the server, in every feasible cut.

    Both are complete: ``device`` holds all that its members require (``requirements.py``), and
    what every cut has there; ``server`` holds all that requires one of its members; and they are
    disjoint. So a cut is feasible if and only if it has all of ``device`` on the device and none of
    ``server``; both ``device`` and all but ``server`` are such cuts.
    """

    device: Mask
    server: Mask


def forced_sides(dag: CostedDag, constraints: Constraints) -> ForcedSides:
    """Resolve constraints against a DAG.

    A graph input does not cross exactly when all its consumers run on the device, so keeping the
    inputs is the same as pinning their consumers. Without any constraints, what every cut has on
    the device is forced all the same.

    Raises ``UnknownNodeError``, ``ContradictoryPinsError`` (the pins alone cannot hold) or
    ``InfeasibleError`` (they cannot hold while uncuttable inputs, or all raw inputs, stay on the
    device).
    """
    pinned_device = _pins(dag, constraints.pin_device, "pin_device")
    pinned_server = _pins(dag, constraints.pin_server, "pin_server")
    requirements = dag.requirements
    server = requirements.required_by.reached_from(pinned_server)
    device = requirements.requires.reached_from(pinned_device)
    if bool((device & server).any()):
        raise contradiction(dag, pinned_device, pinned_server)
    if bool((requirements.must_run_on_device & server).any()):
        raise input_never_crosses(dag, pinned_server)
    device |= requirements.must_run_on_device
    if constraints.keep_inputs_on_device:
        readers = dag.readers_of(dag.tensor_producers == NO_PRODUCER)
        device |= requirements.requires.reached_from(readers)
        if bool((device & server).any()):
            raise inputs_would_cross(dag, pinned_server, server)
    return ForcedSides(device, server)


def _pins(dag: CostedDag, names: Iterable[str], field: str) -> Mask:
    mask = np.zeros(dag.node_count, dtype=np.bool_)
    for position, name in enumerate(names):
        index = dag.node_index.get(name)
        if index is None:
            near = difflib.get_close_matches(name, dag.node_names, n=3)
            hint = f"; near it are {', '.join(map(repr, near))}" if near else ""
            raise UnknownNodeError(
                f"the model has no node named {name!r}{hint} (node names stand in the graph of "
                "the model)",
                loc=("constraints", field, position),
            )
        mask[index] = True
    return mask
