"""The costed DAG: frozen, integer-indexed arrays in topological order.

Nodes are numbered 0..n-1 in an order in which every tensor is made before it is used. A tensor is
what nodes exchange: it has one producer (a node, or -1 for a graph input, which exists on the
device) and any number of consumers. A tensor is uncuttable where its size cannot be told before
the model runs (the output of NonZero, strings, sequences); it never crosses. A parameter is data
that the model carries; it is never a tensor. Everything is counted for the batch that the model
was bound to (``model_batch``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.core.csr import Csr, Index
from app.core.requirements import Requirements, distinct_pairs, rows_of_pairs
from app.core.smashed import SmashedDtype, smashed_bytes

NO_PRODUCER = -1
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator, as the builder of a DAG states it.

    ``flops`` is a forward count. ``signature`` stands for its attributes: equal where they are.
    """

    name: str
    op_type: str
    flops: int
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor, as the builder of a DAG states it.

    ``producer`` is a node's index, or ``NO_PRODUCER`` for a graph input; ``consumers`` are node
    indices, each once. ``is_floating`` tells whether a gradient comes back for it in training. An
    uncuttable tensor has 0 ``nbytes``, as they are not known, and a ``shape`` only where that is
    known (strings have one).
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    nbytes: int
    producer: int
    consumers: tuple[int, ...]
    is_floating: bool
    is_output: bool
    is_cuttable: bool = True


