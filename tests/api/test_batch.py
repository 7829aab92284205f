"""``POST /split/batch``: the same answers as one by one, all or none."""

import random
from typing import Any

import httpx
import pytest

from app.api.schemas import BatchOut, SplitOut
from tests.api.reckoning import POWER, Json, fixture_id, graph_of, random_scenario
from tests.api.small_models import branching, unique
from tests.server import assert_problem, chain, listed, scenario, split, uploaded


def batch(client: httpx.Client, model_id: str, scenarios: list[Json], **changes: Any) -> Json:
    """The answer of a batch, which must be 200 and as documented."""
    body = {"model_id": model_id, "scenarios": scenarios, **changes}
    response = client.post("/split/batch", json=body)
    assert response.status_code == 200, response.text
    BatchOut.model_validate_json(response.text, extra="forbid")
    answer: Json = response.json()
    assert answer["model_id"] == model_id
    return answer


def bare(body: Json) -> Json:
    """A scenario without what a batch states once."""
    apart = ("model_id", "store", "constraints")
    return {key: value for key, value in body.items() if key not in apart}


def simple(model_id: str, **changes: Any) -> Json:
    """A scenario of a batch that cuts the demo model in its middle, with changes."""
    return bare(scenario(model_id, **changes))


def mixed(choose: random.Random, model_id: str, count: int) -> list[Json]:
    """Scenarios of every mode and objective, with and without limits and options, shuffled."""
    bodies = []
    for i in range(count):
        objective = ("delay", "energy", "throughput")[i % 3]
        mode = (
            "inference" if objective == "throughput" else choose.choice(("training", "inference"))
        )
        body = random_scenario(choose, model_id, mode, faster=choose.random() < 0.5)
        body["objective"] = objective
        if objective == "energy":
            body["device"] |= POWER
        if choose.random() < 0.4:
            body["device"]["memory_bytes"] = 10 ** choose.uniform(10, 13)
            body["optimizer_states"] = choose.randrange(3)
        for option in ("batch_size", "local_iterations", "backward_ratio"):
            if choose.random() < 0.3:
                del body[option]
        bodies.append(body)
    choose.shuffle(bodies)
    return bodies


@pytest.mark.parametrize("constraints", [{}, {"keep_inputs_on_device": True}])
@pytest.mark.parametrize("name", ["mobilenet_v2", "light_squeezenet", "branching"])
def test_answers_are_those_of_single_requests(
    client: httpx.Client, name: str, constraints: Json
) -> None:
    """Mixed modes, objectives, limits and sizes are answered in their order, each as POST /split
    answers it alone, and each distinct cut is listed once."""
    choose = random.Random(name)
    if name == "branching":
        model_id = uploaded(client, branching())["id"]
    else:
        model_id = fixture_id(client, name)
    bodies = mixed(choose, model_id, 90)
    answer = batch(client, model_id, [bare(body) for body in bodies], constraints=constraints)
    assert len(answer["answers"]) == len(bodies)
    for body, found in zip(bodies, answer["answers"], strict=True):
        single = split(client, {**body, "constraints": constraints})
        assert found["id"] is None
        assert found["optimal"] is True
        assert found["objective_value"] == pytest.approx(single["objective_value"], rel=1e-12)
        assert answer["cuts"][found["cut"]] == single["cut"], body
        assert found["delay"] == pytest.approx(single["delay"], rel=1e-12)
        if body["objective"] == "delay":
            assert found["objective_value"] == found["delay"]["total_s"]
    used = {found["cut"] for found in answer["answers"]}
    assert used == set(range(len(answer["cuts"])))
    # In the two modes a cut has other activations.
    distinct = {
        (str(single["cut_tensors"]), str(single["quantities"])) for single in answer["cuts"]
    }
    assert len(distinct) == len(answer["cuts"])


def test_constraints_hold_in_every_scenario(client: httpx.Client, demo_model: Json) -> None:
    """Pins of a batch hold for all its answers; pins that cannot hold refuse it."""
    graph = graph_of(client, demo_model["id"])
    names = [node["name"] for node in graph["nodes"]]
    constraints = {"pin_device": [names[20]], "pin_server": [names[60]]}
    choose = random.Random(0)
    bodies = [
        random_scenario(choose, demo_model["id"], mode, faster=faster)
        for mode in ("training", "inference")
        for faster in (False, True)
        for _ in range(5)
    ]
    scenarios = [bare(body) for body in bodies]
    stored = batch(client, demo_model["id"], scenarios, constraints=constraints, store=True)
    for found in stored["answers"]:
        nodes = client.get(f"/splits/{found['id']}?include=nodes").json()["nodes"]
        assert names[20] in nodes["device"]
        assert names[60] in nodes["server"]
    wrong = {"model_id": demo_model["id"], "scenarios": scenarios}
    twice = {"pin_device": [names[60]], "pin_server": [names[20]]}
    refused = client.post("/split/batch", json={**wrong, "constraints": twice})
    assert_problem(refused, 422, "contradictory-pins")
    unknown = client.post("/split/batch", json={**wrong, "constraints": {"pin_device": ["?"]}})
    assert_problem(unknown, 422, "unknown-node")


