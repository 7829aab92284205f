"""Models with uncuttable tensors through the services: every method, every call."""

import math
from io import BytesIO
from typing import Any

import networkx as nx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.core.constraints import Constraints
from app.core.dag import CostedDag
from app.core.errors import (
    ContradictoryPinsError,
    InfeasibleError,
    UnknownCutError,
    UnpriceableError,
    UnsupportedError,
)
from app.core.scenario import Mode, Objective, Scenario
from app.services.prepared import PreparedModel
from app.services.solving import Method, solve
from tests.core.build import hand_made
from tests.core.test_solve import full_scenarios, value_of
from tests.oracles import all_cuts, crossing_tensors
from tests.services.conftest import Hold
from tests.strategies import dags, pins

DETECTOR = hand_made(
    """
    image -> backbone -> features
    features -> score -> scores
    scores -> nonzero -> found
    features,found -> gather -> picked
    picked -> head -> boxes
    features -> side -> mask
    """,
    "boxes mask",
    uncuttable="found picked boxes",
)
"""What is found decides the size of all that follows."""

SPOKEN = hand_made(
    "text -> tokenise -> tokens\ntokens -> embed -> e\ne -> classify -> label",
    "label",
    uncuttable="text",
)
"""Strings come in, which stay on the device."""

DEVICE_BOUND = {"device": {"flops_per_s": 1e3}, "server": {"flops_per_s": 1e12}}
FREE_LINK = {"uplink_bits_per_s": 1e12, "downlink_bits_per_s": 1e12}


@pytest.mark.parametrize("method", ["auto", "table", "blockwise", "general"])
@given(dags(max_nodes=7, min_nodes=0), full_scenarios(), st.data())
@settings(max_examples=60, deadline=None)
def test_every_method_finds_the_best_cut_in_which_no_uncuttable_tensor_crosses(
    method: Method, dag: CostedDag, scenario: Scenario, data: st.DataObject
) -> None:
    """Under any constraints and objective, each method's cut is the best of all cuts that are
    allowed; where there is none, it says so."""
    constraints = Constraints(
        data.draw(pins(dag, 1)), data.draw(pins(dag, 1)), data.draw(st.booleans())
    )
    is_linear = scenario.objective is not Objective.THROUGHPUT and scenario.memory_bytes is None
    assume(is_linear or method in ("auto", "table"))
    best = min(
        (
            value_of(dag, device, scenario)
            for device in all_cuts(dag)
            if is_allowed(dag, device, constraints)
        ),
        default=math.inf,
    )
    model = PreparedModel.of("m", dag)
    if best == math.inf:
        with pytest.raises((ContradictoryPinsError, InfeasibleError)):
            solve(model, scenario, constraints, method)
        return
    solved = solve(model, scenario, constraints, method)
    device = frozenset(solved.cut.on_device.nonzero()[0].tolist())
    assert device in set(all_cuts(dag))
    assert is_allowed(dag, device, constraints)
    assert solved.value == pytest.approx(best, rel=1e-9)
    assert value_of(dag, device, scenario) == pytest.approx(best, rel=1e-9)
    has_server_only = frozenset() in set(all_cuts(dag))
    assert (solved.baselines.server_only_s is not None) == has_server_only


def is_allowed(dag: CostedDag, device: frozenset[int], constraints: Constraints) -> bool:
    """Whether a cut satisfies constraints."""
    return (
        {dag.node_index[name] for name in constraints.pin_device} <= device
        and not device & {dag.node_index[name] for name in constraints.pin_server}
        and not (
            constraints.keep_inputs_on_device
            and any(dag.tensor_producers[t] < 0 for t in crossing_tensors(dag, device))
        )
    )


@pytest.mark.parametrize("method", ["table", "blockwise", "general"])
def test_an_uncuttable_input_keeps_its_readers_on_the_device(hold: Hold, method: str) -> None:
    """Though the server is a million times faster, the node that reads strings runs on the device;
    everything on the server is no baseline."""
    answer = hold(SPOKEN).split(**DEVICE_BOUND, link=FREE_LINK, method=method)
    assert answer["nodes"] == {"device": ["tokenise"], "server": ["embed", "classify"]}
    assert [tensor["name"] for tensor in answer["cut"]["cut_tensors"]] == ["tokens"]
    assert answer["baselines"]["server_only_s"] is None
    assert answer["baselines"]["device_only_s"] > 0
    assert answer["optimal"] is True


def test_a_batch_has_no_server_baseline_either(hold: Hold) -> None:
    """A stored result of a batch has null for it as a single one has, and the same figures."""
    model = hold(SPOKEN)
    one: dict[str, Any] = {**DEVICE_BOUND, "link": FREE_LINK}
    for mode in ("training", "inference"):
        scenario = {**one, "mode": mode}
        (found,) = model.batch([scenario], store=True)["answers"]
        stored, single = model.stored(found["id"]), model.split(**scenario)
        assert stored["baselines"] == single["baselines"]
        assert stored["baselines"]["server_only_s"] is None
        assert stored["cut"] == single["cut"]
        assert stored["nodes"] == single["nodes"]


