"""The weights of bodies (of If, Loop and Scan) move to the main graph, as captured tensors.

There they are counted and stripped as all others are. What is small, inside the file and not to
be told from an argument stays in its body, where shapes may depend on it, and is counted as data
that the node carries.
"""

from collections import Counter
from collections.abc import Iterator
from math import prod

from onnx import GraphProto, SparseTensorProto, TensorProto, helper

from app.ingest.captures import bodies, definitions
from app.ingest.constants import (
    ARGUMENT_BYTES,
    ARGUMENT_TYPES,
    SMALL_BYTES,
    constant_tensor,
    sparse_constant,
)
from app.ingest.element_types import ELEMENT_TYPES
from app.ingest.left_out import is_external


def hoist_body_weights(main: GraphProto) -> None:
    """Move the weights of all bodies into the main graph's initializers, in place.

    One whose name is defined elsewhere, too (both branches of an If may have a ``w``), gets a
    fresh name.
    """
    taken = Counter(_all_definitions(main))
    for node in main.node:
        for body in bodies(node):
            _hoist(body, main, taken)


def _hoist(graph: GraphProto, main: GraphProto, taken: Counter[str]) -> None:
    for node in graph.node:
        for body in bodies(node):
            _hoist(body, main, taken)
    dense, sparse = _take_weights(graph)
    inputs = {value.name for value in graph.input}
    outputs = dict.fromkeys(value.name for value in graph.output)
    moved: dict[str, str] = {}
    for holder in [*dense, *(item.values for item in sparse)]:
        # One that is a default value of the body's own input has no use: a value always arrives.
        if holder.name not in inputs:
            fresh = _fresh(holder.name, taken, holder.name in outputs)
            moved[holder.name] = holder.name = fresh
    main.initializer.extend(tensor for tensor in dense if tensor.name not in inputs)
    main.sparse_initializer.extend(item for item in sparse if item.values.name not in inputs)
    _rename_uses(graph, moved)
    made = [
        helper.make_node("Identity", [moved[name]], [name]) for name in outputs if name in moved
    ]
    nodes = [*made, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _take_weights(graph: GraphProto) -> tuple[list[TensorProto], list[SparseTensorProto]]:
    """Remove what is large or external from a graph; what it was."""
    dense = [tensor for tensor in graph.initializer if _is_weight(tensor)]
    small = [tensor for tensor in graph.initializer if not _is_weight(tensor)]
    sparse = list(graph.sparse_initializer)
    nodes = []
    for node in graph.node:
        tensor, sparse_tensor = constant_tensor(node), sparse_constant(node)
        if tensor is not None and _is_weight(tensor):
            dense.append(tensor)
        elif sparse_tensor is not None:
            sparse.append(sparse_tensor)
        else:
            nodes.append(node)
    del graph.initializer[:]
    del graph.sparse_initializer[:]
    del graph.node[:]
    graph.initializer.extend(small)
    graph.node.extend(nodes)
    return dense, sparse


def _is_weight(tensor: TensorProto) -> bool:
    """Whether a tensor is large, lies elsewhere, or will once the file is stripped of its weights
    (``app.ingest.stripping``), with which it has to be the same model."""
    if is_external(tensor) or tensor.ByteSize() > SMALL_BYTES:
        return True
    known = ELEMENT_TYPES.get(tensor.data_type)
    nbytes = known.nbytes(prod(tensor.dims)) if known else 0
    return nbytes > ARGUMENT_BYTES and tensor.data_type not in ARGUMENT_TYPES


def _fresh(name: str, taken: Counter[str], is_output: bool) -> str:
    """The name itself where nothing else bears it (an Identity node will make an output)."""
    if taken[name] == 1 and not is_output:
        return name
    # The count of a name goes on where it ended, so that many of one name stay cheap.
    while True:
        taken[name] += 1
        fresh = f"{name}_{taken[name]}"
        if not taken[fresh]:
            taken[fresh] = 1
            return fresh


def _rename_uses(graph: GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in names:
                node.input[position] = names[name]
        for body in bodies(node):
            own = set(definitions(body))
            _rename_uses(body, {old: new for old, new in names.items() if old not in own})


def _all_definitions(graph: GraphProto) -> Iterator[str]:
    yield from definitions(graph)
    for node in graph.node:
        for body in bodies(node):
            yield from _all_definitions(body)
