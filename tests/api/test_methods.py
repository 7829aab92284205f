"""Every method finds the same optimum, and it is the one that brute force finds."""

import random
from itertools import product

import httpx
import pytest

from tests.api.reckoning import (
    MODES,
    POWER,
    Json,
    best_by_force,
    closed_sets,
    fixture_id,
    graph_of,
    memory_needed,
    quantities,
    random_scenario,
)
from tests.api.small_models import branching, random_model
from tests.server import assert_problem, scenario, split, uploaded

METHODS = ("auto", "table", "blockwise", "general")
SMALL = {"branching": branching(), **{f"random {seed}": random_model(seed) for seed in range(4)}}


def some_constraints(choose: random.Random, graph: Json) -> list[Json]:
    """No constraints, each kind alone, and all of them together."""
    names = [node["name"] for node in graph["nodes"]]
    early, late = sorted(choose.sample(range(len(names)), 2))
    device, server = {"pin_device": [names[early]]}, {"pin_server": [names[late]]}
    keep = {"keep_inputs_on_device": True}
    return [{}, device, server, keep, {**device, **server}, {**device, **keep}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "gpt2", "light_squeezenet", "segformer_b0", "light_inception_v1"]
)
def test_methods_agree(client: httpx.Client, name: str, mode: str) -> None:
    """By table, block-wise and general the optimum of delay and of energy is the same, with and
    without constraints, for devices slower and faster than the server; the flows prove it, and a
    flow proves nothing for a table."""
    choose = random.Random(f"{name} {mode}")
    model_id = fixture_id(client, name)
    graph = graph_of(client, model_id)
    objectives = ("delay", "energy")
    for constraints, faster, objective in product(
        some_constraints(choose, graph), (False, True), objectives
    ):
        body = random_scenario(choose, model_id, mode, faster=faster)
        body |= {"objective": objective, "constraints": constraints}
        body["device"] |= POWER
        answers = {method: split(client, {**body, "method": method}) for method in METHODS}
        expected = answers["general"]["objective_value"]
        for method, answer in answers.items():
            assert answer["method"] == ("table" if method == "auto" else method)
            assert answer["objective_value"] == pytest.approx(expected, rel=1e-9), (method, body)
            assert answer["optimal"] is True
            assert (answer["valid_while"] is None) == (method == "general")
            assert ("certificate" in answer) == (method in ("blockwise", "general"))
            if objective == "delay":
                assert answer["objective_value"] == answer["delay"]["total_s"]
            if "certificate" in answer:
                certificate = answer["certificate"]
                assert certificate["cut_value"] == pytest.approx(expected, rel=1e-12)
                assert certificate["flow_value"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SMALL)
def test_optimum_is_that_of_brute_force(client: httpx.Client, name: str, mode: str) -> None:
    """On small branching models every objective, with every kind of constraint and with limits of
    memory, has the value that trying each closed set finds."""
    choose = random.Random(f"{name} {mode}")
    model = uploaded(client, SMALL[name])
    graph, batch = graph_of(client, model["id"]), model["model_batch"]
    needs = [
        memory_needed(quantities(graph, chosen, mode), {"mode": mode}, batch)
        for chosen in closed_sets(graph)
    ]
    objectives = ("delay", "energy", "throughput")[: 3 if mode == "inference" else 2]
    infeasible = 0
    for objective, constraints, faster, limited in product(
        objectives, some_constraints(choose, graph)[:4], (False, True), (False, True)
    ):
        body = random_scenario(choose, model["id"], mode, faster=faster)
        body |= {"objective": objective, "constraints": constraints}
        if objective == "energy":
            body["device"] |= POWER
        if limited:
            body["device"]["memory_bytes"] = choose.choice(needs) * body["batch_size"] / batch + 0.5
            body["optimizer_states"] = choose.randrange(3)
        expected = best_by_force(graph, body, batch)
        if expected is None:
            infeasible += 1
            problem = assert_problem(client.post("/split", json=body), 422, "infeasible")
            assert "memory_bytes" in problem["detail"]
            continue
        for method in ("auto", "table"):
            answer = split(client, {**body, "method": method})
            assert answer["objective_value"] == pytest.approx(expected, rel=1e-9), body
            assert answer["optimal"] is True
            assert answer["method"] == "table"
    assert infeasible < 40


@pytest.mark.parametrize("method", ["blockwise", "general"])
def test_flows_refuse_what_is_not_linear(
    client: httpx.Client, demo_model: Json, method: str
) -> None:
    """The flow methods refuse throughput and a limit of memory, and name the field to change."""
    limited = {"device": {"flops_per_s": 5e9, "memory_bytes": 1e9}}
    for changes in ({"objective": "throughput", "mode": "inference"}, limited):
        body = scenario(demo_model["id"], method=method, **changes)
        problem = assert_problem(client.post("/split", json=body), 422, "unsupported")
        assert problem["errors"][0]["loc"] == ["body", "method"]
        assert "auto" in problem["detail"]


@pytest.mark.parametrize("mode", MODES)
def test_infeasible_memory_says_by_how_much(client: httpx.Client, mode: str) -> None:
    """A limit that no allowed cut keeps is refused with the limit, the least that is needed and the
    difference; granting just the least succeeds, and one byte less does not."""
    model = uploaded(client, branching())
    graph = graph_of(client, model["id"])
    body = scenario(model["id"], mode=mode, store=False)
    body["constraints"] = {"pin_device": ["n_again"]}
    needs = [
        memory_needed(quantities(graph, chosen, mode), body, model["model_batch"])
        for chosen in closed_sets(graph)
        if 7 in chosen
    ]
    assert graph["nodes"][7]["name"] == "n_again"
    least = int(min(needs))
    body["device"]["memory_bytes"] = least - 1
    problem = assert_problem(client.post("/split", json=body), 422, "infeasible")
    assert problem["errors"][0]["loc"] == ["body", "device", "memory_bytes"]
    for words in (f"is {least - 1}", f"needs is {least} bytes", "1 more"):
        assert words in problem["detail"]
    body["device"]["memory_bytes"] = least
    assert split(client, body)["optimal"] is True
