"""Which nodes of the model each kernel stands for.

ONNX Runtime fuses nodes, folds constants, and adds nodes of its own: changes of layout, casts, flat
views for a product. Labels (``app.calibration.labels``) tell much, but not all: of a fused node
they name some of the nodes that it replaces, and of an added one often none. The rest follows from
the two graphs:

1. A kernel does the nodes in its label, and those whose outputs it makes by their own names.
2. A node that no kernel names, and that runtimes put behind another one (an activation, a sum, a
   quantisation), belongs to the kernel before it where that one's output has no name of the model's
   own: it ends somewhere behind the node that names it.
3. Any other node that no kernel names was fused into what reads its output, or is dropped without
   a trace; it belongs to the kernels of its readers.
4. A kernel without any node of the DAG serves the kernels that read what it makes; if nothing
   reads it, those whose work it reads.

Nodes whose outputs have become weights were folded, and belong to no kernel.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from onnx import GraphProto, NodeProto

from app.calibration.labels import makers_in, places_in
from app.ingest.captures import used_names

Places = frozenset[int]

_BEHIND_OTHERS = frozenset(
    {
        *("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"),
        *("Add", "Sum", "Identity", "Dropout", "Cast"),
        "QuantizeLinear",
    }
)
"""What runtimes fuse into the node before. All of it is cheap beside what goes before it."""


def groups_of(
    labelled: GraphProto, optimised: GraphProto, counted: Collection[int]
) -> list[Places]:
    """For each node of the optimised graph, in its order, the places of the nodes that it stands
    for, among ``counted``, those of the DAG. None at all only if nothing that is counted is near.

    ``labelled``: the model's graph, its nodes in topological order.
    """
    nodes, kernels = labelled.node, optimised.node
    weights = {tensor.name for tensor in optimised.initializer}
    folded = [place for place, node in enumerate(nodes) if weights.intersection(node.output)]
    homes: dict[int, set[int]] = {place: set() for place in folded}
    named = [_named_by(kernel) for kernel in kernels]
    for index, places in enumerate(named):
        for place in places:
            homes.setdefault(place, set()).add(index)
    _settle(homes, nodes, kernels, named)
    own: list[set[int]] = [set() for _ in kernels]
    for place in counted:
        for index in homes[place]:
            own[index].add(place)
    return _with_helpers(kernels, own)


def _named_by(kernel: NodeProto) -> set[int]:
    return places_in(kernel.name).union(*map(places_in, kernel.output))


def _settle(
    homes: dict[int, set[int]],
    nodes: Sequence[NodeProto],
    kernels: Sequence[NodeProto],
    named: Sequence[set[int]],
) -> None:
    """Find the kernels of the nodes that have none yet; ``homes``: the kernels of each node."""
    flow = _Flow.of(nodes)
    is_open = [
        bool(places) and not any(map(makers_in, kernel.output))
        for kernel, places in zip(kernels, named, strict=True)
    ]
    for place, node in enumerate(nodes):
        if place not in homes and node.op_type in _BEHIND_OTHERS:
            before = set().union(*(homes.get(maker, ()) for maker in flow.before[place]))
            # Of a sum's operands, the one that is computed last is at hand when it is added.
            last = max(before, default=None)
            if last is not None and is_open[last]:
                homes[place] = {last}
    for place in reversed(range(len(nodes))):
        if place not in homes:
            homes[place] = set().union(*(homes[reader] for reader in flow.behind[place]))


def _with_helpers(kernels: Sequence[NodeProto], own: Sequence[Iterable[int]]) -> list[Places]:
    """The same, with a group for the kernels that have none of their own."""
    groups = [frozenset(places) for places in own]
    flow = _Flow.of(kernels)
    # Kernels stand in topological order, so that those further on are settled first.
    for index in reversed(range(len(kernels))):
        if not groups[index]:
            groups[index] = frozenset().union(*(groups[reader] for reader in flow.behind[index]))
    for index in range(len(kernels)):
        if not groups[index]:
            groups[index] = frozenset().union(*(groups[maker] for maker in flow.before[index]))
    return groups


@dataclass(frozen=True, slots=True)
class _Flow:
    """For each node of a sequence those whose outputs it reads, and those that read its outputs."""

    before: Sequence[Places]
    behind: Sequence[Places]

    @classmethod
    def of(cls, nodes: Sequence[NodeProto]) -> "_Flow":
        makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
        before = [_makers_of(node, makers) for node in nodes]
        behind: list[set[int]] = [set() for _ in nodes]
        for place, needs in enumerate(before):
            for need in needs:
                behind[need].add(place)
        return cls(before, [frozenset(places) for places in behind])


def _makers_of(node: NodeProto, makers: Mapping[str, int]) -> Places:
    return frozenset(makers[name] for name in used_names(node) if name in makers)
