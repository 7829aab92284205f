"""Models without nodes, and graph inputs that pass through: every call has its trivial answer."""

from io import BytesIO
from itertools import product
from typing import Any

import networkx as nx
import numpy as np
import pytest

from app.core.constraints import Constraints, forced_sides
from app.core.dag import NO_PRODUCER, CostedDag, Node, Tensor
from app.core.errors import UnknownCutError, UnknownNodeError
from app.core.scenario import Link, Mode, Scenario, prices_of
from app.core.splitting.integer_programme import solve_programme
from app.core.splitting.pricing import RATES, pricing_of
from tests.services.conftest import Hold

PASSED = Tensor("x", (2, 3), "float32", 24, NO_PRODUCER, (), True, True)
UNUSED = Tensor("z", (4,), "int64", 32, NO_PRODUCER, (), False, False)
TEXT = Tensor("s", None, "string", 0, NO_PRODUCER, (), False, True, is_cuttable=False)
EMPTY = {
    "nothing at all": CostedDag.build([], [], []),
    "inputs that pass through": CostedDag.build([], [PASSED, UNUSED], [], model_batch=2),
    "an uncuttable input that passes through": CostedDag.build([], [TEXT, PASSED], []),
}
POWER = {"compute_w": 1.0, "transmit_w": 1.0, "receive_w": 1.0}

ASKED: list[dict[str, Any]] = [
    {"mode": mode, "method": method, "device": {"flops_per_s": rate}}
    for mode, method, rate in product(
        ("training", "inference"), ("auto", "table", "blockwise", "general"), (1e6, 1e15)
    )
]
ASKED += [
    {"objective": "energy", "device": {"flops_per_s": 1e9, **POWER}},
    {"objective": "energy", "device": {"flops_per_s": 1e9, **POWER}, "method": "general"},
    {"objective": "throughput", "mode": "inference"},
    {"device": {"flops_per_s": 1e9, "memory_bytes": 1.0}},
    {"device": {"flops_per_s": 1e15, "memory_bytes": 1.0}, "mode": "inference"},
    {"constraints": {"keep_inputs_on_device": True}},
    {"constraints": {"keep_inputs_on_device": True}, "method": "blockwise"},
    {"current_cut": []},
    {"batch_size": 7, "local_iterations": 3, "store": False},
]


@pytest.mark.parametrize("case", EMPTY)
def test_a_model_without_nodes_is_split_trivially(hold: Hold, case: str) -> None:
    """By every method, in every mode, for every objective and under every option the answer is the
    one cut that there is: nothing anywhere, at no cost, best at all rates."""
    model = hold(EMPTY[case])
    for changes in ASKED:
        answer = model.split(**changes)
        assert answer["cut"]["device_nodes"] == answer["cut"]["server_nodes"] == 0
        assert answer["cut"]["cut_tensors"] == []
        assert not any(answer["cut"]["quantities"].values())
        assert not any(answer["delay"].values())
        assert answer["baselines"] == {"device_only_s": 0.0, "server_only_s": 0.0}
        assert answer["objective_value"] == 0.0
        assert answer["optimal"] is True
        assert answer["nodes"] == {"device": [], "server": []}
        if answer["valid_while"] is not None:
            assert answer["valid_while"] == {rate: [None, None] for rate in RATES}
        if "certificate" in answer:
            assert answer["certificate"] == {"cut_value": 0.0, "flow_value": 0.0}
        if "switching" in answer:
            assert answer["switching"]["decision"] == "stay"
            assert answer["switching"]["gain_s"] == 0.0
        if answer["id"] is not None:
            assert model.stored(answer["id"]) == answer
            assert model.split(current_cut=answer["id"])["switching"]["decision"] == "stay"


@pytest.mark.parametrize("case", EMPTY)
def test_a_batch_of_a_model_without_nodes(hold: Hold, case: str) -> None:
    """A batch of all kinds of scenarios has one cut, which all its answers name."""
    model = hold(EMPTY[case])
    link = {"uplink_bits_per_s": 1e6, "downlink_bits_per_s": 1e6, "round_trip_s": 1.0}
    apart = ("method", "constraints", "store", "current_cut")
    bodies = [
        {
            "device": {"flops_per_s": 1e9},
            "server": {"flops_per_s": 1e12},
            "link": link,
            **{key: value for key, value in changes.items() if key not in apart},
        }
        for changes in ASKED
    ]
    answer = model.batch(bodies, store=True)
    assert len(answer["cuts"]) == 1
    assert {found["cut"] for found in answer["answers"]} == {0}
    assert {found["objective_value"] for found in answer["answers"]} == {0.0}
    stored = model.stored(answer["answers"][0]["id"])
    assert stored["baselines"] == {"device_only_s": 0.0, "server_only_s": 0.0}


