"""Profiles: kept, listed, deleted; and measured seconds in the place of FLOPs."""

import random
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.measuring import (
    MACHINE,
    Json,
    best_by_seconds,
    by_speed,
    created,
    made_up_seconds,
    measured,
    profile,
    sums,
)
from tests.api.reckoning import MODES, POWER, graph_of, random_scenario
from tests.api.small_models import branching, random_model, unique
from tests.server import (
    DEMO_BYTES,
    assert_problem,
    chain,
    listed,
    scenario,
    serving,
    split,
    upload,
    uploaded,
)

OF_THE_MOMENT = ("id", "created_at", "solve_s")
RATES = ("device_flops_per_s", "server_flops_per_s")


def timeless(answer: Json) -> Json:
    return {name: part for name, part in answer.items() if name not in OF_THE_MOMENT}


@pytest.fixture
def small(client: httpx.Client) -> tuple[Json, Json]:
    """A small branching model of this test alone, and its graph."""
    model = uploaded(client, unique(branching()))
    return model, graph_of(client, model["id"])


def test_profiles_are_kept_listed_and_deleted(
    client: httpx.Client, small: tuple[Json, Json]
) -> None:
    """A profile answers with its sustained FLOPS, is found by its path and in the list, the newest
    first; the same content again is the same profile, other content another; once deleted it is
    gone."""
    model, graph = small
    seconds = made_up_seconds(graph, 1)
    body = profile(measured(model, seconds), name="first")
    response = client.post("/profiles", json=body)
    assert response.status_code == 201
    answer = response.json()
    assert response.headers["location"] == f"/profiles/{answer['id']}"
    assert answer["flops_per_s"] == pytest.approx(model["flops"] / sum(seconds.values()))
    assert (answer["name"], answer["threads"], answer["machine"]) == ("first", 2, MACHINE)
    (entry,) = answer["models"]
    assert entry == {
        **{name: part for name, part in body["models"][0].items() if name != "node_seconds"},
        "nodes": len(seconds),
    }
    again = client.post("/profiles", json=body)
    assert (again.status_code, again.json()) == (200, answer)
    other = client.post("/profiles", json={**body, "name": "second"}).json()
    ids = [each["id"] for each in listed(client, "/profiles", limit=1)]
    assert ids[:2] == [other["id"], answer["id"]]
    assert listed(client, "/profiles")[1] == answer
    whole = client.get(f"/profiles/{answer['id']}").json()
    assert whole["models"][0].pop("node_seconds") == seconds
    assert whole == answer
    assert client.delete(f"/profiles/{answer['id']}").status_code == 204
    for method in ("GET", "DELETE"):
        gone = client.request(method, f"/profiles/{answer['id']}")
        assert_problem(gone, 404, "not-found")
    assert answer["id"] not in [each["id"] for each in listed(client, "/profiles")]
    assert created(client, body) == answer["id"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(3))