@dataclass(frozen=True, slots=True)
class Parameter:
    """One distinct parameter and the nodes that use it, each once."""

    name: str
    nbytes: int
    users: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CostedDag:
    """A model as flat arrays. Shapes: n nodes, m tensors, p parameters.

    ``node_flops`` (n,) int64, FLOPs; ``tensor_bytes`` (m,) int64; ``tensor_producers`` (m,) int32;
    ``tensor_is_floating``, ``tensor_is_output``, ``tensor_is_cuttable`` (m,) bool;
    ``tensor_consumers`` m rows of node indices; ``parameter_bytes`` (p,) int64;
    ``parameter_users`` p rows of node indices. ``smashed_dtype``: what floating-point tensors are
    cast to where they cross (see ``smashed_as``); None where everything crosses as it is.
    """

    node_names: tuple[str, ...]
    node_op_types: tuple[str, ...]
    node_signatures: tuple[str, ...]
    node_flops: NDArray[np.int64]
    tensor_names: tuple[str, ...]
    tensor_shapes: tuple[tuple[int, ...] | None, ...]
    tensor_dtypes: tuple[str, ...]
    tensor_bytes: NDArray[np.int64]
    tensor_producers: Index
    tensor_is_floating: Mask
    tensor_is_output: Mask
    tensor_is_cuttable: Mask
    tensor_consumers: Csr
    parameter_names: tuple[str, ...]
    parameter_bytes: NDArray[np.int64]
    parameter_users: Csr
    model_batch: int
    smashed_dtype: SmashedDtype | None = None

    @classmethod
    def build(
        cls,
        nodes: Sequence[Node],
        tensors: Sequence[Tensor],
        parameters: Sequence[Parameter],
        model_batch: int = 1,
    ) -> "CostedDag":
        """Pack stated nodes, tensors and parameters.

        Raises ``ValueError`` where the order of the nodes is not topological, an index is out of
        range, a node's name is used twice, or a tensor's size contradicts its being cuttable.
        """
        dag = cls(
            node_names=tuple(node.name for node in nodes),
            node_op_types=tuple(node.op_type for node in nodes),
            node_signatures=tuple(node.signature for node in nodes),
            node_flops=np.array([node.flops for node in nodes], dtype=np.int64),
            tensor_names=tuple(tensor.name for tensor in tensors),
            tensor_shapes=tuple(tensor.shape for tensor in tensors),
            tensor_dtypes=tuple(tensor.dtype for tensor in tensors),
            tensor_bytes=np.array([tensor.nbytes for tensor in tensors], dtype=np.int64),
            tensor_producers=np.array([tensor.producer for tensor in tensors], dtype=np.int32),
            tensor_is_floating=np.array([tensor.is_floating for tensor in tensors], dtype=np.bool_),
            tensor_is_output=np.array([tensor.is_output for tensor in tensors], dtype=np.bool_),
            tensor_is_cuttable=np.array([tensor.is_cuttable for tensor in tensors], dtype=np.bool_),
            tensor_consumers=Csr.from_lists([tensor.consumers for tensor in tensors]),
            parameter_names=tuple(parameter.name for parameter in parameters),
            parameter_bytes=np.array([item.nbytes for item in parameters], dtype=np.int64),
            parameter_users=Csr.from_lists([parameter.users for parameter in parameters]),
            model_batch=model_batch,
        )
        dag.check()
        return dag

    def check(self) -> None:
        """Raise ``ValueError`` unless the arrays describe a DAG in topological order."""
        n = self.node_count
        if len(set(self.node_names)) != n:
            raise ValueError("node names are not distinct")
        for indices in (self.tensor_consumers.indices, self.parameter_users.indices):
            if len(indices) and not (indices.min() >= 0 and indices.max() < n):
                raise ValueError("a tensor or parameter names a node that is not there")
        producers = self.tensor_producers
        if len(producers) and not (producers.min() >= NO_PRODUCER and producers.max() < n):
            raise ValueError("a tensor names a producer that is not there")
        makers = producers[self.tensor_consumers.row_of_entry()]
        if bool((makers >= self.tensor_consumers.indices).any()):
            raise ValueError("the order of the nodes is not topological")
        for costs in (self.node_flops, self.tensor_bytes, self.parameter_bytes):
            if len(costs) and costs.min() < 0:
                raise ValueError("a cost is negative")
        if bool(self.tensor_bytes[~self.tensor_is_cuttable].any()):
            raise ValueError("an uncuttable tensor has bytes, though its size is not known")
        for shape, is_cuttable in zip(
            self.tensor_shapes, self.tensor_is_cuttable.tolist(), strict=True
        ):
            if shape is None and is_cuttable:
                raise ValueError("a cuttable tensor has no shape, though its size is known")

    @property
    def node_count(self) -> int:
        return len(self.node_names)

    @property
    def tensor_count(self) -> int:
        return len(self.tensor_names)

    @cached_property
    def total_flops(self) -> int:
        """Forward FLOPs of the whole model."""
        return int(self.node_flops.sum())

    @cached_property
    def node_index(self) -> dict[str, int]:
        """From a node's name to its index."""
        return {name: i for i, name in enumerate(self.node_names)}

    @cached_property
    def returns_gradient(self) -> Mask:
        """(m,) Which tensors get a gradient back in training: floating-point, made by a node."""
        made: Mask = self.tensor_producers != NO_PRODUCER
        return self.tensor_is_floating & made

    def smashed_as(self, dtype: SmashedDtype | None) -> "CostedDag":
        """The same DAG, with another price of crossing: floating-point tensors are cast.

        float16: 2 bytes per element. int8: quantised by the range of the tensor to 1 byte per
        element, with 5 bytes of scale and zero point. That goes for all cut tensors of float16,
        bfloat16, float32 and float64, raw graph inputs among them, and for their gradients; a
        tensor that would not get smaller crosses as it is. Nothing else changes: what is held in
        memory, what graph outputs take on their way back, and FLOPs, as casts are not counted.
        None: everything crosses as it is.
        """
        return self if dtype == self.smashed_dtype else replace(self, smashed_dtype=dtype)

    @cached_property
    def crossing_bytes(self) -> NDArray[np.int64]:
        """(m,) What each tensor, or its gradient, takes where it crosses."""
        if self.smashed_dtype is None:
            return self.tensor_bytes
        types = zip(self.tensor_shapes, self.tensor_dtypes, self.tensor_bytes.tolist(), strict=True)
        sizes = [smashed_bytes(*each, self.smashed_dtype) for each in types]
        return np.array(sizes, dtype=np.int64)

    @cached_property
    def tensor_is_cast(self) -> Mask:
        """(m,) Which tensors are cast where they cross."""
        is_cast: Mask = self.crossing_bytes < self.tensor_bytes
        return is_cast

    @cached_property
    def edges(self) -> tuple[Index, Index]:
        """Distinct (producer, consumer) pairs of nodes, as two arrays sorted by producer."""
        made, makers = self._uses_of_made
        return distinct_pairs(makers[made], self.tensor_consumers.indices[made])

    @cached_property
    def _uses_of_made(self) -> tuple[Mask, Index]:
        """For each entry of ``tensor_consumers``: whether a node made the tensor, and which."""
        makers = self.tensor_producers[self.tensor_consumers.row_of_entry()]
        return makers != NO_PRODUCER, makers

    @cached_property
    def predecessors(self) -> Csr:
        """n rows: the nodes whose tensors a node uses."""
        return self._successor_rows.inverted(self.node_count)

    @cached_property
    def successors(self) -> Csr:
        """n rows: the nodes that use a node's tensors."""
        return self._successor_rows

    @cached_property
    def _successor_rows(self) -> Csr:
        return rows_of_pairs(self.edges, self.node_count)

    @cached_property
    def requirements(self) -> Requirements:
        """Which nodes run on the device only where others do."""
        never_crosses = ~self.tensor_is_cuttable
        made, makers = self._uses_of_made
        tied = made & never_crosses[self.tensor_consumers.row_of_entry()]
        raw: Mask = self.tensor_producers == NO_PRODUCER
        return Requirements.of(
            self.edges,
            (makers[tied], self.tensor_consumers.indices[tied]),
            self.readers_of(raw & never_crosses),
        )

    def readers_of(self, tensors: Mask) -> Mask:
        """(n,) Which nodes use any of the flagged tensors; ``tensors`` (m,)."""
        uses = tensors[self.tensor_consumers.row_of_entry()]
        readers = np.zeros(self.node_count, dtype=np.bool_)
        readers[self.tensor_consumers.indices[uses]] = True
        return readers

    def is_cut(self, on_device: Mask) -> bool:
        """Whether a set of nodes is the device's side of a cut: it holds every predecessor of its
        members, and no uncuttable tensor crosses. Everything on the device always is one."""
        return self.requirements.are_met_by(on_device)

    @property
    def leaves_a_choice(self) -> bool:
        """Whether uncuttable tensors leave anything to choose; a model of which this is false is
        not worth keeping (see ``Requirements.leave_a_choice``)."""
        return self.requirements.leave_a_choice()


@dataclass(frozen=True, slots=True, eq=False)
class NodeWork:
    """What each node costs on either side: FLOPs, or measured seconds (then priced at 1).

    Shapes: ``device`` (n,), ``server`` (n,), float64.
    """

    device: NDArray[np.float64]
    server: NDArray[np.float64]

    @classmethod
    def from_flops(cls, dag: CostedDag) -> "NodeWork":
        """The same forward FLOPs on both sides."""
        flops = dag.node_flops.astype(np.float64)
        return cls(flops, flops)
