"""Blocks: the parts of a DAG between places where a single tensor connects before with after.

A place lies after node v in the topological order where (1) exactly one tensor that exists by then
is used later, (2) every node up to v is used by another one, and (3) every later node uses some
tensor. Then every later node depends on that tensor, since whatever it uses traces back across the
place, and every node up to v is an ancestor of the tensor's producer, since following uses from it
must cross the place. So a cut that puts any later node on the device has everything before on the
device: each cut lies in one block. (Where the tensor is uncuttable, none lies at the place itself.)
The same reasoning shows that the places do not depend on which topological order is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.core.dag import NO_PRODUCER, CostedDag


@dataclass(frozen=True, slots=True)
class Block:
    """Nodes ``start`` to ``stop`` (exclusive), and the tensors that connect them with the rest.

    ``input_tensor`` is None for a first block that several graph inputs feed, ``output_tensor``
    None for a last block that does not make a single graph output.
    """

    id: int
    start: int
    stop: int
    input_tensor: int | None
    output_tensor: int | None


def blocks_of(dag: CostedDag) -> tuple[Block, ...]:
    """The blocks of a DAG in order. Complexity: linear in nodes and tensor uses."""
    connectors = _connectors(dag)
    entries = np.flatnonzero(dag.tensor_producers == NO_PRODUCER)
    results = np.flatnonzero(dag.tensor_is_output & (dag.tensor_producers != NO_PRODUCER))
    blocks: list[Block] = []
    start, input_tensor = 0, _only(entries.tolist())
    for last in range(dag.node_count):
        if last == dag.node_count - 1:
            made_here = results[dag.tensor_producers[results] >= start]
            output_tensor = _only(made_here.tolist())
        elif (output_tensor := connectors[last]) is None:
            continue
        blocks.append(Block(len(blocks), start, last + 1, input_tensor, output_tensor))
        start, input_tensor = last + 1, output_tensor
    return tuple(blocks)


def kinds_of(dag: CostedDag, blocks: Sequence[Block]) -> list[int]:
    """For each block, its kind: blocks of the same structure share one, numbered as they appear.

    The structure of a block: its operators with their attributes and FLOPs, how they are wired,
    the shapes (where known) and types of what they make, and the sizes of the parameters that they
    use.
    """
    inputs, outputs = _tensors_by_node(dag)
    parameters: list[list[int]] = [[] for _ in range(dag.node_count)]
    for nbytes, users in zip(
        dag.parameter_bytes.tolist(), dag.parameter_users.to_lists(), strict=True
    ):
        for user in users:
            parameters[user].append(nbytes)
    numbers: dict[object, int] = {}
    kinds = []
    for block in blocks:
        place = {
            tensor: (node - block.start, position)
            for node in range(block.start, block.stop)
            for position, tensor in enumerate(outputs[node])
        }
        structure = tuple(
            (
                dag.node_op_types[node],
                dag.node_signatures[node],
                int(dag.node_flops[node]),
                tuple(place.get(t, ("outside", *_form(dag, t))) for t in inputs[node]),
                tuple(_form(dag, t) for t in outputs[node]),
                tuple(sorted(parameters[node])),
            )
            for node in range(block.start, block.stop)
        )
        kinds.append(numbers.setdefault(structure, len(numbers)))
    return kinds


def _tensors_by_node(dag: CostedDag) -> tuple[list[list[int]], list[list[int]]]:
    inputs: list[list[int]] = [[] for _ in range(dag.node_count)]
    outputs: list[list[int]] = [[] for _ in range(dag.node_count)]
    producers = dag.tensor_producers.tolist()
    for tensor, users in enumerate(dag.tensor_consumers.to_lists()):
        for user in users:
            inputs[user].append(tensor)
        if producers[tensor] != NO_PRODUCER:
            outputs[producers[tensor]].append(tensor)
    return inputs, outputs


def _form(dag: CostedDag, tensor: int) -> tuple[object, ...]:
    return (
        dag.tensor_shapes[tensor],
        dag.tensor_dtypes[tensor],
        bool(dag.tensor_is_cuttable[tensor]),
    )


def block_of_node(dag: CostedDag, blocks: Sequence[Block]) -> list[int]:
    """(n) For each node, the id of its block."""
    return [block.id for block in blocks for _ in range(block.start, block.stop)]


def _connectors(dag: CostedDag) -> list[int | None]:
    """For each node v, the tensor that alone connects what is up to v with what is after."""
    first = np.maximum(dag.tensor_producers, 0)
    last = np.full(dag.tensor_count, -1, dtype=np.int64)
    np.maximum.at(last, dag.tensor_consumers.row_of_entry(), dag.tensor_consumers.indices)
    spans = last > first
    # A graph input exists before the first node, so it spans every place up to its last use.
    open_change = np.zeros(dag.node_count + 1, dtype=np.int64)
    label_change = np.zeros(dag.node_count + 1, dtype=np.int64)
    for change, amount in ((open_change, 1), (label_change, np.flatnonzero(spans))):
        np.add.at(change, first[spans], amount)
        np.subtract.at(change, last[spans], amount)
    is_used = np.diff(dag.successors.offsets) > 0
    all_used = np.logical_and.accumulate(is_used)
    uses_some = np.zeros(dag.node_count, dtype=np.bool_)
    uses_some[dag.tensor_consumers.indices] = True
    # Whether all nodes from each on use some tensor; a place asks it of those after it.
    all_fed = np.append(np.logical_and.accumulate(uses_some[::-1])[::-1], True)[1:]
    single = (np.cumsum(open_change)[:-1] == 1) & all_used & all_fed
    labels = np.cumsum(label_change)[:-1]
    return [int(label) if one else None for one, label in zip(single, labels, strict=True)]


def _only(items: Sequence[int]) -> int | None:
    return items[0] if len(items) == 1 else None
