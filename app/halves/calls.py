"""Calls of model-local functions, put back where the cut does not go through them.

The DAG is made of a graph in which every call is replaced by what it does. A half says the same in
fewer words, and as the file says it, where all that a call does runs on its side.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import FunctionProto, NodeProto

from app.halves.division import Side
from app.ingest import DissectedModel
from app.ingest.captures import bodies, used_names, with_inner
from app.ingest.inlining import Key, call_key, function_key


@dataclass(frozen=True, slots=True, eq=False)
class _Site:
    """A node of the file, and the places in the flat graph of the nodes that it became."""

    node: NodeProto
    members: frozenset[int]


def with_calls(
    model: DissectedModel,
    chosen: Sequence[int],
    given: frozenset[str],
    side_of: Mapping[str, Side],
    side: Side,
) -> list[NodeProto]:
    """The nodes of a half, in no particular order.

    ``chosen``: places of its nodes in the flat graph. ``given``: what the half has without nodes.
    A call is put back where none of its nodes runs on the other side, and the half has all that it
    reads, be it read in vain.
    """
    nodes = model.flat.graph.node
    here = set(chosen)
    at_hand = given.union(*(nodes[index].output for index in chosen))
    found: list[NodeProto] = []
    for site in _sites(model):
        if (
            here & site.members
            and at_hand.issuperset(used_names(site.node))
            and not any(
                side_of.get(name, side) is not side
                for index in site.members
                for name in nodes[index].output
            )
        ):
            found.append(site.node)
            here -= site.members
    return [*found, *(nodes[index] for index in sorted(here))]


def functions_of(model: DissectedModel, nodes: Sequence[NodeProto]) -> list[FunctionProto]:
    """The functions that nodes call, directly or by way of others, in the file's order."""
    functions = {function_key(function): function for function in model.original.functions}
    needed: set[Key] = set()
    waiting = [call_key(node) for node in with_inner(nodes)]
    while waiting:
        key = waiting.pop()
        if key in functions and key not in needed:
            needed.add(key)
            waiting.extend(call_key(node) for node in with_inner(functions[key].node))
    return [function for key, function in functions.items() if key in needed]


def _sites(model: DissectedModel) -> Iterator[_Site]:
    """The nodes of the file that call functions, or have bodies that do.

    None where the places cannot be told: a function of other operator sets than the model's was
    converted, and that makes other nodes of some.
    """
    functions = {function_key(function): function for function in model.original.functions}
    if not functions:
        return
    counts = _counts(functions)
    nodes = model.original.graph.node
    if sum(counts.get(call_key(node), 1) for node in nodes) != len(model.places):
        return
    sorted_places = {
        name: index for index, node in enumerate(model.flat.graph.node) for name in node.output
    }
    start = 0
    for node in nodes:
        end = start + counts.get(call_key(node), 1)
        makes = (next(filter(None, place), None) for place in model.places[start:end])
        members = frozenset(sorted_places[name] for name in makes if name)
        start = end
        if call_key(node) in functions or _calls_inside(node, functions):
            yield _Site(node, members)


def _calls_inside(node: NodeProto, functions: Mapping[Key, FunctionProto]) -> bool:
    inner = (each for body in bodies(node) for each in with_inner(body.node))
    return any(call_key(each) in functions for each in inner)


def _counts(functions: Mapping[Key, FunctionProto]) -> dict[Key, int]:
    """How many nodes a call of each function becomes; no function calls itself (it was inlined)."""
    counts: dict[Key, int] = {}

    def count(key: Key) -> int:
        if key not in counts:
            keys = (call_key(node) for node in functions[key].node)
            counts[key] = sum(count(inner) if inner in functions else 1 for inner in keys)
        return counts[key]

    for key in functions:
        count(key)
    return counts
