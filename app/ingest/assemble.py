"""The costed DAG of a folded graph whose shapes are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from numpy.typing import NDArray
from onnx import NodeProto

from app.core.dag import NO_PRODUCER, CostedDag, Node, Parameter, Tensor
from app.errors import InvalidModelError, UnknownShapeError
from app.ingest.attributes import attributes_of, signature_of
from app.ingest.captures import used_names
from app.ingest.element_types import ELEMENT_TYPES
from app.ingest.folding import FoldedGraph
from app.ingest.op_costs import InvalidNode, NodeView, TensorView, UnknownShape, flops_of
from app.ingest.operators import AI_ONNX, domain_of, qualified_type
from app.ingest.shapes import ValueType
from app.ingest.weights import Weight

LARGEST_COUNT = 2**62
"""Sums of bytes or FLOPs stay below 64-bit integers."""
LISTED = 5
"""How many offenders a message names."""


@dataclass(slots=True)
class Assembly:
    """What the DAG is made from, and the notes taken on the way.

    ``constants``: the values of small weights, on which FLOPs may hang (the axis of a DFT).
    ``estimated``: FLOPs by operator type where output elements stand in for an entry.
    """

    folded: FoldedGraph
    types: Mapping[str, ValueType]
    weights: Mapping[str, Weight]
    inputs: Sequence[str]
    outputs: Sequence[str]
    opsets: Mapping[str, int]
    constants: Mapping[str, NDArray[Any]]
    estimated: dict[str, int] = field(default_factory=dict)

    def dag(self, model_batch: int) -> CostedDag:
        """Assemble the DAG.

        Raises ``UnknownShapeError`` naming the first tensors whose size cannot be told, or
        ``InvalidModelError`` where a count leaves 64 bits.
        """
        names = _unique_names(self.folded.nodes)
        tensors = self._tensors()
        used = {tensor.name for tensor in tensors}
        nodes = [
            Node(name, qualified_type(node), self._flops(node, used), signature_of(node))
            for name, node in zip(names, self.folded.nodes, strict=True)
        ]
        parameters = self._parameters()
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
        outputs = set(self.outputs)
        used = [
            name
            for name in producers
            if consumers[name] or name in outputs or producers[name] == NO_PRODUCER
        ]
        self._require_sizes(used, producers)
        return [self._tensor(name, producers[name], consumers[name], outputs) for name in used]

    def _tensor(
        self, name: str, producer: int, consumers: Sequence[int], outputs: set[str]
    ) -> Tensor:
        element_type = ELEMENT_TYPES[self.types[name].dtype]
        shape = self._shape(name)
        return Tensor(
            name=name,
            shape=shape,
            dtype=element_type.name,
            nbytes=element_type.nbytes(prod(shape)),
            producer=producer,
            consumers=tuple(consumers),
            is_floating=element_type.is_floating,
            is_output=name in outputs,
        )

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.types[name].shape
        assert shape is not None, name
        return shape

    def _require_sizes(self, names: Sequence[str], producers: Mapping[str, int]) -> None:
        unknown = [name for name in names if not self._has_size(name)]
        if not unknown:
            return
        places = []
        for name in unknown[:LISTED]:
            is_input = producers[name] == NO_PRODUCER
            nodes = self.folded.nodes
            origin = (
                "a graph input" if is_input else f"made by {qualified_type(nodes[producers[name]])}"
            )
            places.append(f"{name!r} ({origin})")
        rest = f" and {len(unknown) - LISTED} more" if len(unknown) > LISTED else ""
        raise UnknownShapeError(
            f"the size of these tensors cannot be told: {', '.join(places)}{rest}; export the "
            "model with static shapes, bind more dimensions in dims, or store the missing shapes "
            "as value_info"
        )

    def _has_size(self, name: str) -> bool:
        value_type = self.types.get(name)
        return (
            value_type is not None
            and value_type.shape is not None
            and value_type.dtype in ELEMENT_TYPES
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
        self._require_sizes([name], {name: NO_PRODUCER})
        return ELEMENT_TYPES[self.types[name].dtype].nbytes(prod(self._shape(name)))

    def _flops(self, node: NodeProto, used: set[str]) -> int:
        domain = domain_of(node)
        view = NodeView(
            domain="" if domain == AI_ONNX else domain,
            op_type=node.op_type,
            inputs=tuple(self._view(name) for name in node.input),
            # An output of unknown size that nobody uses is as good as left out.
            outputs=tuple(
                self._view(name) if name in used or self._has_size(name) else None
                for name in node.output
            ),
            attributes=attributes_of(node),
            opset=self.opsets.get(domain, 0),
        )
        try:
            cost = flops_of(view)
        except UnknownShape as error:
            names = node.input if error.side == "input" else node.output
            name = names[error.index] if error.index < len(names) else ""
            if not name:
                raise InvalidModelError(
                    f"node {node.name!r} ({node.op_type}) lacks its {error.side} {error.index}"
                ) from error
            raise UnknownShapeError(
                f"the FLOPs of node {node.name!r} ({node.op_type}) hang on the {error.what} of "
                f"tensor {name!r}, which cannot be told"
            ) from error
        except InvalidNode as error:
            raise InvalidModelError(f"node {node.name!r} breaks its operator: {error}") from error
        if cost.basis == "output_elements":
            op_type = qualified_type(node)
            self.estimated[op_type] = self.estimated.get(op_type, 0) + cost.flops
        return cost.flops

    def _view(self, name: str) -> TensorView | None:
        if not name:
            return None
        value_type = self.types.get(name)
        if value_type is None:
            return TensorView(None, 0)
        return TensorView(value_type.shape, value_type.dtype, self.constants.get(name))


def _unique_names(nodes: Sequence[NodeProto]) -> list[str]:
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
