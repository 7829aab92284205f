"""``current_cut``: stay or move, and what counts as a cut that runs."""

import math
from typing import Any

import httpx
import pytest

from tests.api.reckoning import Json, closed_sets, fixture_id, graph_of, quantities, stages
from tests.api.small_models import branching, random_model
from tests.server import assert_problem, chain, scenario, split, uploaded

SLOW = {"uplink_bits_per_s": 1e5, "downlink_bits_per_s": 1e5}
FAST = {"uplink_bits_per_s": 1e10, "downlink_bits_per_s": 1e10}


def asked(model_id: str, current: Any, **changes: Any) -> Json:
    """A body that names a current cut, on a fast link."""
    changes = {"mode": "inference", "link": FAST, "store": False, **changes}
    return scenario(model_id, current_cut=current, **changes)


@pytest.fixture
def stale(client: httpx.Client, demo_model: Json) -> Json:
    """A stored result for a slow link, which is not the best one on a fast link."""
    return split(client, scenario(demo_model["id"], mode="inference", link=SLOW))


def test_threshold_is_exact(client: httpx.Client, demo_model: Json, stale: Json) -> None:
    """The answer is to move just when gain times rounds exceeds the switching time: at equality it
    stays, at the next smaller number it moves, and it shows the figures by which it decided."""
    best = split(client, asked(demo_model["id"], stale["id"]))
    gain, current = best["switching"]["gain_s"], best["switching"]["current_total_s"]
    assert gain > 0
    assert gain == pytest.approx(current - best["objective_value"], rel=1e-12)
    assert best["switching"]["decision"] == "move"
    assert best["switching"]["switching_s"] == 0
    assert best["switching"]["horizon_rounds"] == 1
    for rounds in (1, 7, 1000):
        equal = gain * rounds
        for switching_s, decision in (
            (equal, "stay"),
            (math.nextafter(equal, math.inf), "stay"),
            (math.nextafter(equal, 0), "move"),
        ):
            options = {"switching_s": switching_s, "horizon_rounds": rounds}
            answer = split(client, asked(demo_model["id"], stale["id"], **options))
            assert answer["switching"] == {
                "decision": decision,
                "gain_s": gain,
                "current_total_s": current,
                **options,
            }
            if decision == "move":
                assert answer["cut"] == best["cut"]
                assert answer["optimal"] is True
                assert answer["valid_while"] == best["valid_while"]
            else:
                assert answer["cut"] == stale["cut"]
                assert answer["objective_value"] == answer["delay"]["total_s"]
                assert answer["objective_value"] == pytest.approx(current, rel=1e-12)
                assert answer["optimal"] is False
                assert answer["gap"] == gain
                assert answer["valid_while"] is None


def test_best_cut_stays_for_free(client: httpx.Client, demo_model: Json) -> None:
    """Where the current cut is the best one, the answer is to stay though a switch costs nothing,
    with the proof and the ranges of any answer."""
    for mode in ("training", "inference"):
        first = split(client, scenario(demo_model["id"], mode=mode))
        again = split(client, scenario(demo_model["id"], mode=mode, current_cut=first["id"]))
        assert again["switching"]["decision"] == "stay"
        assert again["switching"]["gain_s"] == 0
        for key in ("cut", "delay", "optimal", "gap", "valid_while"):
            assert again[key] == first[key]


def test_decision_is_what_is_stored(client: httpx.Client, demo_model: Json, stale: Json) -> None:
    """A stored answer to stay keeps the current cut, with its nodes, and reads back the same."""
    options = {"switching_s": 1e9, "store": True}
    answer = split(client, asked(demo_model["id"], stale["id"], **options), include="nodes")
    assert answer["switching"]["decision"] == "stay"
    assert len(answer["nodes"]["device"]) == stale["cut"]["device_nodes"]
    assert client.get(f"/splits/{answer['id']}?include=nodes").json() == answer


@pytest.mark.parametrize("name", ["mobilenet_v2", "gpt2", "segformer_b0"])
def test_answered_tensors_name_the_cut(client: httpx.Client, name: str) -> None:
    """The cut tensors of any answer, in any order, name the same cut as its id: from everything on
    the device (none) to everything on the server (the raw inputs)."""
    model_id = fixture_id(client, name)
    sizes = set()
    for rate in (1e3, 1e6, 1e7, 1e8, 1e9, 1e14):
        for mode in ("training", "inference"):
            link = {"uplink_bits_per_s": rate, "downlink_bits_per_s": rate}
            known = split(client, scenario(model_id, mode=mode, link=link))
            tensors = [tensor["name"] for tensor in known["cut"]["cut_tensors"]]
            sizes.add(known["cut"]["device_nodes"])
            by_id, by_name, by_any_order = (
                split(client, asked(model_id, current, mode=mode, switching_s=1e12))
                for current in (known["id"], tensors, tensors[::-1] * 2)
            )
            for answer in (by_name, by_any_order):
                assert answer["switching"] == by_id["switching"]
                assert answer["cut"] == by_id["cut"] == known["cut"]
    assert len(sizes) > 1


