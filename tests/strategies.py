"""Hypothesis strategies for DAGs and scenarios, shared by the tests."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.dag import NO_PRODUCER, CostedDag, Node, NodeWork, Parameter, Tensor
from app.core.scenario import Link, Mode, Scenario

MAX_NODES = 12


def sizes(largest: int = 1000) -> st.SearchStrategy[int]:
    """A count of bytes or FLOPs, zero included."""
    return st.one_of(st.integers(0, 3), st.integers(0, largest))


@st.composite
def dags(draw: st.DrawFn, max_nodes: int = MAX_NODES, min_nodes: int = 1) -> CostedDag:
    """Random DAGs: several outputs per node, shared tensors and parameters, several inputs and
    outputs, inputs that are outputs, integer tensors, nodes that read no other node, and in about
    half of the DAGs a few uncuttable tensors."""
    count = draw(st.integers(min_nodes, max_nodes))
    nodes = [Node(f"n{i}", "Op", draw(sizes())) for i in range(count)]
    tensors: list[Tensor] = []

    def add(name: str, producer: int, later: list[int]) -> None:
        users = tuple(sorted(draw(st.sets(st.sampled_from(later), max_size=4)))) if later else ()
        is_output = draw(st.booleans())
        if users or is_output or producer < 0:
            tensors.append(
                Tensor(
                    name, (), "x", draw(sizes()), producer, users, draw(st.booleans()), is_output
                )
            )

    for i in range(draw(st.integers(1 if count else 0, 3))):
        add(f"input{i}", NO_PRODUCER, list(range(count)))
    for i in range(count):
        for j in range(draw(st.integers(1, 2))):
            add(f"t{i}.{j}", i, list(range(i + 1, count)))
    if draw(st.booleans()) and tensors:
        for t in draw(st.sets(st.integers(0, len(tensors) - 1), max_size=3)):
            shape = draw(st.sampled_from([None, ()]))
            tensors[t] = replace(tensors[t], nbytes=0, shape=shape, is_cuttable=False)
    parameters = [
        Parameter(
            f"w{i}",
            draw(sizes()),
            tuple(sorted(draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=3)))),
        )
        for i in range(draw(st.integers(0, 4 if count else 0)))
    ]
    return CostedDag.build(nodes, tensors, parameters, model_batch=draw(st.integers(1, 4)))


def pins(dag: CostedDag, max_size: int) -> st.SearchStrategy[tuple[str, ...]]:
    """Names of some nodes of a DAG, in order."""
    if dag.node_count == 0:
        return st.just(())
    return st.sets(st.sampled_from(dag.node_names), max_size=max_size).map(sorted).map(tuple)


def rates(low: float = 1e-2, high: float = 1e6) -> st.SearchStrategy[float]:
    """Rates spread evenly over the orders of magnitude."""
    return st.floats(0.0, 1.0).map(lambda u: float(low * (high / low) ** u))


_overheads = st.sampled_from([0.0, 0.0, 0.001, 1.0, 100.0])


@st.composite
def scenarios(draw: st.DrawFn, mode: Mode | None = None) -> Scenario:
    """Scenarios over eight orders of magnitude in every rate, the device at times the faster."""
    return Scenario(
        device_flops_per_s=draw(rates()),
        server_flops_per_s=draw(rates()),
        link=Link(draw(rates()), draw(rates()), draw(st.sampled_from([0.0, 0.01, 1.0, 100.0]))),
        mode=mode or draw(st.sampled_from(Mode)),
        batch_size=draw(st.one_of(st.none(), st.integers(1, 64))),
        local_iterations=draw(st.integers(1, 20)),
        backward_ratio=draw(st.floats(0.0, 4.0)),
        device_run_overhead_s=draw(_overheads),
        server_run_overhead_s=draw(_overheads),
    )


def works(dag: CostedDag) -> st.SearchStrategy[NodeWork]:
    """Seconds of every node on either side, which have nothing to do with its FLOPs; some are 0."""
    seconds = st.one_of(st.sampled_from([0.0, 0.1, 1.0]), st.floats(1e-6, 10.0))
    column = st.lists(seconds, min_size=dag.node_count, max_size=dag.node_count)
    return st.builds(NodeWork, column.map(_array), column.map(_array))


def _array(values: list[float]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)
