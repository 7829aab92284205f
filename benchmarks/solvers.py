"""Finding one cut: table, block-wise and general algorithm beside networkx, on the same DAGs."""

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
from networkx.algorithms.flow import boykov_kolmogorov, preflow_push
from rich.console import Console
from rich.table import Table

from app.core.dag import CostedDag
from app.core.scenario import Link, Mode, Prices, Scenario, prices_of
from app.core.splitting.blockwise import groups_of
from app.core.splitting.cut_table import Family
from app.core.splitting.max_flow import minimum_cut
from app.core.splitting.network import SINK, SOURCE, FlowNetwork, build_network
from app.core.splitting.pricing import pricing_of
from app.core.splitting.solve import CutTables, best_row
from benchmarks.timing import medians_s
from tests.fixture_models import FIXTURES, ingested

SCENARIO = Scenario(
    device_flops_per_s=1e11,
    server_flops_per_s=1e13,
    link=Link(uplink_bits_per_s=1e8, downlink_bits_per_s=4e8, round_trip_s=0.01),
    mode=Mode.TRAINING,
    batch_size=32,
    local_iterations=10,
)


def run(console: Console) -> None:
    """Print the comparison for every fixture model."""
    table = Table(
        title="One optimum, five ways: median ms, training, prices put in before; at last, general "
        "over block-wise: vertices, native time, time by preflow_push"
    )
    for column in ("model", "nodes", "arcs", "groups", "arcs"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for column in ("lookup", "groups", "general", "nx push", "nx bk"):
        table.add_column(column, justify="right")
    for column in (
        "nx push/lookup",
        "general/lookup",
        "nodes/groups",
        "time ratio",
        "by nx push",
    ):
        table.add_column(column, justify="right")
    for fixture in FIXTURES:
        table.add_row(fixture.name, *_row(ingested(fixture.name).dag))
    console.print(table)


def _row(dag: CostedDag) -> list[str]:
    tables = CutTables(dag)
    groups = groups_of(tables.get(Family.SLOWER_DEVICE))
    general, blockwise = build_network(dag), build_network(dag, group_of_node=groups)
    prices = prices_of(SCENARIO, dag.model_batch)
    pricing = pricing_of(SCENARIO, prices, dag.model_batch)
    bound = 2 * best_row(tables, SCENARIO, pricing).value
    of_nodes, of_groups = general.capacities(prices), blockwise.capacities(prices)
    node_graph, group_graph = networkx_of(general, prices), networkx_of(blockwise, prices)

    def by_networkx(graph: "nx.DiGraph[int]", algorithm: Callable[..., Any]) -> object:
        return nx.minimum_cut(graph, SOURCE, SINK, flow_func=algorithm)

    times = medians_s(
        {
            "lookup": lambda: best_row(tables, SCENARIO, pricing),
            "blockwise": lambda: minimum_cut(blockwise, of_groups, bound),
            "general": lambda: minimum_cut(general, of_nodes, bound),
        },
        repetitions=300,
    )
    times |= medians_s(
        {
            "push": lambda: by_networkx(node_graph, preflow_push),
            "push_groups": lambda: by_networkx(group_graph, preflow_push),
            "boykov": lambda: by_networkx(node_graph, boykov_kolmogorov),
        },
        repetitions=5,
    )
    return [
        str(general.group_count),
        str(len(general.tails)),
        str(blockwise.group_count),
        str(len(blockwise.tails)),
        *(f"{times[name] * 1e3:.4f}" for name in ("lookup", "blockwise", "general")),
        *(f"{times[name] * 1e3:.1f}" for name in ("push", "boykov")),
        f"{times['push'] / times['lookup']:.0f}x",
        f"{times['general'] / times['lookup']:.1f}x",
        f"{general.group_count / blockwise.group_count:.0f}x",
        f"{times['general'] / times['blockwise']:.1f}x",
        f"{times['push'] / times['push_groups']:.0f}x",
    ]


def networkx_of(network: FlowNetwork, prices: Prices) -> "nx.DiGraph[int]":
    """The same network for networkx, with float capacities; parallel arcs are added up."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    capacities = network.capacities(prices)
    for tail, head, capacity in zip(
        network.tails.tolist(), network.heads.tolist(), capacities.tolist(), strict=True
    ):
        if np.isinf(capacity):
            graph.add_edge(tail, head)
        elif graph.has_edge(tail, head):
            graph[tail][head]["capacity"] += capacity
        else:
            graph.add_edge(tail, head, capacity=capacity)
    return graph
