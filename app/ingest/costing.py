"""FLOPs of nodes, those with bodies included."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from math import prod

from onnx import NodeProto

from app.errors import InvalidModelError
from app.ingest.attributes import attributes_of
from app.ingest.bodies import is_control_flow
from app.ingest.folding import fold
from app.ingest.notes import Notes
from app.ingest.op_costs import InvalidNode, NodeView, TensorView, UnknownShape, flops_of
from app.ingest.operators import domain_of, qualified_type, schema_domain
from app.ingest.shapes import InferredGraph, body_key


@dataclass(frozen=True, slots=True)
class Costing:
    """Counts the FLOPs of one graph's nodes.

    ``opsets``: versions by domain. ``runs``: how often this graph runs within one run of the
    model, for the notes.
    """

    graph: InferredGraph
    opsets: Mapping[str, int]
    notes: Notes
    runs: int = 1

    def flops(self, node: NodeProto, constants: Set[str]) -> int:
        """Forward FLOPs of a node; ``constants``: names that no graph input has a part in.

        Raises ``InvalidModelError`` where the node contradicts its operator.
        """
        if body_key(node) in self.graph.bodies:
            return self._with_bodies(node, constants)
        view = self._view_of(node)
        try:
            cost = flops_of(view)
        except UnknownShape as error:
            names = node.input if error.side == "input" else node.output
            if error.index >= len(names) or not names[error.index]:
                raise InvalidModelError(
                    f"node {node.name!r} ({node.op_type}) lacks its {error.side} {error.index}"
                ) from error
            return self._guess(node)
        except InvalidNode as error:
            raise InvalidModelError(f"node {node.name!r} breaks its operator: {error}") from error
        if cost.basis == "output_elements":
            self.notes.by_elements[qualified_type(node)] += cost.flops * self.runs
        return cost.flops

    def _with_bodies(self, node: NodeProto, constants: Set[str]) -> int:
        """An If costs its dearest branch; what loops costs its body as often as it runs."""
        costs = []
        unknown = False
        for inputs, body in self.graph.bodies[body_key(node)]:
            trips = 1 if inputs.trips is None else inputs.trips
            unknown = unknown or inputs.trips is None
            inner = replace(self, graph=body, runs=self.runs * trips)
            costs.append(trips * inner.total(constants, inputs.types.keys()))
        is_choice = is_control_flow(node) and node.op_type == "If"
        flops = max(costs) if is_choice else sum(costs)
        if unknown:
            self.notes.counted_once[qualified_type(node)] += 1
            self.notes.once_flops += flops * self.runs
        return flops

    def total(self, outer_constants: Set[str], own_inputs: Set[str]) -> int:
        """FLOPs of a body's live nodes, those that hang on constants alone not counted."""
        graph = self.graph
        # Only those that it reads, as each of many bodies may see a great many.
        captured = {
            name for name in graph.used if name in outer_constants and name not in own_inputs
        }
        folded = fold(graph.nodes, captured | graph.constants, graph.outputs)
        constants = set(folded.sources)
        return sum(self.flops(node, constants) for node in folded.nodes)

    def _guess(self, node: NodeProto) -> int:
        shapes = (self.graph.type_of(name).shape for name in node.output if name)
        flops = sum(prod(shape) for shape in shapes if shape is not None)
        self.notes.by_guess[qualified_type(node)] += 1
        self.notes.guessed_flops += flops * self.runs
        return flops

    def _view_of(self, node: NodeProto) -> NodeView:
        return NodeView(
            domain=schema_domain(node),
            op_type=node.op_type,
            inputs=tuple(self._tensor(name) for name in node.input),
            # An output of unknown size that nobody uses is as good as left out.
            outputs=tuple(
                self._tensor(name)
                if name in self.graph.used or self.graph.type_of(name).shape is not None
                else None
                for name in node.output
            ),
            attributes=attributes_of(node),
            opset=self.opsets.get(domain_of(node), 0),
        )

    def _tensor(self, name: str) -> TensorView | None:
        if not name:
            return None
        known = self.graph.type_of(name)
        return TensorView(known.shape, known.dtype, self.graph.values.get(name))
