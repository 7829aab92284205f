"""Why constraints cannot hold, in a sentence that names the nodes and tensors at fault."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.core.dag import NO_PRODUCER, CostedDag, Mask
from app.core.errors import ContradictoryPinsError, InfeasibleError


def contradiction(
    dag: CostedDag, pinned_device: Mask, pinned_server: Mask
) -> ContradictoryPinsError:
    """A node pinned to the device requires one that is pinned to the server."""
    server = dag.requirements.required_by.reached_from(pinned_server)
    late = int(np.flatnonzero(pinned_device & server)[0])
    way = _way(dag, _only(dag, late), pinned_server)
    early = way.end
    if late == early:
        detail = (
            f"node {dag.node_names[late]!r} is pinned to the device and to the server; keep one"
        )
    elif way.ties:
        detail = (
            f"node {dag.node_names[late]!r} is pinned to the device and "
            f"{dag.node_names[early]!r} to the server, but the first cannot run on the device "
            f"without the second: {_never_cross(dag, way.ties)}; drop one of the two"
        )
    else:
        detail = (
            f"node {dag.node_names[late]!r} is pinned to the device but depends on "
            f"{dag.node_names[early]!r}, which is pinned to the server; nothing flows back from "
            "the server to the device, so drop one of the two"
        )
    return ContradictoryPinsError(detail, loc=("constraints", "pin_device"))


def input_never_crosses(dag: CostedDag, pinned_server: Mask) -> InfeasibleError:
    """A node pinned to the server has to run on the device, as an uncuttable input holds it."""
    raw = (dag.tensor_producers == NO_PRODUCER) & ~dag.tensor_is_cuttable
    way = _way(dag, dag.requirements.readers, pinned_server)
    graph_input = next(
        t for t in np.flatnonzero(raw).tolist() if way.start in dag.tensor_consumers.row(t)
    )
    return InfeasibleError(
        f"node {dag.node_names[way.end]!r} is pinned to the server but has to run on the device, "
        f"where the graph input {dag.tensor_names[graph_input]!r} is: "
        f"{_never_cross(dag, [graph_input, *way.ties])}; unpin it",
        loc=("constraints", "pin_server"),
    )


def inputs_would_cross(dag: CostedDag, pinned_server: Mask, server: Mask) -> InfeasibleError:
    """Inputs are to stay on the device, but a node that reads one has to run on the server."""
    raw = dag.tensor_producers == NO_PRODUCER
    readers = dag.readers_of(raw)
    exposed = raw & dag.tensor_consumers.any_per_row(server)
    names = [dag.tensor_names[i] for i in np.flatnonzero(exposed)]
    nbytes = int(dag.tensor_bytes[exposed].sum())
    way = _way(dag, readers, pinned_server)
    reason = f" ({_never_cross(dag, way.ties)})" if way.ties else ""
    return InfeasibleError(
        f"keep_inputs_on_device cannot hold: pin_server puts node {dag.node_names[way.start]!r} "
        f"on the server{reason}, so the graph inputs {', '.join(map(repr, names))} ({nbytes} "
        "bytes) would cross raw; unpin it, or let the inputs cross",
        loc=("constraints", "keep_inputs_on_device"),
    )


LISTED = 3
"""How many tensors a message names."""


def _never_cross(dag: CostedDag, tensors: Sequence[int]) -> str:
    names = [repr(dag.tensor_names[t]) for t in tensors[:LISTED]]
    if len(tensors) == 1:
        return f"tensor {names[0]} never crosses, as its size is not known before the model runs"
    if len(tensors) > LISTED:
        names.append(f"{len(tensors) - LISTED} more")
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"tensors {listed} never cross, as their sizes are not known before the model runs"


@dataclass(frozen=True, slots=True)
class _Way:
    """How the node ``start`` requires the node ``end``: the last step, and the way before it.

    ``tie``: the uncuttable tensor of the last step; None where that is one of dependence.
    """

    start: int
    end: int
    tie: int | None = None
    before: "_Way | None" = None

    @property
    def ties(self) -> list[int]:
        """The uncuttable tensors on the way."""
        found: list[int] = []
        way: _Way | None = self
        while way is not None:
            if way.tie is not None:
                found.append(way.tie)
            way = way.before
        return found[::-1]


def _way(dag: CostedDag, starts: Mask, ends: Mask) -> _Way:
    """A way on which a node of ``starts`` requires one of ``ends``, with as few ties as can be.

    Breadth first, where a step from a user to a maker costs nothing and one from the maker of an
    uncuttable tensor to a user of it costs one. There is such a way. Complexity: linear.
    """
    tied: list[list[tuple[int, int]]] = [[] for _ in range(dag.node_count)]
    makers: list[int] = dag.tensor_producers.tolist()
    for t in np.flatnonzero(~dag.tensor_is_cuttable & (dag.tensor_producers != NO_PRODUCER)):
        tied[makers[t]] += [(int(t), user) for user in dag.tensor_consumers.row(int(t)).tolist()]
    ways = deque(_Way(start, start) for start in np.flatnonzero(starts).tolist())
    seen: set[int] = set()
    while True:
        way = ways.popleft()
        if ends[way.end]:
            return way
        if way.end in seen:
            continue
        seen.add(way.end)
        for maker in dag.predecessors.row(way.end).tolist():
            ways.appendleft(_Way(way.start, maker, None, way))
        for tensor, user in tied[way.end]:
            ways.append(_Way(way.start, user, tensor, way))


def _only(dag: CostedDag, index: int) -> Mask:
    mask = np.zeros(dag.node_count, dtype=np.bool_)
    mask[index] = True
    return mask
