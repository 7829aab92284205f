"""What a run costs a side by itself, beside its nodes."""

from typing import Any

import httpx
import pytest

from tests.api.measuring import made_up_seconds, measured, profile
from tests.server import scenario, split

Json = dict[str, Any]
METHODS = ("table", "blockwise", "general")


def asked(client: httpx.Client, model: Json, device_s: float, server_s: float, **more: Any) -> Json:
    """The answer for the usual scenario, where runs cost so many seconds by themselves."""
    body = scenario(model["id"], mode="inference", **more)
    body["device"] = {**body["device"], "run_overhead_s": device_s}
    body["server"] = {**body["server"], "run_overhead_s": server_s}
    return split(client, body)


@pytest.mark.parametrize("method", METHODS)
def test_each_side_that_runs_anything_pays_it_once(
    client: httpx.Client, demo_model: Json, method: str
) -> None:
    """A cut in the middle pays both, and stays the best where they are small."""
    free = asked(client, demo_model, 0.0, 0.0, method=method)
    paid = asked(client, demo_model, 0.002, 0.0005, method=method)
    assert free["cut"] == paid["cut"]
    assert 0 < free["cut"]["device_nodes"] < demo_model["nodes"]
    for term, extra_s in (("device_compute_s", 0.002), ("server_compute_s", 0.0005)):
        assert paid["delay"][term] - free["delay"][term] == pytest.approx(extra_s)
    assert paid["objective_value"] == paid["delay"]["total_s"]


@pytest.mark.parametrize("method", METHODS)
def test_it_can_make_another_cut_the_best(
    client: httpx.Client, demo_model: Json, method: str
) -> None:
    """Where a run of one side costs more than all else, everything runs on the other, which alone
    pays for a run."""
    on_server = asked(client, demo_model, 100.0, 0.5, method=method)
    assert on_server["cut"]["device_nodes"] == 0
    assert on_server["delay"]["device_compute_s"] == 0.0
    assert on_server["delay"]["total_s"] == on_server["baselines"]["server_only_s"]
    on_device = asked(client, demo_model, 0.5, 100.0, method=method)
    assert on_device["cut"]["server_nodes"] == 0
    assert on_device["delay"]["server_compute_s"] == 0.0
    assert on_device["delay"]["total_s"] == on_device["baselines"]["device_only_s"]


def test_a_batch_pays_it_as_single_requests_do(client: httpx.Client, demo_model: Json) -> None:
    """Scenarios of one batch have each its own."""
    costs = [(0.0, 0.0), (0.002, 0.0005), (100.0, 0.5), (0.5, 100.0)]
    bodies = []
    for device_s, server_s in costs:
        body = scenario(demo_model["id"], mode="inference")
        del body["model_id"]
        body["device"] |= {"run_overhead_s": device_s}
        body["server"] |= {"run_overhead_s": server_s}
        bodies.append(body)
    batch = {"model_id": demo_model["id"], "scenarios": bodies}
    found = client.post("/split/batch", json=batch).json()
    for answer, (device_s, server_s) in zip(found["answers"], costs, strict=True):
        alone = asked(client, demo_model, device_s, server_s)
        assert found["cuts"][answer["cut"]] == alone["cut"]
        assert answer["delay"] == alone["delay"]


def test_a_profile_has_it_unless_it_is_stated(client: httpx.Client, demo_model: Json) -> None:
    """What was measured counts where a profile is named; what is stated takes its place. A profile
    of other models tells what these had."""
    graph = client.get(f"/models/{demo_model['id']}/graph").json()
    entry = measured(demo_model, made_up_seconds(graph, "cold"), run_overhead_s=0.25)
    response = client.post("/profiles", json=profile(entry, name="cold"))
    assert response.status_code == 201, response.text
    machine = {"profile_id": response.json()["id"]}
    assert response.json()["models"][0]["run_overhead_s"] == 0.25

    def device_only_s(**stated: float) -> float:
        body = scenario(demo_model["id"], mode="inference", device={**machine, **stated})
        answer: float = split(client, body)["baselines"]["device_only_s"]
        return answer

    assert device_only_s() - device_only_s(run_overhead_s=0.0) == pytest.approx(0.25)
    assert device_only_s() == device_only_s(run_overhead_s=0.25)


def test_a_pipeline_does_not_pay_it(client: httpx.Client, demo_model: Json) -> None:
    """The slowest stage takes as long whatever runs cost by themselves: none waits."""
    free = asked(client, demo_model, 0.0, 0.0, objective="throughput")
    paid = asked(client, demo_model, 5.0, 5.0, objective="throughput")
    assert paid["objective_value"] == free["objective_value"]
    assert paid["cut"] == free["cut"]


@pytest.mark.parametrize("bad", [-1e-9, "0.1", True])
def test_nonsense_is_refused(client: httpx.Client, demo_model: Json, bad: object) -> None:
    """It is a number of seconds, and not negative."""
    body = scenario(demo_model["id"])
    body["device"] = {**body["device"], "run_overhead_s": bad}
    response = client.post("/split", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["body", "device", "run_overhead_s"]
