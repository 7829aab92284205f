"""The costed DAG of a folded graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from app.core.dag import NO_PRODUCER, CostedDag, Node, Parameter, Tensor
from app.errors import InvalidModelError
from app.ingest.attributes import signature_of
from app.ingest.captures import used_names
from app.ingest.costing import Costing
from app.ingest.folding import FoldedGraph
from app.ingest.operators import qualified_type
from app.ingest.shapes import InferredGraph, body_key
from app.ingest.weights import Weight

LARGEST_COUNT = 2**62
"""Sums of bytes or FLOPs stay below 64-bit integers."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """What the DAG is made from.

    ``inputs``, ``outputs``: names of graph inputs (without parameters) and graph outputs.
    ``carried``: bytes of the data that nodes carry themselves, by ``body_key`` of the node.
    """

    inferred: InferredGraph
    folded: FoldedGraph
    weights: Mapping[str, Weight]
    carried: Mapping[str, Mapping[str, int]]
    inputs: Sequence[str]
    costing: Costing

    def dag(self, model_batch: int) -> CostedDag:
        """Assemble the DAG. Raises ``InvalidModelError`` where a count leaves 64 bits."""
        names = unique_names(self.folded.nodes)
        constants = set(self.folded.sources)
        flops = [self.costing.flops(node, constants) for node in self.folded.nodes]
        nodes = [
            Node(name, qualified_type(node), count, signature_of(node))
            for name, node, count in zip(names, self.folded.nodes, flops, strict=True)
        ]
        tensors = self._tensors()
        parameters = [*self._parameters(), *self._carried_parameters(names)]
        totals = (
            sum(node.flops for node in nodes),
            sum(tensor.nbytes for tensor in tensors),
            sum(parameter.nbytes for parameter in parameters),
        )
        if max(totals) > LARGEST_COUNT:
            raise InvalidModelError(
                "the model's FLOPs or bytes leave the range of 64-bit integers; check its "
                "dimensions"
            )
        return CostedDag.build(nodes, tensors, parameters, model_batch)

    def _tensors(self) -> list[Tensor]:
        nodes = self.folded.nodes
        producers = dict.fromkeys(self.inputs, NO_PRODUCER)
        for index, node in enumerate(nodes):
            producers.update((name, index) for name in node.output if name)
        consumers: dict[str, list[int]] = {name: [] for name in producers}
        for index, node in enumerate(nodes):
            for name in used_names(node):
                if name in consumers:
                    consumers[name].append(index)
        outputs = set(self.inferred.outputs)
        return [
            self._tensor(name, producer, consumers[name], name in outputs)
            for name, producer in producers.items()
            if consumers[name] or name in outputs or producer == NO_PRODUCER
        ]

    def _tensor(
        self, name: str, producer: int, consumers: Sequence[int], is_output: bool
    ) -> Tensor:
        known = self.inferred.type_of(name)
        return Tensor(
            name=name,
            shape=known.shape,
            dtype=known.dtype_name,
            nbytes=known.nbytes or 0,
            producer=producer,
            consumers=tuple(consumers),
            is_floating=known.is_floating,
            is_output=is_output,
            is_cuttable=known.nbytes is not None,
        )

    def _parameters(self) -> list[Parameter]:
        users: dict[str, list[int]] = {}
        for index, node in enumerate(self.folded.nodes):
            for source in self.folded.parameters_of(node):
                users.setdefault(source, []).append(index)
        return [
            Parameter(name, self._parameter_bytes(name), tuple(indices))
            for name, indices in users.items()
        ]

    def _parameter_bytes(self, name: str) -> int:
        if name in self.weights:
            return self.weights[name].nbytes
        nbytes = self.inferred.type_of(name).nbytes
        if nbytes is None:
            self.costing.notes.unsized_parameters.append(name)
        return nbytes or 0

    def _carried_parameters(self, names: Sequence[str]) -> list[Parameter]:
        return [
            Parameter(f"{name}/{label}", nbytes, (index,))
            for index, (name, node) in enumerate(zip(names, self.folded.nodes, strict=True))
            for label, nbytes in self.carried.get(body_key(node), {}).items()
        ]


def unique_names(nodes: Sequence[NodeProto]) -> list[str]:
    """Each node's own name where it is the first to bear it, else one made from type and place."""
    taken = {node.name for node in nodes if node.name}
    given: set[str] = set()
    names = []
    for index, node in enumerate(nodes):
        name = node.name
        if not name or name in given:
            stem = f"{node.name or node.op_type}_{index}"
            name = stem
            while name in taken or name in given:
                name += "_"
        given.add(name)
        names.append(name)
    return names
