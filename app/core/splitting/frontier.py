"""Every cut that can be best, by dynamic programming over the topological order.

The nodes are decided one after the other: device or server. What the decisions so far mean for the
nodes to come is the state: which tensors with consumers still to come exist on the device, which
of these have been paid for (a consumer on the server has been seen), and which shared things with
users still to come the device holds already (parameters; graph inputs that a device node reads).
Everything else about the past is its quantities.

Pruning. Two partial cuts in the same state allow the same completions, and each completion adds
the same to both (sums), or takes the maximum of the same term with both once what is retained in
memory is counted as a quantity too (the peak). So if one partial cut is no larger in any compared
quantity, each completion of the other is dominated, or equalled, by the same completion of it, and
the other can be dropped. For linear objectives alone more can be dropped: at any prices, the
cheapest of the partial cuts of a state is a vertex of their lower convex hull.

Uncuttable tensors. A node goes to the server only where no node that is on the device requires it
(``requirements.py``), and to the device only where it requires none that is on the server. The
state tells both. If a node on the device requires the next one, it does so by a chain of
requirements; where the chain first leads from a decided node to one to come, the decided one is on
the device as well (earlier decisions agree), and the step is from the maker of an uncuttable tensor
to a user, as only such steps lead to later nodes: that tensor is open and on the device. If the
next node requires one on the server, then where the chain last leads from a node to come to a
decided one, that is on the server as well, and the step is from a user to a maker: a tensor that
the user needs is open and not on the device. An uncuttable graph input is open and on the device
from the start, and holds there what its users require. So every partial cut that is kept has a
completion (its device nodes, with all that they require), and what is finished is a cut.

Ending. A partial cut under which no node to come can run on the device (each needs something that
is on the server) has one completion: everything to come on the server. It is completed at once.

Bounding. Every compared quantity can only grow as more nodes are decided: device FLOPs, bytes held
and bytes crossing as they are; server FLOPs and result bytes when only the doomed nodes are
counted, those on the server and those that require one. So a partial cut that is no smaller in
any of them than some finished cut has no completion that matters.

So the work follows the number of states that are open at the same time (small wherever a single
tensor, or a few, connect what is before with what is after), not the number of cuts. Where it
exceeds a bound, ``TooManyCutsError`` is raised, and nothing is claimed. Bounds count cuts and
comparisons, not seconds, so that a model is in reach everywhere or nowhere.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.core.constraints import ForcedSides
from app.core.dag import NO_PRODUCER, CostedDag, NodeWork
from app.core.errors import TooManyCutsError
from app.core.splitting.pareto import Matrix, Rows

COLUMNS = (
    "device_flops",
    "server_flops",
    "uplink_bytes",
    "gradient_bytes",
    "result_bytes",
    "device_parameter_bytes",
    "kept_activation_bytes",
    "peak_activation_bytes",
    "crossing_tensors",
    "round_trips",
    "device_runs",
    "retained_bytes",
)
"""The quantities of a partial cut.

``kept_activation_bytes`` is ``device_activation_bytes`` in training, ``peak_activation_bytes`` in
inference. ``round_trips``: 1 where any node runs on the server, else 0; ``device_runs``: the
same of the device. ``retained_bytes``: bytes
of tensors without consumers to come that stay in the device's memory, because they cross or are
graph outputs (needed to carry the peak on).
"""
(
    DEVICE,
    SERVER,
    UPLINK,
    GRADIENT,
    RESULT,
    PARAMETER,
    KEPT,
    PEAK,
    CROSSING,
    ROUND_TRIPS,
    DEVICE_RUNS,
    RETAINED,
) = range(len(COLUMNS))


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for.

    ``prune``: from the (k, 12) quantities of partial cuts in one state to the indices of those to
    keep. It must keep, for any set of cuts and any objective at hand, a cut that is no worse than
    the ones dropped (see the proof above). ``effort``: about how many comparisons of cuts that
    took, from the quantities and the indices kept. ``bounding``: from (k, 12) quantities to the
    (k, c) ones that the objectives at hand are monotone in; None to search without bounds.
    """

    prune: Callable[[Matrix], Rows]
    effort: Callable[[Matrix, Rows], int]
    bounding: Callable[[Matrix], Matrix] | None = None