@pytest.mark.parametrize("case", EMPTY)
def test_what_a_model_without_nodes_shows(hold: Hold, case: str) -> None:
    """Its table has the one cut, its blocks are none, and every form of its graph has its tensors
    and nothing else."""
    dag = EMPTY[case]
    model = hold(dag)
    for mode in Mode:
        (row,) = model.cuts(mode)
        assert row["device_nodes"] == row["server_nodes"] == 0
    assert model.blocks() == []
    graph = model.graph()
    assert graph["nodes"] == graph["parameters"] == []
    assert [tensor["name"] for tensor in graph["tensors"]] == list(dag.tensor_names)
    assert all(tensor["consumers"] == [] for tensor in graph["tensors"])
    vertices = {f"input:{name}" for name in dag.tensor_names}
    assert set(nx.read_graphml(BytesIO(model.graphml().encode()))) == vertices
    assert set(nx.node_link_graph(model.node_link(), edges="edges")) == vertices
    assert model.prepared.nbytes >= 0


def test_what_a_model_without_nodes_has_not(hold: Hold) -> None:
    """A pin of any node and a cut at any tensor are refused in words."""
    model = hold(EMPTY["inputs that pass through"])
    with pytest.raises(UnknownNodeError, match="no node named 'a'"):
        model.split(constraints={"pin_device": ["a"]})
    with pytest.raises(UnknownCutError, match="'x' would not cross"):
        model.split(current_cut=["x"])
    with pytest.raises(UnknownCutError, match="no tensor named 'y'"):
        model.split(current_cut=["y"])


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("memory_bytes", [None, 1.0])
def test_the_integer_programme_of_no_nodes(mode: Mode, memory_bytes: float | None) -> None:
    """The programme that stands in for a table out of reach serves no nodes, too."""
    scenario = Scenario(1.0, 1.0, Link(1.0, 1.0), mode, memory_bytes=memory_bytes)
    for dag in EMPTY.values():
        pricing = pricing_of(scenario, prices_of(scenario, 1), 1)
        forced = forced_sides(dag, Constraints())
        found = solve_programme(dag, pricing, mode, forced, 0.0, 10.0)
        assert found.on_device is not None
        assert found.on_device.tolist() == []
        assert found.bound == 0.0


def test_an_input_that_passes_through_a_model_costs_nothing(hold: Hold) -> None:
    """Beside nodes, a graph input that is an output as well neither crosses nor comes back, be it
    used or not."""
    nodes = [Node("a", "Relu", 100), Node("b", "Relu", 100)]

    def model(*more: Tensor, is_output: bool) -> CostedDag:
        used = Tensor("u", (2,), "float32", 8, NO_PRODUCER, (0,), True, is_output)
        inside = Tensor("p", (2,), "float32", 8, 0, (1,), True, False)
        made = Tensor("y", (2,), "float32", 8, 1, (), True, True)
        return CostedDag.build(nodes, [used, inside, made, *more], [])

    passing = hold(model(PASSED, TEXT, is_output=True))
    plain = hold(model(is_output=False))
    for mode, rate, method in product(
        ("training", "inference"), (1e-3, 1e3, 1e6), ("table", "blockwise", "general")
    ):
        changes: dict[str, Any] = {
            "mode": mode,
            "method": method,
            "device": {"flops_per_s": rate},
            "server": {"flops_per_s": 1e3},
        }
        with_it, without = passing.split(**changes), plain.split(**changes)
        for key in ("cut", "delay", "baselines", "valid_while", "nodes"):
            assert with_it[key] == without[key]
    for mode in Mode:
        assert passing.cuts(mode) == plain.cuts(mode)
    assert np.array_equal(passing.prepared.network.heads, plain.prepared.network.heads)
