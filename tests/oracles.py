"""Independent answers to check Kerf's against: plain Python, written from the design's formulas.

Nothing here uses ``app.core.quantities`` or ``app.core.splitting``.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import networkx as nx
from networkx.algorithms.flow import boykov_kolmogorov

from app.core.dag import CostedDag, NodeWork
from app.core.scenario import Mode, Scenario


def all_cuts(dag: CostedDag) -> Iterator[frozenset[int]]:
    """Every cut of a small DAG, as its device nodes: they hold all predecessors of its members, and
    no tensor that crosses is uncuttable."""
    needs: list[set[int]] = [set() for _ in range(dag.node_count)]
    for tensor, users in enumerate(dag.tensor_consumers.to_lists()):
        for user in users:
            if dag.tensor_producers[tensor] >= 0:
                needs[user].add(int(dag.tensor_producers[tensor]))
    for bits in product((False, True), repeat=dag.node_count):
        chosen = frozenset(i for i, bit in enumerate(bits) if bit)
        if all(needs[i] <= chosen for i in chosen) and all(
            dag.tensor_is_cuttable[t] for t in crossing_tensors(dag, chosen)
        ):
            yield chosen


def crossing_tensors(dag: CostedDag, device: frozenset[int]) -> list[int]:
    """Tensors made or fed in on the device and used on the server."""
    return [
        t
        for t, users in enumerate(dag.tensor_consumers.to_lists())
        if (dag.tensor_producers[t] < 0 or int(dag.tensor_producers[t]) in device)
        and any(user not in device for user in users)
    ]


class Terms(NamedTuple):
    """The letters of the design's formulas, exactly; rates per second."""

    b: Fraction
    n: int
    k: Fraction
    device: Fraction
    server: Fraction
    up: Fraction
    down: Fraction
    round_trip_s: Fraction
    device_run_s: Fraction
    server_run_s: Fraction


def terms_of(dag: CostedDag, scenario: Scenario) -> Terms:
    """One scenario's numbers as fractions."""
    training = scenario.mode is Mode.TRAINING

    def exact(figure: object) -> Fraction:
        assert isinstance(figure, int | float)
        return Fraction(figure)

    return Terms(
        b=exact(scenario.batch_size or dag.model_batch) / dag.model_batch,
        n=int(exact(scenario.local_iterations)) if training else 1,
        k=1 + exact(scenario.backward_ratio) if training else Fraction(1),
        device=exact(scenario.device_flops_per_s),
        server=exact(scenario.server_flops_per_s),
        up=exact(scenario.link.uplink_bits_per_s),
        down=exact(scenario.link.downlink_bits_per_s),
        round_trip_s=exact(scenario.link.round_trip_s),
        device_run_s=exact(scenario.device_run_overhead_s),
        server_run_s=exact(scenario.server_run_overhead_s),
    )


def delay_s(
    dag: CostedDag,
    device: frozenset[int],
    scenario: Scenario,
    crossing_bytes: Sequence[int] | None = None,
    work: NodeWork | None = None,
) -> float:
    """The design's delay formula, summed node by node and tensor by tensor, exactly.

    ``crossing_bytes``: what each tensor takes where it crosses, if not its own size. ``work``: what
    each node takes on either side, if not its FLOPs.
    """
    training = scenario.mode is Mode.TRAINING
    b, n, k, device_rate, server_rate, up, down, *fixed = terms_of(dag, scenario)
    round_trip_s, device_run_s, server_run_s = fixed
    sizes = dag.tensor_bytes.tolist()
    on_device, on_server = sums_of_work(dag, device, work)
    crossing = crossing_tensors(dag, device)
    sent = sizes if crossing_bytes is None else crossing_bytes
    total = n * b * k * on_device / device_rate
    total += n * b * k * on_server / server_rate
    total += n * b * 8 * sum(sent[t] for t in crossing) / up
    if training:
        back = [t for t in crossing if dag.tensor_is_floating[t] and dag.tensor_producers[t] >= 0]
        total += n * b * 8 * sum(sent[t] for t in back) / down
        total += 8 * _parameter_bytes(dag, device) * (1 / down + 1 / up)
    else:
        results = [
            t
            for t in range(dag.tensor_count)
            if dag.tensor_is_output[t]
            and dag.tensor_producers[t] >= 0
            and int(dag.tensor_producers[t]) not in device
        ]
        total += b * 8 * sum(sizes[t] for t in results) / down
    if len(device) < dag.node_count:
        total += n * (round_trip_s + server_run_s)
    if device:
        total += n * device_run_s
    return float(total)