def test_a_batch_of_unpriceable_delays_is_refused_without_a_server_baseline(hold: Hold) -> None:
    """A scenario whose one baseline leaves floating point is refused as any other."""
    scenario = {"device": {"flops_per_s": 1e-307}, "server": {"flops_per_s": 1.0}}
    with pytest.raises(UnpriceableError, match="scenario 1 makes delays infinite"):
        hold(SPOKEN).batch([{**DEVICE_BOUND, "link": FREE_LINK}, {**scenario, "link": FREE_LINK}])


def test_the_tail_of_a_detector_lies_on_one_side(hold: Hold) -> None:
    """In every row of the table, the nodes that what is found ties together are on one side; some
    rows cut before them, and nothing uncuttable is ever a cut tensor."""
    model = hold(DETECTOR)
    tail = {"nonzero", "gather", "head"}
    crossing = set()
    for mode in Mode:
        for row in model.cuts(mode):
            crossing |= {tensor["name"] for tensor in row["cut_tensors"]}
    for table in model.prepared.free.tables.built.values():
        for on_device in table.masks():
            names = {DETECTOR.node_names[i] for i in on_device.nonzero()[0]}
            assert tail & names in (set(), tail)
    assert crossing == {"image", "features"}


@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize("method", ["auto", "general"])
def test_a_pinned_node_takes_along_what_is_tied_to_it(hold: Hold, mode: str, method: str) -> None:
    """A pin to the server takes along the nodes that are tied to it, and a pin to the device."""
    model = hold(DETECTOR)
    server = model.split(mode=mode, method=method, constraints={"pin_server": ["head"]})
    assert {"nonzero", "gather", "head"} <= set(server["nodes"]["server"])
    device = model.split(mode=mode, method=method, constraints={"pin_device": ["nonzero"]})
    assert {"nonzero", "gather", "head"} <= set(device["nodes"]["device"])
    with pytest.raises(ContradictoryPinsError, match="'found' and 'picked' never cross"):
        model.split(constraints={"pin_device": ["nonzero"], "pin_server": ["head"]})


def test_a_current_cut_of_uncuttable_tensors_is_none(hold: Hold) -> None:
    """A cut that runs cannot be named by a tensor that never crosses, nor by tensors that would
    need one to cross; one that has the tied nodes on one side can."""
    model = hold(DETECTOR)
    with pytest.raises(UnknownCutError, match="'found' is a cut tensor of no cut: it never") as e:
        model.split(current_cut=["features", "found"])
    assert e.value.loc == ("current_cut",)
    answer = model.split(current_cut=["features", "scores"], switching_s=1e9)
    assert answer["switching"]["decision"] == "stay"
    assert answer["nodes"]["device"] == ["backbone", "score"]
    # Without `features` crossing, `gather` runs on the device, and all that is tied to it.
    with pytest.raises(UnknownCutError, match="'scores' would not cross"):
        model.split(current_cut=["scores"])
    spoken = hold(SPOKEN)
    with pytest.raises(UnknownCutError, match="'text' is a cut tensor of no cut"):
        spoken.split(current_cut=["text"])
    stays = spoken.split(current_cut=["tokens"], switching_s=1e9)
    assert stays["nodes"]["device"] == ["tokenise"]


def test_the_graph_tells_what_is_uncuttable(hold: Hold) -> None:
    """Every form of the graph says of each tensor whether it may cross, and has no shape and no
    bytes where they are not known."""
    model = hold(DETECTOR)
    unknown = {"found", "picked", "boxes"}
    for tensor in model.graph()["tensors"]:
        assert tensor["uncuttable"] is (tensor["name"] in unknown)
        assert (tensor["shape"] is None) is (tensor["name"] in unknown)
        assert (tensor["bytes"] == 0) is (tensor["name"] in unknown)
    read = nx.read_graphml(BytesIO(model.graphml().encode()))
    linked = nx.node_link_graph(model.node_link(), edges="edges")
    for graph in (read, linked):
        edges = {data["tensor"]: data for _, _, data in graph.edges(data=True)}
        assert set(edges) == {"image", "features", "scores", "found", "picked"}
        for name, data in edges.items():
            assert data["uncuttable"] is (name in unknown)
            assert data["shape"] == ("?" if name in unknown else "")
            assert (data["bytes"] == 0) is (name in unknown)


def test_blocks_may_meet_at_an_uncuttable_tensor(hold: Hold) -> None:
    """Blocks are the structure of the DAG, so one may end in an uncuttable tensor; no cut that can
    be best parts what it ties."""
    chain = hand_made("x -> a -> p\np -> b -> q\nq -> c -> y", "y", uncuttable="q")
    blocks = hold(chain).blocks()
    assert [block["output_tensor"] for block in blocks] == ["p", "q", "y"]
    assert not any(block["can_hold_a_cut"] for block in blocks)


def test_methods_refuse_what_they_cannot_serve_as_ever(hold: Hold) -> None:
    """Flows do not serve throughput, with uncuttable tensors or without."""
    with pytest.raises(UnsupportedError):
        hold(SPOKEN).split(mode="inference", objective="throughput", method="general")