def test_stored_batch_is_read_like_single_results(client: httpx.Client) -> None:
    """With store true every answer has an id under which /splits has it as documented, with what
    the batch answered and what POST /split would say of baselines; the request is kept."""
    model_id = uploaded(client, unique(branching()))["id"]
    bodies = mixed(random.Random(7), model_id, 12)
    answer = batch(client, model_id, [bare(body) for body in bodies], store=True)
    ids = [found["id"] for found in answer["answers"]]
    assert len(set(ids)) == len(ids)
    items = {item["id"]: item for item in listed(client, "/splits", model_id=model_id)}
    assert set(items) == set(ids)
    for body, found in zip(bodies, answer["answers"], strict=True):
        response = client.get(f"/splits/{found['id']}")
        SplitOut.model_validate_json(response.text, extra="forbid")
        stored, single = response.json(), split(client, body)
        assert items[found["id"]] == stored
        assert stored["cut"] == answer["cuts"][found["cut"]] == single["cut"]
        assert stored["delay"] == found["delay"]
        assert stored["objective_value"] == found["objective_value"]
        assert stored["baselines"] == pytest.approx(single["baselines"], rel=1e-12)
        assert stored["optimal"] is True
        nodes = client.get(f"/splits/{found['id']}?include=nodes").json()["nodes"]
        assert len(nodes["device"]) == stored["cut"]["device_nodes"]
        # A stored result of a batch can be the current cut, as any other.
        if body["objective"] != "energy":
            there = split(client, {**body, "current_cut": found["id"]})
            assert there["switching"]["decision"] == "stay"


def test_batch_stores_nothing_unless_asked(client: httpx.Client) -> None:
    """By default, and with store false, no result is stored and no answer has an id."""
    model_id = uploaded(client, chain("a", "b"))["id"]
    for changes in ({}, {"store": False}):
        answer = batch(client, model_id, [simple(model_id)] * 3, **changes)
        assert [found["id"] for found in answer["answers"]] == [None] * 3
    assert listed(client, "/splits", model_id=model_id) == []


BAD: dict[str, tuple[Json, str]] = {
    "zero rate": ({"device": {"flops_per_s": 0}}, "invalid-request"),
    "unknown field": ({"speed": 1}, "invalid-request"),
    "energy without power": ({"objective": "energy"}, "invalid-request"),
    "throughput in training": ({"objective": "throughput"}, "invalid-request"),
    "what a batch states once": ({"store": True}, "invalid-request"),
    "too little memory": (
        {
            "device": {"flops_per_s": 1e9, "memory_bytes": 1.0},
            "constraints": {"pin_device": ["a"]},
        },
        "infeasible",
    ),
    "infinite price": ({"device": {"flops_per_s": 1e-320}}, "unpriceable"),
    "infinite delay": ({"device": {"flops_per_s": 1e-307}}, "unpriceable"),
    "infinite delay, limited": (
        {"device": {"flops_per_s": 1e-307, "memory_bytes": 1e30}},
        "unpriceable",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_one_bad_scenario_refuses_the_batch(client: httpx.Client, case: str, place: int) -> None:
    """A scenario that POST /split would refuse refuses the batch with the same type, by its index,
    and nothing is stored of the good ones."""
    model_id = uploaded(client, chain("a", "b", extents=(1, 100_000)))["id"]
    changes, kind = BAD[case]
    changes = dict(changes)
    constraints = changes.pop("constraints", {})
    scenarios = [simple(model_id, mode=mode) for mode in ("training", "inference", "training") * 3]
    scenarios[place] = {**simple(model_id), **changes}
    body = {"model_id": model_id, "scenarios": scenarios, "constraints": constraints, "store": True}
    problem = assert_problem(client.post("/split/batch", json=body), 422, kind)
    loc = problem["errors"][0]["loc"]
    assert loc[:3] == ["body", "scenarios", place]
    assert str(place) in problem["detail"]
    if kind == "infeasible":
        # One activation of 400,000 bytes is read and one is made; one byte is there.
        assert "799999 more" in problem["detail"]
        assert loc[3:] == ["device", "memory_bytes"]
    assert listed(client, "/splits", model_id=model_id) == []
    scenarios[place] = simple(model_id)
    body["scenarios"] = scenarios
    assert client.post("/split/batch", json=body).status_code == 200
    assert len(listed(client, "/splits", model_id=model_id)) == len(scenarios)


def test_batch_has_one_to_ten_thousand_scenarios(client: httpx.Client, demo_model: Json) -> None:
    """Ten thousand scenarios are answered; one more and none at all are refused."""
    model_id = demo_model["id"]
    choose = random.Random(1)
    kinds = [bare(random_scenario(choose, model_id, "training")) for _ in range(100)]
    answer = batch(client, model_id, kinds * 100)
    assert len(answer["answers"]) == 10_000
    assert answer["answers"][:100] * 100 == answer["answers"]
    for scenarios in (kinds * 100 + kinds[:1], []):
        body = {"model_id": model_id, "scenarios": scenarios}
        problem = assert_problem(client.post("/split/batch", json=body), 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["body", "scenarios"]


def test_unknown_model_of_a_batch(client: httpx.Client) -> None:
    """A batch of a model that is not there is 404, and names the field."""
    for model_id in ("0" * 32, "nope", "\x00", "é"):
        body = {"model_id": model_id, "scenarios": [simple(model_id)]}
        problem = assert_problem(client.post("/split/batch", json=body), 404, "not-found")
        assert problem["errors"][0]["loc"] == ["body", "model_id"]