@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_every_set_of_cut_tensors_names_a_cut(client: httpx.Client, seed: int | None) -> None:
    """For every closed set of a small branching model its cut tensors are taken for one of the cuts
    that have just these, and the current value is what that cut costs; anything else is refused."""
    model = uploaded(client, branching() if seed is None else random_model(seed))
    graph = graph_of(client, model["id"])
    sets: dict[frozenset[str], list[frozenset[int]]] = {}
    for chosen in closed_sets(graph):
        crossing = frozenset(
            tensor["name"]
            for tensor in graph["tensors"]
            if (tensor["producer"] is None or tensor["producer"] in chosen)
            and set(tensor["consumers"]) - chosen
        )
        sets.setdefault(crossing, []).append(chosen)
    for crossing, cuts in list(sets.items())[:60]:
        body = asked(model["id"], sorted(crossing), switching_s=1e12)
        answer = split(client, body)
        # Nothing crosses either where only what the server makes from nothing is left to it.
        smallest = max(cuts, key=len) if not crossing else min(cuts, key=len)
        assert answer["cut"]["device_nodes"] == len(smallest)
        q = quantities(graph, smallest, "inference")
        assert answer["cut"]["quantities"] == q
        has_server = len(smallest) < len(graph["nodes"])
        cost = sum(stages(q, body, model["model_batch"], has_server).values())
        assert answer["switching"]["current_total_s"] == pytest.approx(cost, rel=1e-12)
    names = [tensor["name"] for tensor in graph["tensors"]]
    wrong = [
        {name, other} for name in names for other in names if frozenset((name, other)) not in sets
    ]
    assert wrong
    for some in wrong[:20]:
        body = asked(model["id"], sorted(some))
        problem = assert_problem(client.post("/split", json=body), 422, "unknown-cut")
        assert problem["errors"][0]["loc"] == ["body", "current_cut"]


def test_wrong_current_cuts_are_refused(
    client: httpx.Client, demo_model: Json, stale: Json
) -> None:
    """A result that is not there or is of another model, a tensor that is not there, and one that
    never crosses are refused, each by what it is."""
    graph = graph_of(client, demo_model["id"])
    output = next(tensor["name"] for tensor in graph["tensors"] if tensor["is_output"])
    other = uploaded(client, chain("a", "b"))["id"]
    for model_id, current, status, kind, words in (
        (demo_model["id"], "0" * 32, 404, "not-found", "0" * 32),
        (demo_model["id"], "", 404, "not-found", ""),
        (demo_model["id"], "\x00", 404, "not-found", ""),
        (other, stale["id"], 404, "not-found", "another model"),
        (demo_model["id"], ["no such"], 422, "unknown-cut", "no such"),
        (demo_model["id"], ["☃"], 422, "unknown-cut", "☃"),
        (demo_model["id"], ["pixel_values", "mean"], 422, "unknown-cut", "pixel_values"),
        (demo_model["id"], [output], 422, "unknown-cut", output),
        (demo_model["id"], "x" * 65, 422, "invalid-request", ""),
        (demo_model["id"], 7, 422, "invalid-request", ""),
        (demo_model["id"], [7], 422, "invalid-request", ""),
    ):
        response = client.post("/split", json=asked(model_id, current))
        problem = assert_problem(response, status, kind)
        assert words in problem["detail"]
        assert problem["errors"][0]["loc"][:2] == ["body", "current_cut"], current


@pytest.mark.parametrize(
    "changes",
    [
        {"constraints": {"keep_inputs_on_device": True}},
        {"constraints": {"pin_device": ["node_Conv_810"]}},
        {"device": {"flops_per_s": 5e9, "memory_bytes": 4e6}, "current_cut": []},
    ],
    ids=["inputs", "pin", "memory"],
)
def test_cut_that_is_not_allowed_any_more_is_left(
    client: httpx.Client, demo_model: Json, changes: Json
) -> None:
    """Where constraints or memory rule the current cut out, the answer is to move, however dear the
    switch, and there is no gain to state."""
    body = {**asked(demo_model["id"], ["pixel_values"], switching_s=1e300), **changes}
    answer = split(client, body)
    assert answer["switching"] == {
        "decision": "move",
        "gain_s": None,
        "current_total_s": None,
        "switching_s": 1e300,
        "horizon_rounds": 1,
    }
    without = {
        key: value for key, value in body.items() if key not in ("current_cut", "switching_s")
    }
    assert answer["cut"] == split(client, without)["cut"]
    assert answer["optimal"] is True


@pytest.mark.parametrize("method", ["auto", "blockwise", "general"])
@pytest.mark.parametrize("objective", ["delay", "throughput"])
def test_methods_and_objectives_decide_alike(
    client: httpx.Client, demo_model: Json, stale: Json, method: str, objective: str
) -> None:
    """By every method that serves the objective the gain is the same."""
    body = asked(demo_model["id"], stale["id"], objective=objective, method=method)
    if objective == "throughput" and method != "auto":
        assert_problem(client.post("/split", json=body), 422, "unsupported")
        return
    found = split(client, body)["switching"]
    expected = split(client, {**body, "method": "table"})["switching"]
    assert found["gain_s"] == pytest.approx(expected["gain_s"], rel=1e-9)
    assert found["decision"] == expected["decision"] == "move"


def test_switching_goes_with_a_current_cut(client: httpx.Client, demo_model: Json) -> None:
    """What a switch costs is refused without a current cut, as is one for energy."""
    for changes in ({"switching_s": 1.0}, {"horizon_rounds": 2}, {"switching_s": 0.0}):
        body = scenario(demo_model["id"], **changes)
        problem = assert_problem(client.post("/split", json=body), 422, "invalid-request")
        assert "current_cut" in problem["detail"]
    powered = {"flops_per_s": 5e9, "compute_w": 1.0, "transmit_w": 1.0, "receive_w": 1.0}
    body = asked(demo_model["id"], [], objective="energy", device=powered)
    problem = assert_problem(client.post("/split", json=body), 422, "invalid-request")
    assert "energy" in problem["detail"]
    for changes in ({"switching_s": -1.0}, {"horizon_rounds": 0}, {"horizon_rounds": 1.5}):
        body = asked(demo_model["id"], [], **changes)
        assert_problem(client.post("/split", json=body), 422, "invalid-request")