def test_measured_seconds_have_the_optimum_of_brute_force(
    client: httpx.Client, seed: int, mode: str
) -> None:
    """With a profile of either side or of both, every objective, limit and kind of constraint has
    the least value over all cuts, computed from seconds of nodes; where a side has a speed, its
    seconds are FLOPs over that."""
    model = uploaded(client, random_model(seed))
    graph, choose = graph_of(client, model["id"]), random.Random(f"{seed} {mode}")
    names = [node["name"] for node in graph["nodes"]]
    sides = {side: made_up_seconds(graph, f"{seed} {side}") for side in ("device", "server")}
    ids = {
        side: created(client, profile(measured(model, part), name=f"{side} {seed}"))
        for side, part in sides.items()
    }
    objectives = ("delay", "energy", "throughput")[: 3 if mode == "inference" else 2]
    constraints: list[Json] = [{}, {"pin_device": [names[2]]}, {"keep_inputs_on_device": True}]
    infeasible = 0
    for objective, limited, named, constraint in product(
        objectives, (False, True), ("device", "server", "both"), constraints
    ):
        body = random_scenario(choose, model["id"], mode, objective=objective)
        body["constraints"] = constraint
        for side in sides:
            body[side]["flops_per_s"] = 10 ** choose.uniform(6, 9)
        seconds = {side: by_speed(graph, body[side]["flops_per_s"]) for side in sides}
        for side, profile_id in ids.items():
            if named in (side, "both"):
                body[side] = {"profile_id": profile_id}
                seconds[side] = sides[side]
        if objective == "energy":
            body["device"] |= POWER
        if limited:
            body["device"]["memory_bytes"] = 10 ** choose.uniform(3, 4.5) * body["batch_size"]
        expected = best_by_seconds(graph, body, model["model_batch"], **seconds)
        if expected is None:
            infeasible += 1
            assert_problem(client.post("/split", json=body), 422, "infeasible")
            continue
        answer = split(client, body)
        assert answer["objective_value"] == pytest.approx(expected, rel=1e-9), body
        assert (answer["optimal"], answer["method"]) == (True, "table")
    assert infeasible < 36


def test_every_method_prices_seconds(client: httpx.Client, small: tuple[Json, Json]) -> None:
    """By table, block-wise and general the value is the same, with a proof from the latter two."""
    model, graph = small
    profile_id = created(client, profile(measured(model, made_up_seconds(graph, 2))))
    for mode, server in product(MODES, ({"profile_id": profile_id}, {"flops_per_s": 3e8})):
        body = scenario(model["id"], mode=mode, device={"profile_id": profile_id}, server=server)
        answers = {
            method: split(client, {**body, "method": method})
            for method in ("table", "blockwise", "general")
        }
        least = answers["table"]["objective_value"]
        for method, answer in answers.items():
            assert answer["method"] == method
            assert answer["objective_value"] == pytest.approx(least, rel=1e-9)
            if method != "table":
                assert answer["certificate"]["flow_value"] == pytest.approx(least, rel=1e-9)


def test_the_answer_says_what_was_used(client: httpx.Client, small: tuple[Json, Json]) -> None:
    """Seconds where the profile knows the model; quantities are true FLOPs all the same, the parts
    of the delay are sums of seconds, and ranges of machines are null, of the link as ever."""
    model, graph = small
    seconds = made_up_seconds(graph, 3)
    entry = measured(model, seconds)
    profile_id = created(client, profile(entry, name="a machine"))
    body = scenario(model["id"], device={"profile_id": profile_id}, mode="inference")
    body["link"] = {"uplink_bits_per_s": 1e7, "downlink_bits_per_s": 1e7}
    answer = split(client, body, include="nodes")
    told = {
        "profile_id": profile_id,
        "name": "a machine",
        "used": "node-seconds",
        "flops_per_s": entry["flops_per_s"],
    }
    assert answer["profiles"] == {"device": told, "server": None}
    nodes, flops = answer["nodes"], {node["name"]: node["flops"] for node in graph["nodes"]}
    quantities, delay = answer["cut"]["quantities"], answer["delay"]
    for side in ("device", "server"):
        assert quantities[f"{side}_flops"] == sum(flops[name] for name in nodes[side])
    assert delay["device_compute_s"] == pytest.approx(sums(seconds, nodes)["device"])
    by_server = quantities["server_flops"] / body["server"]["flops_per_s"]
    assert delay["server_compute_s"] == pytest.approx(by_server)
    assert answer["baselines"]["device_only_s"] == pytest.approx(sum(seconds.values()))
    for name, ends in answer["valid_while"].items():
        assert (ends is None) == (name in RATES)
    stored = client.get(f"/splits/{answer['id']}?include=nodes").json()
    assert stored == answer
    plain = split(client, scenario(model["id"]))
    assert "profiles" not in plain