T = TypeVar("T", int, float)

FEW = 48
"""Up to here a loop over the bits of a mask takes less time than the calls of numpy."""
MOST_COMPARISONS = 10**8
"""Twice what any model at hand takes; some seconds."""
MOST_BITS = 5 * 10**8
"""In the masks of nodes and tensors that are kept for each node: some 15,000 nodes, 250 MB."""
MOST_MEMBERS = 250_000_000
"""Cuts found times nodes: bytes."""
COMPARISONS_PER_STATE = 1000
"""In how much time a state is taken over a node, in comparisons."""
TIDY_AFTER = 64
"""Finished cuts are compared with each other when at least so many have come."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundCuts:
    """``quantities`` (rows, 12) by ``COLUMNS``; ``on_device`` (rows, n) bool, each row a cut."""

    quantities: Matrix
    on_device: NDArray[np.bool_]


def find_cuts(
    dag: CostedDag,
    search: Search,
    forced: ForcedSides | None = None,
    work: NodeWork | None = None,
    most_cuts: int = 100_000,
    most_comparisons: int = MOST_COMPARISONS,
) -> FoundCuts:
    """The cuts that ``search`` cannot tell to be needless, of those that ``forced`` allows.

    Raises ``TooManyCutsError`` where more than ``most_cuts`` partial cuts are open at once or are
    found in all, where it would take more than ``most_comparisons`` of cuts with each other, or
    where the DAG alone, or what is found, is too large.
    """
    if dag.node_count * (dag.node_count + dag.tensor_count) > MOST_BITS:
        raise TooManyCutsError(
            f"{dag.node_count} nodes are too many to look for all cuts that can be best"
        )
    steps = _Steps(dag, work or NodeWork.from_flops(dag))
    return _Run(steps, search, forced, most_cuts, most_comparisons).run()


@dataclass(frozen=True, slots=True)
class _Hold:
    """A shared thing that the device pays for once: a bit of the state, a column, an amount."""

    bit: int
    column: int
    nbytes: int


class _Steps:
    """A DAG as Python integers and lists: bit t of a mask stands for tensor t."""

    def __init__(self, dag: CostedDag, work: NodeWork) -> None:
        n, m = dag.node_count, dag.tensor_count
        self.node_count = n
        self.bytes: list[int] = dag.tensor_bytes.tolist()
        self.uplink: list[int] = dag.crossing_bytes.tolist()
        self.gradient: list[int] = np.where(dag.returns_gradient, dag.crossing_bytes, 0).tolist()
        # A graph input that is an output as well is no result: nobody makes it.
        is_result = dag.tensor_is_output & (dag.tensor_producers != NO_PRODUCER)
        self.is_output: list[bool] = is_result.tolist()
        self.consumers = dag.tensor_consumers.to_lists()
        self.inputs: list[list[int]] = [[] for _ in range(n)]
        self.outputs: list[list[int]] = [[] for _ in range(n)]
        self.closing: list[list[int]] = [[] for _ in range(n)]
        self.holds: list[list[_Hold]] = [[] for _ in range(n)]
        self.closing_holds: list[int] = [0] * n
        self.device_add = np.zeros((n, len(COLUMNS)))
        self.server_add = np.zeros((n, len(COLUMNS)))
        self.device_add[:, DEVICE] = work.device
        self.server_add[:, SERVER] = work.server
        self.raw = 0
        self.total_result = 0
        producers = dag.tensor_producers.tolist()
        for t in range(m):
            users = self.consumers[t]
            for user in users:
                self.inputs[user].append(t)
            if producers[t] == NO_PRODUCER:
                if users:
                    self.raw |= 1 << t
                    self.closing[users[-1]].append(t)
                self._hold(users, KEPT, self.bytes[t], t)
                continue
            maker = producers[t]
            self.outputs[maker].append(t)
            self.closing[users[-1] if users else maker].append(t)
            self.device_add[maker, KEPT] += self.bytes[t]
            if self.is_output[t]:
                self.total_result += self.bytes[t]
                self.device_add[maker, RESULT] -= self.bytes[t]
        sizes = dag.parameter_bytes.tolist()
        for p, users in enumerate(dag.parameter_users.to_lists()):
            self._hold(users, PARAMETER, sizes[p], m + p)
        self.input_mask = [sum(1 << t for t in tensors) for tensors in self.inputs]
        self.output_mask = [sum(1 << t for t in tensors) for tensors in self.outputs]
        self.closing_mask = [sum(1 << t for t in tensors) for tensors in self.closing]
        self.server_work: list[float] = work.server.tolist()
        self.result_bytes = [
            sum(self.bytes[t] for t in tensors if self.is_output[t]) for tensors in self.outputs
        ]
        self.work_arrays = work.server, np.array(self.result_bytes, dtype=np.int64)
        self.every_node = (1 << n) - 1
        self.work_from = list(
            zip(_suffix_sums(self.server_work), _suffix_sums(self.result_bytes), strict=True)
        )
        self.behind = self._least_behind(dag)
        self._add_ties(dag)
        self.made_bytes = [sum(self.bytes[t] for t in tensors) for tensors in self.outputs]

    def _least_behind(self, dag: CostedDag) -> list["_Least"]:
        """For each node, what runs on the server where it does; the same object for tied nodes."""
        own = [1 << node for node in range(self.node_count)]
        found: dict[int, _Least] = {}
        least = []
        for group, mask in zip(
            dag.requirements.groups.tolist(),
            _gathered(dag, own, forward=True),
            strict=True,
        ):
            if group not in found:
                found[group] = self.least(mask)
            least.append(found[group])
        return least

    def _add_ties(self, dag: CostedDag) -> None:
        """For each node, as masks: ``holding``, the uncuttable tensors any of which, if open and on
        the device, holds it there; ``needed``, the tensors that are open before it and have to be
        on the device for it to run there."""
        never_cross = sum(1 << t for t in np.flatnonzero(~dag.tensor_is_cuttable).tolist())
        self.holding, self.needed = [0] * self.node_count, self.input_mask
        self.raw_never_cross = self.raw & never_cross
        if never_cross:
            own = [mask & never_cross for mask in self.input_mask]
            self.holding = _gathered(dag, own, forward=True)
        if dag.requirements.has_ties:
            gathered = _gathered(dag, self.input_mask, forward=False)
            is_open, self.needed = self.raw, []
            for node in range(self.node_count):
                self.needed.append(gathered[node] & is_open)
                is_open = (is_open | self.output_mask[node]) & ~self.closing_mask[node]

    def least(self, nodes: int) -> "_Least":
        """What a mask of nodes costs at least when they run on the server.

        Counted from the nodes, or from those that are missing up to the last one, whichever are
        fewer: what depends on a node is often nearly everything after it.
        """
        if not nodes:
            return _Least(0, 0.0, 0)
        first = (nodes & -nodes).bit_length() - 1
        missing = self.every_node >> first << first & ~nodes
        if nodes.bit_count() <= missing.bit_count():
            return _Least(nodes, *self._work_of(nodes))
        server, result = self._work_of(missing)
        rest_server, rest_result = self.work_from[first]
        return _Least(nodes, rest_server - server, rest_result - result)

    def _work_of(self, nodes: int) -> tuple[float, int]:
        if nodes.bit_count() > FEW:
            octets = np.frombuffer(nodes.to_bytes(-(-self.node_count // 8), "little"), np.uint8)
            chosen = np.unpackbits(octets, count=self.node_count, bitorder="little").view(np.bool_)
            return float(self.work_arrays[0][chosen].sum()), int(self.work_arrays[1][chosen].sum())
        server, result = 0.0, 0
        for node in _bits(nodes):
            server += self.server_work[node]
            result += self.result_bytes[node]
        return server, result

    def _hold(self, users: list[int], column: int, nbytes: int, bit: int) -> None:
        if len(users) == 1:
            self.device_add[users[0], column] += nbytes
        elif users:
            for user in users:
                self.holds[user].append(_Hold(1 << bit, column, nbytes))
            self.closing_holds[users[-1]] |= 1 << bit


@dataclass(frozen=True, slots=True)
class _Least:
    """Nodes that run on the server whatever comes, as a mask, and their FLOPs and result bytes."""

    doomed: int
    server: float
    result: int


_Key = tuple[int, int, int]
"""(tensors on the device, those of them that are paid for, what is held): masks of open things."""


@dataclass(slots=True)
class _State:
    """Partial cuts of one state.

    ``open_bytes``: of the tensors on the device, open ones. ``least``: of the nodes that run
    on the server under every completion of every one of these cuts. ``holds_pure``: whether the
    cut with every node so far on the device is among them.
    """

    quantities: Matrix
    ids: NDArray[np.int64]
    open_bytes: int
    least: _Least
    holds_pure: bool = False


class _Run:
    """One run over the nodes. An id names a set of device nodes: a log entry (parent id, node)."""

    def __init__(
        self,
        steps: _Steps,
        search: Search,
        forced: ForcedSides | None,
        most_cuts: int,
        most_comparisons: int,
    ) -> None:
        self._steps = steps
        self._prune, self._effort = search.prune, search.effort
        self._bounding = search.bounding
        self._front: Matrix | None = None
        self._most_cuts = most_cuts
        n = steps.node_count
        self._must_device = forced.device.tolist() if forced else [False] * n
        self._must_server = forced.server.tolist() if forced else [False] * n
        self._last_must_device = max((i for i in range(n) if self._must_device[i]), default=-1)
        self._last_without_inputs = max(
            (i for i in range(n) if not steps.input_mask[i] and not self._must_server[i]),
            default=-1,
        )
        self._log_parents: list[NDArray[np.int64]] = [np.array([-1], dtype=np.int64)]
        self._log_nodes: list[int] = [-1]
        self._next_id = 1
        self._found: list[tuple[Matrix, NDArray[np.int64]]] = []
        self._found_count = 0
        self._next_tidy = TIDY_AFTER
        self._left = most_comparisons

    def run(self) -> FoundCuts:
        steps = self._steps
        start = np.zeros((1, len(COLUMNS)))
        start[0, RESULT] = steps.total_result
        # Work of the nodes to come counts on the server until they are put on the device.
        start[0, SERVER] = steps.server_add[:, SERVER].sum()
        raw_bytes = sum(steps.bytes[t] for t in range(len(steps.bytes)) if steps.raw >> t & 1)
        state = _State(start, np.zeros(1, dtype=np.int64), raw_bytes, _Least(0, 0.0, 0), True)
        states = {(steps.raw, 0, 0): state}
        if self._last_must_device < 0 and not steps.raw_never_cross:
            # Everything on the server is a cut, and often bounds all that follows.
            nothing = start.copy()
            nothing[:, ROUND_TRIPS] = min(1, steps.node_count)
            self._complete((steps.raw, 0, 0), replace(state, quantities=nothing))
            self._tidy()
        for node in range(steps.node_count):
            states = self._step(node, states)
        for key, state in states.items():
            self._complete(key, state)
        self._tidy()
        quantities, ids = self._found[0]
        if len(ids) * steps.node_count > MOST_MEMBERS:
            raise TooManyCutsError(
                f"{len(ids)} cuts can be best, too many to keep for {steps.node_count} nodes"
            )
        return FoundCuts(quantities, self._members(ids))

    def _step(self, node: int, states: dict[_Key, _State]) -> dict[_Key, _State]:
        needed, holding = self._steps.needed[node], self._steps.holding[node]
        parts: dict[_Key, list[_State]] = {}
        self._spend(COMPARISONS_PER_STATE * len(states))
        for key, state in states.items():
            if not self._must_server[node] and not needed & ~key[0]:
                device_key, device_state = self._on_device(node, key, state)
                parts.setdefault(device_key, []).append(device_state)
            if self._must_device[node] or holding & key[0]:
                continue
            server_key, server_state = self._on_server(node, key, state)
            if not self._can_go_on(node, server_key[0]):
                if self._last_must_device < node:
                    self._complete(server_key, server_state)
            elif len((server_state := self._bounded(server_state)).ids):
                parts.setdefault(server_key, []).append(server_state)
        merged = {key: self._merge(states) for key, states in parts.items()}
        if sum(len(state.ids) for state in merged.values()) > self._most_cuts:
            raise TooManyCutsError(f"more than {self._most_cuts} cuts are open at once")
        return merged

    def _on_device(self, node: int, key: _Key, state: _State) -> tuple[_Key, _State]:
        steps = self._steps
        on_device, paid, held = key
        add = steps.device_add[node]
        fresh = [hold for hold in steps.holds[node] if not held & hold.bit]
        if fresh:
            add = add.copy()
            for hold in fresh:
                add[hold.column] += hold.nbytes
                held |= hold.bit
        quantities = state.quantities + add
        quantities[:, SERVER] -= steps.server_add[node, SERVER]
        quantities[:, DEVICE_RUNS] = 1
        open_bytes = state.open_bytes + steps.made_bytes[node]
        np.maximum(
            state.quantities[:, PEAK],
            state.quantities[:, RETAINED] + open_bytes,
            out=quantities[:, PEAK],
        )
        ids = np.arange(self._next_id, self._next_id + len(state.ids))
        self._log_parents.append(state.ids)
        self._log_nodes.append(node)
        self._next_id += len(state.ids)
        moved = _State(quantities, ids, open_bytes, state.least, state.holds_pure)
        return self._close(node, (on_device | steps.output_mask[node], paid, held), moved)

    def _on_server(self, node: int, key: _Key, state: _State) -> tuple[_Key, _State]:
        on_device, paid, held = key
        due = self._steps.input_mask[node] & on_device & ~paid
        quantities = state.quantities
        if due or state.holds_pure or self._steps.closing_mask[node] & on_device:
            quantities = quantities.copy()
            quantities[:, ROUND_TRIPS] = 1
            self._pay(due, quantities)
        least = self._both(state.least, self._steps.behind[node])
        moved = _State(quantities, state.ids, state.open_bytes, least)
        return self._close(node, (on_device, paid | due, held), moved)

    def _pay(self, due: int, quantities: Matrix) -> None:
        steps = self._steps
        for t in _bits(due):
            quantities[:, UPLINK] += steps.uplink[t]
            quantities[:, GRADIENT] += steps.gradient[t]
            quantities[:, CROSSING] += 1

    def _bounded(self, state: _State) -> _State:
        """Without the partial cuts that some finished cut is no worse than, whatever comes."""
        if self._bounding is None or self._front is None:
            return state
        least = state.quantities.copy()
        least[:, SERVER], least[:, RESULT] = state.least.server, state.least.result
        bound = self._bounding(least)
        self._spend(len(bound) * len(self._front))
        worse = (self._front[:, None, :] <= bound[None, :, :]).all(axis=2).any(axis=0)
        if not worse.any():
            return state
        kept = ~worse
        return _State(
            state.quantities[kept], state.ids[kept], state.open_bytes, state.least, state.holds_pure
        )

    def _both(self, least: _Least, other: _Least) -> _Least:
        """Of the nodes of either; only those that one adds are counted again."""
        added = other.doomed & ~least.doomed
        if not added:
            return least
        if not least.doomed & ~other.doomed:
            return other
        more = self._steps.least(added)
        return _Least(least.doomed | added, least.server + more.server, least.result + more.result)

    def _common(self, states: list[_State]) -> _Least:
        """Of the nodes that are doomed in all states."""
        doomed = states[0].least.doomed
        for state in states:
            doomed &= state.least.doomed
        for state in states:
            if state.least.doomed == doomed:
                return state.least
        return self._steps.least(doomed)

    def _close(self, node: int, key: _Key, state: _State) -> tuple[_Key, _State]:
        """Take what has no consumer to come out of the state; ``state`` may be changed."""
        steps = self._steps
        on_device, paid, held = key
        closing = steps.closing_mask[node]
        if closing & on_device:
            for t in steps.closing[node]:
                if on_device >> t & 1:
                    state.open_bytes -= steps.bytes[t]
                    if paid >> t & 1 or steps.is_output[t]:
                        state.quantities[:, RETAINED] += steps.bytes[t]
        return (on_device & ~closing, paid & ~closing, held & ~steps.closing_holds[node]), state

    def _can_go_on(self, node: int, on_device: int) -> bool:
        """Whether a node after this one has all that it needs on the device already.

        If none has, none can run there at all: the first that did would be such a node. (A node
        without any inputs may have it.)
        """
        steps = self._steps
        if node < self._last_without_inputs:
            return True
        for t in _bits(on_device):
            for user in reversed(steps.consumers[t]):
                if user <= node:
                    break
                if not steps.needed[user] & ~on_device and not self._must_server[user]:
                    return True
        return False

    def _complete(self, key: _Key, state: _State) -> None:
        """Everything to come on the server: every open tensor on the device crosses."""
        due = key[0] & ~key[1]
        quantities = state.quantities
        if due:
            quantities = quantities.copy()
            self._pay(due, quantities)
        self._found.append((quantities, state.ids))
        self._found_count += len(state.ids)
        if self._found_count > self._next_tidy:
            self._tidy()
            self._next_tidy = 2 * self._found_count + TIDY_AFTER

    def _tidy(self) -> None:
        quantities = np.concatenate([part for part, _ in self._found])
        ids = np.concatenate([part for _, part in self._found])
        kept = self._prune_finished(quantities)
        self._spend(self._effort(quantities, kept))
        self._found = [(quantities[kept], ids[kept])]
        self._found_count = len(kept)
        if self._bounding is not None:
            self._front = self._bounding(quantities[kept])
        if self._found_count > self._most_cuts:
            raise TooManyCutsError(f"more than {self._most_cuts} cuts can be best")

    def _prune_finished(self, quantities: Matrix) -> Rows:
        """Of finished cuts, what is retained no longer matters."""
        finished = quantities.copy()
        finished[:, RETAINED] = 0.0
        return self._prune(finished)

    def _spend(self, comparisons: int) -> None:
        self._left -= comparisons
        if self._left < 0:
            raise TooManyCutsError("the cuts that can be best take too many comparisons to tell")

    def _merge(self, states: list[_State]) -> _State:
        if len(states) == 1:
            return states[0]
        quantities = np.concatenate([state.quantities for state in states])
        kept = self._prune(quantities)
        self._spend(self._effort(quantities, kept))
        ids = np.concatenate([state.ids for state in states])
        least = self._common(states)
        holds_pure = any(state.holds_pure for state in states)
        return _State(quantities[kept], ids[kept], states[0].open_bytes, least, holds_pure)

    def _members(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(k, n) The device nodes that each id stands for, traced back through the log."""
        parents = np.concatenate(self._log_parents)
        sizes = [len(part) for part in self._log_parents]
        nodes = np.repeat(np.array(self._log_nodes), sizes)
        on_device = np.zeros((len(ids), self._steps.node_count), dtype=np.bool_)
        rows = np.arange(len(ids))
        while True:
            alive = ids > 0
            ids, rows = ids[alive], rows[alive]
            if len(ids) == 0:
                return on_device
            on_device[rows, nodes[ids]] = True
            ids = parents[ids]


def _bits(mask: int) -> Iterator[int]:
    """The positions of the bits that are set, ascending."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def _gathered(dag: CostedDag, own: list[int], *, forward: bool) -> list[int]:
    """For each node, the union of its own mask and those of all nodes that require it (forward),
    or that it requires. Masks of tied nodes are one object."""
    requirements = dag.requirements
    following = (requirements.required_by if forward else requirements.requires).to_lists()
    groups: list[int] = requirements.groups.tolist()
    members: list[list[int]] = [[] for _ in range(max(groups, default=-1) + 1)]
    for node, group in enumerate(groups):
        members[group].append(node)
    masks = [0] * len(members)
    # By the numbers of the groups, each is done after all others that its members lead to.
    for group in reversed(range(len(members))) if forward else range(len(members)):
        for node in members[group]:
            masks[group] |= own[node]
            for other in following[node]:
                masks[group] |= masks[groups[other]]
    return [masks[group] for group in groups]


def _suffix_sums(items: list[T]) -> list[T]:
    """For each position, the sum of the items from there on."""
    return list(accumulate(reversed(items)))[::-1]
