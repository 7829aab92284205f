"""How large a model may be, beyond which nobody's memory and time is spent on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what is read; weights count in none of them.

    ``graph_bytes``: of the file without the data of its weights. ``nodes``: of the main graph,
    functions inlined, and of all bodies together. ``nesting``: of graphs in graphs (If in Loop
    and so on). ``name_bytes``: of each name.
    """

    graph_bytes: int = 64 * 2**20
    nodes: int = 100_000
    nesting: int = 16
    name_bytes: int = 4096