def test_another_model_gets_the_sustained_flops(client: httpx.Client) -> None:
    """A profile that knows other models only stands for their FLOPs over their seconds: the answer
    is that of this speed, ranges included, and says so; with a deleted model it stays the same, and
    when that is uploaded again, its seconds are used again."""
    data = unique(branching())
    model = uploaded(client, data)
    graph, other = graph_of(client, model["id"]), uploaded(client, chain("a", "b", "c"))
    ours = measured(model, made_up_seconds(graph, 4))
    theirs = measured(other, dict.fromkeys("abc", 1e-6))
    profile_id = created(client, profile(ours, theirs, name="both"))
    asked = uploaded(client, unique(branching()))["id"]
    speed = (model["flops"] + other["flops"]) / (ours["whole_s"] + theirs["whole_s"])
    stated = timeless(split(client, scenario(asked, device={"flops_per_s": speed})))

    def by_profile(model_id: str) -> Json:
        return split(client, scenario(model_id, device={"profile_id": profile_id}))

    answer = timeless(by_profile(asked))
    used = answer.pop("profiles")["device"]
    assert used == {
        "profile_id": profile_id,
        "name": "both",
        "used": "sustained-flops",
        "flops_per_s": pytest.approx(speed),
    }
    assert answer["cut"] == stated["cut"]
    assert answer["delay"] == pytest.approx(stated["delay"])
    assert set(answer) == set(stated)
    assert answer["valid_while"]["device_flops_per_s"] is not None
    before = timeless(by_profile(model["id"]))
    assert client.delete(f"/models/{model['id']}").status_code == 204
    assert timeless(by_profile(asked))["delay"] == answer["delay"]
    assert client.get(f"/profiles/{profile_id}").status_code == 200
    assert uploaded(client, data)["id"] == model["id"]
    assert timeless(by_profile(model["id"])) == before
    assert before["profiles"]["device"]["used"] == "node-seconds"


def test_a_deleted_profile_is_gone_at_once(client: httpx.Client, small: tuple[Json, Json]) -> None:
    """Right after it is deleted, a profile that a split has just used is not found any more, with
    the place of its id."""
    model, graph = small
    profile_id = created(client, profile(measured(model, made_up_seconds(graph, 5))))
    body = scenario(model["id"], server={"profile_id": profile_id})
    split(client, body)
    assert client.delete(f"/profiles/{profile_id}").status_code == 204
    problem = assert_problem(client.post("/split", json=body), 404, "not-found")
    assert problem["errors"][0]["loc"] == ["body", "server", "profile_id"]
    alone = {name: body[name] for name in ("device", "server", "link")}
    batch = {"model_id": model["id"], "scenarios": [scenario_of(model), alone]}
    problem = assert_problem(client.post("/split/batch", json=batch), 404, "not-found")
    assert problem["errors"][0]["loc"] == ["body", "scenarios", 1, "server", "profile_id"]


def scenario_of(model: Json, **changes: Any) -> Json:
    """A scenario of a batch."""
    body = scenario(model["id"], **changes)
    del body["model_id"]
    return body


