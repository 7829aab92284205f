"""Which nodes of a graph run, and which only prepare parameters.

A node that depends on no graph input gives the same result every time, so it is folded: it costs
nothing per round, and what it makes is part of the model. Unless it draws at random: then it runs,
and whoever needs what it drew needs that. A node that no graph output depends on is dead, and
dropped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from onnx import NodeProto

from app.ingest.captures import used_names, with_inner

GENERATORS = frozenset(
    {
        "ConstantOfShape",
        "Expand",
        "EyeLike",
        "Range",
        "Tile",
    }
)
"""Operators whose output holds more than their inputs do: what they make is itself the data."""

RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Operators that draw at random."""


@dataclass(slots=True)
class FoldedGraph:
    """The live part of a graph.

    ``nodes``: those that run, in topological order. ``sources``: for each folded value that they
    may read, the names of the data that it is made from: weights, or the outputs of generators.
    """

    nodes: list[NodeProto] = field(default_factory=list)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def parameters_of(self, node: NodeProto) -> list[str]:
        """The distinct data that a node uses, directly or through folded nodes."""
        names = (source for name in used_names(node) for source in self.sources.get(name, ()))
        return list(dict.fromkeys(names))


def fold(
    nodes: Sequence[NodeProto], constants: Iterable[str], outputs: Iterable[str]
) -> FoldedGraph:
    """Fold what depends on no graph input, and drop what no output depends on.

    ``nodes`` stand in topological order; ``constants``: names of weights. Two values made from one
    weight (a tied embedding and its transpose, say) have that weight as their common source, so it
    is counted once.
    """
    folded = FoldedGraph(sources={name: (name,) for name in constants})
    running = []
    for node in nodes:
        names = used_names(node)
        if any(name not in folded.sources for name in names) or _draws(node):
            running.append(node)
            continue
        for output in filter(None, node.output):
            if node.op_type in GENERATORS or not names:
                folded.sources[output] = (output,)
            else:
                sources = (source for name in names for source in folded.sources[name])
                folded.sources[output] = tuple(dict.fromkeys(sources))
    folded.nodes = _live(running, outputs)
    return folded


def _draws(node: NodeProto) -> bool:
    return any(inner.op_type in RANDOM for inner in with_inner([node]))


def _live(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    needed = set(outputs)
    live = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            live.append(node)
            needed.update(used_names(node))
    return live[::-1]
