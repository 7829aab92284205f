"""The flow network whose minimum s-t cut is the best cut: the only place where arcs are made.

The source side is the device, the sink side the server. Vertices are the source, the sink, one
vertex per group of nodes (a node with those tied to it in the general form, a whole block in the
block-wise one), and auxiliary vertices. Arcs, and what cutting them pays for:

- source -> v: v runs on the server (its server time, and its graph outputs' way back).
- v -> sink: v runs on the device (its device time, and the parameters that it alone uses).
- v -> w, for a tensor of v with the single consumer w: the tensor crosses.
- v -> a and a -> w for every consumer w (infinite), for a tensor with several consumers: as soon
  as one consumer is on the server, a is too, and the tensor is paid for once. Graph inputs are
  tensors of the source.
- v -> w (infinite) for every consumer w of an uncuttable tensor of v, in place of the above; tied
  nodes (``requirements.py``) are one group, so this is left for graph inputs.
- w -> v (infinite) where w uses a tensor of v: w on the device and v on the server never happens,
  so nothing flows back.
- v -> p (infinite) for every user v of a shared parameter, and p -> sink: one held copy.
- source -> r, and r -> v (infinite) for every v that nothing uses: a node on the server puts what
  depends on it there too, hence one of these last ones, so the round trip, and what a run on the
  server costs by itself, are paid once if and only if any node runs there.
- v -> d (infinite) for every v that uses nothing, and d -> sink: the same of a run on the device,
  as a node there puts there what it depends on, hence one of these first ones.

Hence a finite cut of the network is a cut of the DAG by whole groups, and its value is the delay of
that cut: every term of the delay is one of the arcs above, cut exactly when the term is due. (After
the construction of arXiv 2507.01041; auxiliary vertices for shared tensors are the paper's idea,
the arcs for parameters, results and round trips are Kerf's.)
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.core.constraints import ForcedSides
from app.core.csr import Index
from app.core.dag import NO_PRODUCER, CostedDag, Mask, NodeWork
from app.core.errors import UnpriceableError
from app.core.scenario import Prices

SOURCE = 0
SINK = 1
FIRST_GROUP = 2
"""Group g is vertex ``g + FIRST_GROUP``."""

LONGEST_DELAY_S = float(np.finfo(np.float64).max) / 16
"""Delays are below this, so that sums and small multiples of them are finite."""

PRICED_COLUMNS = (
    "device_s_per_flop",
    "server_s_per_flop",
    "uplink_s_per_byte",
    "gradient_s_per_byte",
    "result_s_per_byte",
    "parameter_s_per_byte",
    "round_trip_s",
    "device_run_s",
    "server_run_s",
)
"""The columns of ``FlowNetwork.quantities``, named by the price of each."""
DEVICE, SERVER, UPLINK, GRADIENT, RESULT, PARAMETER, *_ = range(len(PRICED_COLUMNS))


@dataclass(frozen=True, slots=True, eq=False)
class FlowNetwork:
    """Arcs that depend on the model alone; a scenario's prices turn them into capacities.

    Shapes, for a arcs: ``tails``, ``heads`` (a,) int32; ``quantities`` (a, 9), the units that an
    arc pays for, by column; ``is_infinite`` (a,) bool. ``group_of_node`` (n,) int32. The first
    ``2 * groups`` arcs are source -> group and group -> sink, in this order for each group.
    """

    vertex_count: int
    group_count: int
    tails: Index
    heads: Index
    quantities: NDArray[np.float64]
    is_infinite: Mask
    group_of_node: Index

    def capacities(self, prices: Prices, forced: ForcedSides | None = None) -> NDArray[np.float64]:
        """(a,) Capacities in seconds; ``inf`` where an arc may not be cut.

        Raises ``UnpriceableError`` where their sum, which bounds the delay of every cut, leaves
        floating point.
        """
        price_list = np.array([getattr(prices, column) for column in PRICED_COLUMNS])
        with np.errstate(over="ignore"):
            capacities: NDArray[np.float64] = self.quantities @ price_list
            total = capacities.sum()
        if not total < LONGEST_DELAY_S:
            raise UnpriceableError(
                "the scenario makes delays infinite: a rate is too small or a count too large"
            )
        capacities[self.is_infinite] = np.inf
        if forced is not None:
            on_device = self.group_of_node[forced.device]
            on_server = self.group_of_node[forced.server]
            capacities[2 * on_device] = np.inf
            capacities[2 * on_server + 1] = np.inf
        return capacities


@dataclass(slots=True)
class _Arcs:
    """Arcs as they are collected."""

    tails: list[int] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    rows: list[tuple[float, ...]] = field(default_factory=list)
    infinite: list[bool] = field(default_factory=list)

    def priced(self, tail: int, head: int, **units: float) -> None:
        self.tails.append(tail)
        self.heads.append(head)
        self.rows.append(tuple(units.get(column, 0.0) for column in PRICED_COLUMNS))
        self.infinite.append(False)

    def unbreakable(self, tail: int, head: int) -> None:
        self.tails.append(tail)
        self.heads.append(head)
        self.rows.append((0.0,) * len(PRICED_COLUMNS))
        self.infinite.append(True)


def build_network(
    dag: CostedDag, work: NodeWork | None = None, group_of_node: Index | None = None
) -> FlowNetwork:
    """The network of a DAG, with one vertex per group of nodes.

    ``group_of_node`` (n,) numbers the groups 0..g-1 such that edges never go to a lower number;
    without it every node is a group with those tied to it, which is the general form. Complexity:
    linear in the DAG's nodes, tensor uses and parameter uses.
    """
    work = work or NodeWork.from_flops(dag)
    if group_of_node is None:
        group_of_node = dag.requirements.groups
    group_count = int(group_of_node.max()) + 1 if len(group_of_node) else 0
    arcs = _Arcs()
    fresh = FIRST_GROUP + group_count
    group_quantities = _group_quantities(dag, work, group_of_node, group_count)
    _add_terminal_arcs(arcs, group_quantities)
    fresh = _add_tensor_arcs(arcs, dag, group_of_node, fresh)
    fresh = _add_shared_parameter_arcs(arcs, dag, group_of_node, fresh)
    fresh = _add_run_arcs(arcs, group_of_node, group_count, dag, fresh)
    return FlowNetwork(
        vertex_count=fresh,
        group_count=group_count,
        tails=np.array(arcs.tails, dtype=np.int32),
        heads=np.array(arcs.heads, dtype=np.int32),
        quantities=np.array(arcs.rows, dtype=np.float64).reshape(-1, len(PRICED_COLUMNS)),
        is_infinite=np.array(arcs.infinite, dtype=np.bool_),
        group_of_node=group_of_node,
    )


def _group_quantities(
    dag: CostedDag, work: NodeWork, group_of_node: Index, group_count: int
) -> NDArray[np.float64]:
    """(g, 9) What a group uses by itself, by column of ``PRICED_COLUMNS``."""
    totals = np.zeros((group_count, len(PRICED_COLUMNS)), dtype=np.float64)
    np.add.at(totals[:, DEVICE], group_of_node, work.device)
    np.add.at(totals[:, SERVER], group_of_node, work.server)
    results = dag.tensor_is_output & (dag.tensor_producers != NO_PRODUCER)
    makers = group_of_node[dag.tensor_producers[results]]
    np.add.at(totals[:, RESULT], makers, dag.tensor_bytes[results])
    for users, nbytes in zip(_user_groups(dag, group_of_node), dag.parameter_bytes, strict=True):
        if len(users) == 1:
            totals[users[0], PARAMETER] += nbytes
    return totals


def _user_groups(dag: CostedDag, group_of_node: Index) -> list[list[int]]:
    """For each parameter, the distinct groups that use it."""
    groups = group_of_node.tolist()
    return [sorted({groups[user] for user in users}) for users in dag.parameter_users.to_lists()]


def _add_terminal_arcs(arcs: _Arcs, group_quantities: NDArray[np.float64]) -> None:
    for group, row in enumerate(group_quantities.tolist()):
        vertex = group + FIRST_GROUP
        arcs.priced(SOURCE, vertex, server_s_per_flop=row[SERVER], result_s_per_byte=row[RESULT])
        arcs.priced(
            vertex, SINK, device_s_per_flop=row[DEVICE], parameter_s_per_byte=row[PARAMETER]
        )


def _add_tensor_arcs(arcs: _Arcs, dag: CostedDag, group_of_node: Index, fresh: int) -> int:
    groups = group_of_node.tolist()
    producers = dag.tensor_producers.tolist()
    sizes = dag.crossing_bytes.tolist()
    gradients = np.where(dag.returns_gradient, dag.crossing_bytes, 0).tolist()
    is_cuttable = dag.tensor_is_cuttable.tolist()
    edges: dict[tuple[int, int], None] = {}
    for tensor, users in enumerate(dag.tensor_consumers.to_lists()):
        raw = producers[tensor] == NO_PRODUCER
        maker = SOURCE if raw else groups[producers[tensor]] + FIRST_GROUP
        readers = sorted({groups[user] + FIRST_GROUP for user in users} - {maker})
        units = {"uplink_s_per_byte": sizes[tensor], "gradient_s_per_byte": gradients[tensor]}
        if not is_cuttable[tensor]:
            for reader in readers:
                arcs.unbreakable(maker, reader)
        elif len(readers) == 1:
            arcs.priced(maker, readers[0], **units)
        elif readers:
            arcs.priced(maker, fresh, **units)
            for reader in readers:
                arcs.unbreakable(fresh, reader)
            fresh += 1
        if not raw:
            edges.update(((reader, maker), None) for reader in readers)
    for reader, maker in edges:
        arcs.unbreakable(reader, maker)
    return fresh


def _add_shared_parameter_arcs(
    arcs: _Arcs, dag: CostedDag, group_of_node: Index, fresh: int
) -> int:
    sizes = dag.parameter_bytes.tolist()
    for parameter, users in enumerate(_user_groups(dag, group_of_node)):
        if len(users) < 2:
            continue
        for user in users:
            arcs.unbreakable(user + FIRST_GROUP, fresh)
        arcs.priced(fresh, SINK, parameter_s_per_byte=sizes[parameter])
        fresh += 1
    return fresh


def _add_run_arcs(
    arcs: _Arcs, group_of_node: Index, group_count: int, dag: CostedDag, fresh: int
) -> int:
    if group_count == 0:
        return fresh
    makers, users = (group_of_node[nodes] for nodes in dag.edges)
    leaves = makers != users
    is_last, is_first = (np.ones(group_count, dtype=np.bool_) for _ in range(2))
    is_last[makers[leaves]] = False
    is_first[users[leaves]] = False
    arcs.priced(SOURCE, fresh, round_trip_s=1.0, server_run_s=1.0)
    for group in np.flatnonzero(is_last).tolist():
        arcs.unbreakable(fresh, group + FIRST_GROUP)
    for group in np.flatnonzero(is_first).tolist():
        arcs.unbreakable(group + FIRST_GROUP, fresh + 1)
    arcs.priced(fresh + 1, SINK, device_run_s=1.0)
    return fresh + 2