def test_batches_answer_as_single_requests_do(
    client: httpx.Client, small: tuple[Json, Json]
) -> None:
    """Scenarios with profiles of either side, of both and of none, with several speeds beside a
    profile, and smashed in several types, have in one batch the answers that each has alone; so do
    the stored ones."""
    model, graph = small
    first, second = (
        created(client, profile(measured(model, made_up_seconds(graph, seed)), name=str(seed)))
        for seed in (6, 7)
    )
    links = [
        {"uplink_bits_per_s": rate, "downlink_bits_per_s": rate, "round_trip_s": 1e-4, **more}
        for rate in (1e6, 1e8)
        for more in ({}, {"smashed_dtype": "float16"})
    ]
    machines = [
        ({"flops_per_s": 1e8}, {"flops_per_s": 1e10}),
        ({"profile_id": first}, {"profile_id": second}),
        ({"profile_id": first}, {"flops_per_s": 1e9}),
        ({"profile_id": first, "memory_bytes": 1e5}, {"flops_per_s": 3e9}),
        ({"flops_per_s": 1e8}, {"profile_id": second}),
    ]
    scenarios = [
        scenario_of(model, device=device, server=server, link=link, mode=mode)
        for (device, server), link, mode in product(machines, links, MODES)
    ]
    scenarios += [
        {**each, "objective": "throughput"} for each in scenarios if each["mode"] != "training"
    ]
    random.Random(8).shuffle(scenarios)
    batch = {"model_id": model["id"], "scenarios": scenarios, "store": True}
    response = client.post("/split/batch", json=batch)
    assert response.status_code == 200, response.text
    answers = response.json()
    for body, answer in zip(scenarios, answers["answers"], strict=True):
        alone = split(client, {"model_id": model["id"], **body, "store": False})
        assert answers["cuts"][answer["cut"]] == alone["cut"]
        for name in ("delay", "objective_value", "optimal"):
            assert answer[name] == alone[name], (name, body)
        assert answer.get("profiles") == alone.get("profiles")
        stored = client.get(f"/splits/{answer['id']}").json()
        for name in ("cut", "delay", "baselines", "optimal"):
            assert stored[name] == alone[name]
        assert stored.get("profiles") == alone.get("profiles")


def test_a_batch_may_name_so_many_machines(client: httpx.Client, small: tuple[Json, Json]) -> None:
    """Eight speeds beside a profile are answered; a ninth, which takes a table of its own as well,
    is refused, and named."""
    model, graph = small
    profile_id = created(client, profile(measured(model, made_up_seconds(graph, 9))))
    scenarios = [
        scenario_of(model, device={"profile_id": profile_id}, server={"flops_per_s": 1e9 + i})
        for i in range(9)
    ]
    batch = {"model_id": model["id"], "scenarios": scenarios[:8] * 3}
    assert client.post("/split/batch", json=batch).status_code == 200
    batch["scenarios"] = scenarios
    problem = assert_problem(client.post("/split/batch", json=batch), 422, "unsupported")
    assert problem["errors"][0]["loc"] == ["body", "scenarios", 8]
    assert "several batches" in problem["detail"]


def test_stay_or_move_weighs_seconds(client: httpx.Client, small: tuple[Json, Json]) -> None:
    """What a move gains is the difference of two sums of measured seconds and of transfers."""
    model, graph = small
    seconds = made_up_seconds(graph, 10)
    profile_id = created(client, profile(measured(model, seconds)))
    link = {"uplink_bits_per_s": 1e12, "downlink_bits_per_s": 1e12}
    body = scenario(
        model["id"],
        device={"profile_id": profile_id},
        server={"flops_per_s": 1e15},
        link=link,
        mode="inference",
    )
    answer = split(client, {**body, "current_cut": []})
    assert answer["switching"]["decision"] == "move"
    assert answer["switching"]["current_total_s"] == pytest.approx(sum(seconds.values()))
    gain_s = sum(seconds.values()) - answer["delay"]["total_s"]
    assert answer["switching"]["gain_s"] == pytest.approx(gain_s)
    stays = split(client, {**body, "current_cut": [], "switching_s": 1e3})
    assert stays["switching"]["decision"] == "stay"
    assert stays["delay"]["total_s"] == pytest.approx(sum(seconds.values()))


