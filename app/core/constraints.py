"""Constraints on a cut, resolved to sets of nodes that must lie on one side."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from app.core.dag import NO_PRODUCER, CostedDag, Mask
from app.core.errors import ContradictoryPinsError, InfeasibleError, UnknownNodeError


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

    Both are complete: ``device`` is closed under predecessors and ``server`` under successors, and
    they are disjoint. So a closed set is feasible if and only if it holds all of ``device`` and
    none of ``server``.
    """

    device: Mask
    server: Mask


def forced_sides(dag: CostedDag, constraints: Constraints) -> ForcedSides:
    """Resolve constraints against a DAG.

    A graph input does not cross exactly when all its consumers run on the device, so keeping the
    inputs is the same as pinning their consumers.

    Raises ``UnknownNodeError``, ``ContradictoryPinsError`` (the pins alone cannot hold) or
    ``InfeasibleError`` (they cannot hold while raw inputs stay on the device).
    """
    pinned_device = _pins(dag, constraints.pin_device, "pin_device")
    pinned_server = _pins(dag, constraints.pin_server, "pin_server")
    server = _descendants(dag, pinned_server)
    device = _ancestors(dag, pinned_device)
    if bool((device & server).any()):
        raise _contradiction(dag, pinned_device, pinned_server, server)
    if constraints.keep_inputs_on_device:
        device |= _ancestors(dag, _readers_of_inputs(dag))
        if bool((device & server).any()):
            raise _inputs_would_cross(dag, server)
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


def _ancestors(dag: CostedDag, mask: Mask) -> Mask:
    """The smallest closed set that holds ``mask``: one sweep against the topological order."""
    reached = mask.copy()
    makers, users = dag.edges
    for edge in np.argsort(-users, kind="stable"):
        if reached[users[edge]]:
            reached[makers[edge]] = True
    return reached


def _descendants(dag: CostedDag, mask: Mask) -> Mask:
    """All nodes that depend on ``mask``, itself included: one sweep along the order."""
    reached = mask.copy()
    makers, users = dag.edges
    for edge in range(len(makers)):
        if reached[makers[edge]]:
            reached[users[edge]] = True
    return reached


def _readers_of_inputs(dag: CostedDag) -> Mask:
    raw = dag.tensor_producers == NO_PRODUCER
    readers = np.zeros(dag.node_count, dtype=np.bool_)
    readers[dag.tensor_consumers.indices[raw[dag.tensor_consumers.row_of_entry()]]] = True
    return readers


def _contradiction(
    dag: CostedDag, pinned_device: Mask, pinned_server: Mask, server: Mask
) -> ContradictoryPinsError:
    late = int(np.flatnonzero(pinned_device & server)[0])
    early = int(np.flatnonzero(pinned_server & _ancestors(dag, _only(dag, late)))[0])
    if late == early:
        detail = (
            f"node {dag.node_names[late]!r} is pinned to the device and to the server; keep one"
        )
    else:
        detail = (
            f"node {dag.node_names[late]!r} is pinned to the device but depends on "
            f"{dag.node_names[early]!r}, which is pinned to the server; nothing flows back from "
            "the server to the device, so drop one of the two"
        )
    return ContradictoryPinsError(detail, loc=("constraints", "pin_device"))


def _inputs_would_cross(dag: CostedDag, server: Mask) -> InfeasibleError:
    readers = np.flatnonzero(_ancestors(dag, _readers_of_inputs(dag)) & server)
    raw = dag.tensor_producers == NO_PRODUCER
    exposed = raw & dag.tensor_consumers.any_per_row(server)
    names = [dag.tensor_names[i] for i in np.flatnonzero(exposed)]
    nbytes = int(dag.tensor_bytes[exposed].sum())
    return InfeasibleError(
        f"keep_inputs_on_device cannot hold: pin_server puts node {dag.node_names[readers[0]]!r} "
        f"on the server, so the graph inputs {', '.join(map(repr, names))} ({nbytes} bytes) would "
        "cross raw; unpin it, or let the inputs cross",
        loc=("constraints", "keep_inputs_on_device"),
    )


def _only(dag: CostedDag, index: int) -> Mask:
    mask = np.zeros(dag.node_count, dtype=np.bool_)
    mask[index] = True
    return mask
