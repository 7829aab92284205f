"""DAGs written down by hand, and DAGs as networkx sees them."""

from collections.abc import Sequence

import networkx as nx

from app.core.dag import NO_PRODUCER, CostedDag, Node, Parameter, Tensor

FLOPS = 100
NBYTES = 10


def hand_made(
    wires: str,
    outputs: str = "",
    parameters: Sequence[tuple[str, int, str]] = (),
    uncuttable: str = "",
) -> CostedDag:
    """A DAG from lines such as ``x,h -> add -> y``: tensors read, node, tensors made.

    Tensors that no line makes are graph inputs. Every node has 100 FLOPs and every tensor 10 bytes,
    but for the uncuttable ones. ``parameters`` lists name, bytes and users.
    """
    lines = [[part.strip() for part in line.split("->")] for line in wires.strip().splitlines()]
    index = {name: i for i, (_, name, _) in enumerate(lines)}
    reads = [[name for name in part.split(",") if name] for part, _, _ in lines]
    makes = [[name for name in part.split(",") if name] for _, _, part in lines]
    made = {name: i for i, names in enumerate(makes) for name in names}
    named = dict.fromkeys(
        [name for names in reads for name in names if name not in made] + list(made)
    )
    tensors = [
        Tensor(
            name,
            None if name in uncuttable.split() else (),
            "x",
            0 if name in uncuttable.split() else NBYTES,
            made.get(name, NO_PRODUCER),
            tuple(i for i, names in enumerate(reads) if name in names),
            True,
            name in outputs.split(),
            name not in uncuttable.split(),
        )
        for name in named
    ]
    held = [
        Parameter(name, nbytes, tuple(index[user] for user in users.split()))
        for name, nbytes, users in parameters
    ]
    return CostedDag.build([Node(name, "Op", FLOPS) for name in index], tensors, held)


def digraph(dag: CostedDag) -> "nx.DiGraph[tuple[str, int]]":
    """Nodes ``("node", i)`` and tensors ``("tensor", t)``, joined as data flow."""
    graph: nx.DiGraph[tuple[str, int]] = nx.DiGraph()
    graph.add_nodes_from(("node", i) for i in range(dag.node_count))
    for t, users in enumerate(dag.tensor_consumers.to_lists()):
        graph.add_node(("tensor", t))
        if dag.tensor_producers[t] != NO_PRODUCER:
            graph.add_edge(("node", int(dag.tensor_producers[t])), ("tensor", t))
        graph.add_edges_from((("tensor", t), ("node", user)) for user in users)
    return graph


def nodes_of(vertices: "set[tuple[str, int]]") -> frozenset[int]:
    """The nodes among vertices of ``digraph``."""
    return frozenset(i for kind, i in vertices if kind == "node")


def reordered(dag: CostedDag, order: Sequence[int]) -> CostedDag:
    """The same DAG with its nodes in another topological order."""
    place = {old: new for new, old in enumerate(order)}
    nodes = [Node(dag.node_names[i], dag.node_op_types[i], int(dag.node_flops[i])) for i in order]
    tensors = [
        Tensor(
            dag.tensor_names[t],
            dag.tensor_shapes[t],
            dag.tensor_dtypes[t],
            int(dag.tensor_bytes[t]),
            place.get(int(dag.tensor_producers[t]), NO_PRODUCER),
            tuple(sorted(place[user] for user in users)),
            bool(dag.tensor_is_floating[t]),
            bool(dag.tensor_is_output[t]),
            bool(dag.tensor_is_cuttable[t]),
        )
        for t, users in enumerate(dag.tensor_consumers.to_lists())
    ]
    parameters = [
        Parameter(
            dag.parameter_names[p],
            int(dag.parameter_bytes[p]),
            tuple(sorted(place[user] for user in users)),
        )
        for p, users in enumerate(dag.parameter_users.to_lists())
    ]
    return CostedDag.build(nodes, tensors, parameters, dag.model_batch)
