"""What a calibration found."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.calibration.machine import Machine


@dataclass(frozen=True, slots=True)
class NodeTime:
    """A node of the costed DAG, and the seconds that it takes of a run of the whole model."""

    name: str
    op_type: str
    flops: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OpTypeTime:
    """All nodes of an operator together."""

    op_type: str
    nodes: int
    flops: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured seconds of a model on a machine, for one batch of ``model_batch`` samples.

    ``nodes``: in topological order; their seconds sum to ``whole_s``, the median of ``runs`` runs.
    ``spread``: (p90 - p10) / median of these. ``run_overhead_s``: how much
    longer a run takes after a pause, in which caches grow cold; 0 of models so slow that it does
    not matter. ``profiled_runs``: how many runs the shares of the nodes come from. ``agreement``:
    what the kernels sum to before they are scaled, less what the profiler adds itself, over the
    time of the whole, either in the fastest run, which others on the machine disturbed least;
    ``raw_agreement``: the same as the profiler tells it. ``has_made_up_weights``: whether the file
    lacked any.
    """

    machine: Machine
    threads: int
    model_batch: int
    nodes: tuple[NodeTime, ...]
    whole_s: float
    spread: float
    runs: int
    run_overhead_s: float
    profiled_runs: int
    agreement: float
    raw_agreement: float
    has_made_up_weights: bool

    @property
    def flops(self) -> int:
        """Forward FLOPs of the model."""
        return sum(node.flops for node in self.nodes)

    @property
    def flops_per_s(self) -> float:
        """What the machine sustains on this model: all FLOPs over the time of the whole."""
        return self.flops / self.whole_s

    def as_profile_model(self, model_id: str) -> dict[str, Any]:
        """As an entry of ``models`` in the body of ``POST /profiles``."""
        return {
            "model_id": model_id,
            "flops_per_s": self.flops_per_s,
            "whole_s": self.whole_s,
            "spread": self.spread,
            "runs": self.runs,
            "run_overhead_s": self.run_overhead_s,
            "node_seconds": {node.name: node.seconds for node in self.nodes},
        }

    def slowest(self, count: int) -> list[NodeTime]:
        """The nodes that take most, the slowest first."""
        return sorted(self.nodes, key=lambda node: node.seconds, reverse=True)[:count]

    def by_op_type(self) -> list[OpTypeTime]:
        """The operators, the one that takes most first."""
        groups: dict[str, list[NodeTime]] = {}
        for node in self.nodes:
            groups.setdefault(node.op_type, []).append(node)
        found = [_together(op_type, nodes) for op_type, nodes in groups.items()]
        return sorted(found, key=lambda item: item.seconds, reverse=True)


def _together(op_type: str, nodes: Iterable[NodeTime]) -> OpTypeTime:
    members = list(nodes)
    return OpTypeTime(
        op_type,
        len(members),
        sum(node.flops for node in members),
        sum(node.seconds for node in members),
    )