def sums_of_work(
    dag: CostedDag, device: frozenset[int], work: NodeWork | None = None
) -> tuple[Fraction, Fraction]:
    """What nodes take together on the device and on the server; without ``work``, FLOPs."""
    work = work or NodeWork.from_flops(dag)
    server = (i for i in range(dag.node_count) if i not in device)
    return (
        sum((Fraction(float(work.device[i])) for i in device), Fraction(0)),
        sum((Fraction(float(work.server[i])) for i in server), Fraction(0)),
    )


def _parameter_bytes(dag: CostedDag, device: frozenset[int]) -> int:
    return sum(
        int(nbytes)
        for nbytes, users in zip(dag.parameter_bytes, dag.parameter_users.to_lists(), strict=True)
        if any(user in device for user in users)
    )


def networkx_optimum_s(
    dag: CostedDag,
    scenario: Scenario,
    must_device: frozenset[int] = frozenset(),
    must_server: frozenset[int] = frozenset(),
    keep_inputs: bool = False,
    flow_func: Callable[..., Any] = boykov_kolmogorov,
) -> float:
    """The least delay by networkx, in exact arithmetic: a flow network written down anew.

    Prices are whole multiples of 2^-160 s, so that networkx computes with Python's unbounded
    integers and rounds nothing.
    """
    graph, unit = flow_graph(dag, scenario, must_device, must_server, keep_inputs)
    value = nx.minimum_cut_value(graph, "device", "server", flow_func=flow_func)
    return float(Fraction(value) * unit)


def flow_graph(
    dag: CostedDag,
    scenario: Scenario,
    must_device: frozenset[int] = frozenset(),
    must_server: frozenset[int] = frozenset(),
    keep_inputs: bool = False,
) -> tuple["nx.DiGraph[object]", Fraction]:
    """A networkx graph with whole capacities, and the seconds that one unit of them stands for."""
    training = scenario.mode is Mode.TRAINING
    unit = Fraction(1, 2**160)
    b, n, k, device_rate, server_rate, up_rate, down_rate, *fixed = terms_of(dag, scenario)
    round_trip_s, device_run_s, server_run_s = fixed
    up, down = 8 / up_rate, 8 / down_rate
    device_price = round(n * b * k / device_rate / unit)
    server_price = round(n * b * k / server_rate / unit)
    up_price, down_price = round(n * b * up / unit), round(n * b * down / unit)
    parameter_price = round((up + down) / unit)
    graph: nx.DiGraph[object] = nx.DiGraph()
    graph.add_nodes_from(("device", "server"))

    def forever(tail: object, head: object) -> None:
        if graph.has_edge(tail, head):
            graph.remove_edge(tail, head)
        graph.add_edge(tail, head)  # networkx takes an arc without a capacity as infinite

    results = [0] * dag.node_count
    producers = dag.tensor_producers.tolist()
    sizes = dag.tensor_bytes.tolist()
    for t, users in enumerate(dag.tensor_consumers.to_lists()):
        maker = producers[t]
        tail: object = "device" if maker < 0 else maker
        price = up_price
        if training and maker >= 0 and dag.tensor_is_floating[t]:
            price += down_price
        never_crosses = not dag.tensor_is_cuttable[t] or (maker < 0 and keep_inputs)
        if users and never_crosses:
            forever(tail, ("tensor", t))
        elif users:
            graph.add_edge(tail, ("tensor", t), capacity=price * sizes[t])
        for user in users:
            forever(("tensor", t), user)
            if maker >= 0:
                forever(user, maker)
        if not training and dag.tensor_is_output[t] and maker >= 0:
            results[maker] += down_price * sizes[t]
    held = [0] * dag.node_count
    for p, users in enumerate(dag.parameter_users.to_lists() if training else ()):
        cost = parameter_price * int(dag.parameter_bytes[p])
        if len(users) == 1:
            held[users[0]] += cost
            continue
        graph.add_edge(("parameter", p), "server", capacity=cost)
        for user in users:
            forever(user, ("parameter", p))
    for i, flops in enumerate(dag.node_flops.tolist()):
        graph.add_edge("device", i, capacity=server_price * flops + results[i])
        graph.add_edge(i, "server", capacity=device_price * flops + held[i])
        forever("trip", i)
        forever(i, "run")
    graph.add_edge("device", "trip", capacity=round(n * (round_trip_s + server_run_s) / unit))
    graph.add_edge("run", "server", capacity=round(n * device_run_s / unit))
    for i in must_device:
        forever("device", i)
    for i in must_server:
        forever(i, "server")
    return graph, unit