def test_rounding_that_may_hide_a_better_cut_is_told(
    client: httpx.Client, small: tuple[Json, Json]
) -> None:
    """Beside a server so slow that its seconds drown those of the device, what a table finds is not
    called optimal, and the gap says how much may be lost; a flow proves it all the same, so that is
    what `auto` does."""
    model, graph = small
    profile_id = created(client, profile(measured(model, made_up_seconds(graph, 11))))
    body = scenario(
        model["id"],
        device={"profile_id": profile_id},
        server={"flops_per_s": 1e-8},
        mode="inference",
    )
    for method in ("table", "blockwise"):
        answer = split(client, {**body, "method": method})
        assert answer["optimal"] is False
        assert answer["gap"] > 1e-9 * answer["objective_value"]
    proved = split(client, body)
    assert (proved["method"], proved["optimal"], proved["gap"]) == ("general", True, None)
    batch = {"model_id": model["id"], "scenarios": [scenario_of(model, **_of(body))]}
    (alone,) = client.post("/split/batch", json=batch).json()["answers"]
    assert alone["optimal"] is False
    # Beyond what flows can add up, the table's answer stands as it is.
    body["link"]["round_trip_s"] = 1.7e308
    answer = split(client, body)
    assert (answer["method"], answer["optimal"]) == ("table", False)


def _of(body: Json) -> Json:
    return {name: body[name] for name in ("device", "server", "link", "mode")}


def test_a_speed_too_small_is_unpriceable(client: httpx.Client, small: tuple[Json, Json]) -> None:
    """Beside a profile, a speed that makes seconds infinite is refused by its name, alone and in a
    batch."""
    model, graph = small
    profile_id = created(client, profile(measured(model, made_up_seconds(graph, 12))))
    body = scenario(model["id"], device={"profile_id": profile_id}, server={"flops_per_s": 1e-305})
    problem = assert_problem(client.post("/split", json=body), 422, "unpriceable")
    assert problem["errors"][0]["loc"] == ["body", "server", "flops_per_s"]
    batch = {
        "model_id": model["id"],
        "scenarios": [scenario_of(model, **_of({**body, "mode": "inference"}))],
    }
    problem = assert_problem(client.post("/split/batch", json=batch), 422, "unpriceable")
    assert problem["errors"][0]["loc"] == ["body", "scenarios", 0, "server", "flops_per_s"]


def test_profiles_survive_a_restart(tmp_path: Path) -> None:
    """After the service was stopped and started again, the list is the same, and a split by a
    profile has the same answer."""
    with serving(tmp_path) as server:
        client = server.client()
        model = uploaded(client, DEMO_BYTES)
        seconds = made_up_seconds(graph_of(client, model["id"]), 13)
        profile_id = created(client, profile(measured(model, seconds)))
        body = scenario(model["id"], device={"profile_id": profile_id})
        before, rows = split(client, body), listed(client, "/profiles")
        server.end()
        server.start()
        client = server.client()
        assert listed(client, "/profiles") == rows
        assert timeless(split(client, body)) == timeless(before)


def test_profiles_are_shared_by_processes(tmp_path: Path) -> None:
    """A profile that one process of the service was given is used by each of them."""
    with serving(tmp_path) as server:
        server.end()
        server.start("--workers", "2")
        client = server.client()
        model = uploaded(client, chain("a", "b"))
        profile_id = created(client, profile(measured(model, {"a": 0.5, "b": 0.25})))
        totals = set()
        for _ in range(20):
            with httpx.Client(base_url=server.url, timeout=60) as other:
                body = scenario(model["id"], device={"profile_id": profile_id}, mode="inference")
                totals.add(split(other, {**body, "store": False})["baselines"]["device_only_s"])
        assert totals == {0.75}


def test_the_upload_is_needed_first(client: httpx.Client) -> None:
    """A profile of a model that is not there is refused; after the upload it is taken."""
    data = chain("a", "b")
    model = uploaded(client, data)
    body = profile(measured(model, {"a": 1.0, "b": 2.0}))
    assert client.delete(f"/models/{model['id']}").status_code == 204
    problem = assert_problem(client.post("/profiles", json=body), 422, "invalid-profile")
    assert problem["errors"][0]["loc"] == ["body", "models", 0, "model_id"]
    assert upload(client, data).status_code == 201
    assert client.post("/profiles", json=body).status_code == 201
