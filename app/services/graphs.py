"""A costed DAG in networkx's formats.

networkx itself is loaded when it is first needed: that takes as long as a tenth of the start of a
process, and most never need it.
"""

import re
from typing import TYPE_CHECKING, Any

from app.core.blocks import block_of_node, blocks_of
from app.core.dag import NO_PRODUCER, CostedDag

if TYPE_CHECKING:
    import networkx as nx


def networkx_graph(dag: CostedDag) -> "nx.MultiDiGraph[str]":
    """Operators and graph inputs as vertices by name; an edge per tensor and consumer.

    Attributes: ``op_type``, ``flops``, ``block`` of an operator; ``tensor``, ``shape`` (``?`` where
    it is not known), ``dtype``, ``bytes``, ``uncuttable`` of an edge. A graph input is a vertex
    ``input:NAME`` of type ``Input`` (with more colons where an operator has that name).
    """
    import networkx as nx

    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    blocks = block_of_node(dag, blocks_of(dag))
    for i, name in enumerate(dag.node_names):
        graph.add_node(
            name, op_type=dag.node_op_types[i], flops=int(dag.node_flops[i]), block=blocks[i]
        )
    for tensor, consumers in enumerate(dag.tensor_consumers.to_lists()):
        maker = int(dag.tensor_producers[tensor])
        if maker == NO_PRODUCER:
            source = _input_vertex(dag, tensor)
            graph.add_node(source, op_type="Input", flops=0)
        else:
            source = dag.node_names[maker]
        for consumer in consumers:
            graph.add_edge(source, dag.node_names[consumer], **_edge(dag, tensor))
    return graph


def node_link(dag: CostedDag) -> dict[str, Any]:
    """networkx's node-link form, as JSON."""
    import networkx as nx

    data: dict[str, Any] = nx.node_link_data(networkx_graph(dag), edges="edges")
    return data


def graphml(dag: CostedDag) -> str:
    """GraphML, as text; characters that XML cannot hold are written as ``\\x..``."""
    import networkx as nx

    graph = networkx_graph(dag)
    spelt = {name: _in_xml(name) for name in graph}
    if any(_NOT_XML.search(name) for name in (*spelt, *dag.tensor_names)):
        nx.relabel_nodes(graph, spelt, copy=False)
        for _, _, facts in graph.edges(data=True):
            facts["tensor"] = _in_xml(facts["tensor"])
    return "\n".join(nx.generate_graphml(graph))


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _in_xml(name: str) -> str:
    return _NOT_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", name)


def _input_vertex(dag: CostedDag, tensor: int) -> str:
    vertex = f"input:{dag.tensor_names[tensor]}"
    while vertex in dag.node_index:
        vertex = f"input:{vertex.removeprefix('input')}"
    return vertex


def _edge(dag: CostedDag, tensor: int) -> dict[str, Any]:
    shape = dag.tensor_shapes[tensor]
    return {
        "tensor": dag.tensor_names[tensor],
        "shape": "?" if shape is None else "x".join(map(str, shape)),
        "dtype": dag.tensor_dtypes[tensor],
        "bytes": int(dag.tensor_bytes[tensor]),
        "uncuttable": not dag.tensor_is_cuttable[tensor],
    }
