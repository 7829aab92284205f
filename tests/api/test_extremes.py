"""Weird numbers and texts for the new parts: each is answered in finite numbers or refused."""

import itertools
import json
import math
import random
from typing import Any

import httpx
import pytest

from tests.api.reckoning import POWER, Json
from tests.api.small_models import branching
from tests.server import DEMO_BYTES, assert_problem, chain, scenario, split, uploaded

RATES = (5e-324, 1e-300, 1e-150, 1.0, 1e150, 1e300, 1.7976931348623157e308)
REFUSALS = {"unpriceable", "infeasible", "unsupported"}


def finite(part: Any) -> bool:
    """Whether all numbers of an answer are finite and none is negative."""
    if isinstance(part, dict):
        return all(map(finite, part.values()))
    if isinstance(part, list):
        return all(map(finite, part))
    return not isinstance(part, float) or (math.isfinite(part) and part >= 0)


def extreme_scenarios(model_id: str, count: int) -> list[Json]:
    """Scenarios whose every rate is drawn from the ends of what a double can hold."""
    choose = random.Random(5)
    every = list(itertools.product(RATES, repeat=4))
    bodies = []
    for device, server, up, down in choose.sample(every, count):
        mode, objective = choose.choice(
            [
                ("training", "delay"),
                ("inference", "delay"),
                ("training", "energy"),
                ("inference", "throughput"),
            ]
        )
        body = scenario(model_id, mode=mode, objective=objective)
        body["device"] = {"flops_per_s": device, **POWER}
        if choose.random() < 0.3:
            body["device"]["memory_bytes"] = choose.choice(RATES)
        body["server"] = {"flops_per_s": server}
        body["link"] = {
            "uplink_bits_per_s": up,
            "downlink_bits_per_s": down,
            "round_trip_s": choose.choice((0.0, 1e-300, 1e300)),
        }
        if choose.random() < 0.3:
            body |= {"batch_size": 2**31, "local_iterations": 2**31, "backward_ratio": 1e300}
        bodies.append(body)
    return bodies


@pytest.mark.parametrize("model", ["demo", "branching", "chain"])
def test_extreme_rates_are_answered_or_refused(client: httpx.Client, model: str) -> None:
    """Rates at the ends of doubles, in one request or in a batch, by every method, stored or not,
    are answered in finite numbers, or refused as unpriceable or infeasible; a batch decides as a
    single request does."""
    data = {"demo": DEMO_BYTES, "branching": branching(), "chain": chain("a", "b", "c")}[model]
    model_id = uploaded(client, data)["id"]
    answered = 0
    for body in extreme_scenarios(model_id, 150):
        statuses = {}
        for method in ("auto", "blockwise", "general"):
            response = client.post("/split", json={**body, "method": method})
            statuses[method] = response.status_code
            if response.status_code == 200:
                assert finite(response.json()), (body, response.text)
                assert response.json()["optimal"] in (True, False)
            else:
                assert response.status_code == 422, response.text
                assert response.json()["type"] in REFUSALS
            if response.status_code == 200:
                again = client.get(f"/splits/{response.json()['id']}")
                assert again.json() == response.json()
        answered += statuses["auto"] == 200
        alone = {key: value for key, value in body.items() if key != "model_id"}
        several = {"model_id": model_id, "scenarios": [alone, alone], "store": True}
        response = client.post("/split/batch", json=several)
        assert response.status_code == statuses["auto"], (body, response.text)
        assert finite(response.json())
    assert answered > 10


@pytest.mark.parametrize("model", ["demo", "branching"])
def test_extreme_powers_are_answered_or_refused(client: httpx.Client, model: str) -> None:
    """Watts at the ends of doubles, zero among them, beside slow links, with a limit of memory or
    without, are answered in finite numbers, or refused as unpriceable or infeasible, and a batch
    decides as a single request does; losses are finite or not told."""
    model_id = uploaded(client, {"demo": DEMO_BYTES, "branching": branching()}[model])["id"]
    choose, kinds = random.Random(6), set()
    for _ in range(120):
        watts = {name: choose.choice((0.0, 5.0, *RATES)) for name in POWER}
        memory = {"memory_bytes": 10 ** choose.uniform(3, 9)} if choose.random() < 0.5 else {}
        rates = ("uplink_bits_per_s", "downlink_bits_per_s")
        body = scenario(
            model_id,
            mode=choose.choice(("training", "inference")),
            objective="energy",
            device={"flops_per_s": choose.choice((1e-150, 1e9)), **watts, **memory},
            link={name: choose.choice((1e-290, 1e-150, 1e7)) for name in rates},
            constraints={"keep_inputs_on_device": choose.random() < 0.5},
        )
        response = client.post("/split", json=body, params={"include": "sensitivity"})
        assert finite(response.json()), (body, response.text)
        if response.status_code != 200:
            assert response.status_code == 422, response.text
            assert response.json()["type"] in REFUSALS
        kinds.add(response.json().get("type"))
        common = {name: body.pop(name) for name in ("model_id", "constraints")}
        several = client.post("/split/batch", json={**common, "scenarios": [body]})
        assert several.status_code == response.status_code, (body, response.text, several.text)
        assert several.json().get("type") == response.json().get("type")
    assert kinds >= {None, "unpriceable", "infeasible"}


def test_extreme_switching(client: httpx.Client) -> None:
    """Switching times and horizons at the ends of what is accepted give a decision."""
    model_id = uploaded(client, DEMO_BYTES)["id"]
    for switching_s in (0, 5e-324, 1e308):
        for rounds in (1, 2**31):
            for rate in (1e-290, 1e7, 1e290):
                link = {"uplink_bits_per_s": rate, "downlink_bits_per_s": rate}
                options = {"switching_s": switching_s, "horizon_rounds": rounds, "link": link}
                body = scenario(model_id, current_cut=["pixel_values"], store=False, **options)
                response = client.post("/split", json=body)
                assert response.status_code == 200, response.text
                assert finite(response.json())
                assert response.json()["switching"]["decision"] in ("stay", "move")


@pytest.mark.parametrize(
    "name", ["节点", "узел", "🔪🪚", "e\u0301", "\u202eltr", 'a"b\\c', "a b", "x" * 4096, "\u0000"]
)
def test_names_in_any_script(client: httpx.Client, name: str) -> None:
    """Names in any script hold as pins and as cut tensors, and come back as they were."""
    data = chain(name, "second", extents=(1, 50))
    model_id = uploaded(client, data)["id"]
    node_name = client.get(f"/models/{model_id}/graph").json()["nodes"][0]["name"]
    body = scenario(model_id, constraints={"pin_device": [node_name]}, store=False)
    assert split(client, body, include="nodes")["nodes"]["device"][0] == node_name
    one = {key: body[key] for key in ("device", "server", "link")}
    several = {"model_id": model_id, "scenarios": [one], "constraints": body["constraints"]}
    assert client.post("/split/batch", json=several).status_code == 200
    wrong = scenario(model_id, current_cut=[name + "?"][:1], store=False)
    refused = client.post("/split", json=wrong)
    assert refused.status_code == 422


def test_huge_bodies_are_refused_in_time(client: httpx.Client, demo_model: Json) -> None:
    """A batch larger than any body may be is refused by its size, one of wrong items by their
    places, and the service goes on."""
    one = {key: scenario("")[key] for key in ("device", "server", "link")}
    body = {"model_id": demo_model["id"], "scenarios": [one] * 200_000}
    refused = client.post("/split/batch", content=json.dumps(body), headers=JSON)
    assert_problem(refused, 413, "content-too-large")
    wrong = {"model_id": demo_model["id"], "scenarios": [{}] * 10_000}
    problem = assert_problem(client.post("/split/batch", json=wrong), 422, "invalid-request")
    assert problem["errors"][0]["loc"][:3] == ["body", "scenarios", 0]
    assert len(problem["errors"]) <= 30_000
    assert client.get("/healthz").status_code == 200


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'{"scenarios": []}',
        b'{"model_id": "x", "scenarios": null}',
        b'{"model_id": "x", "scenarios": {}}',
        b'{"model_id": "x", "scenarios": [null]}',
        b'{"model_id": "x", "scenarios": [[]]}',
        b'{"model_id": "x", "scenarios": [{"device": {"flops_per_s": NaN}}]}',
        b'{"model_id": "\xff", "scenarios": []}',
        b'{"model_id": "x", "scenarios": [' + b"[" * 100_000,
        b'{"model_id": "x", "scenarios": [], "method": "general"}',
        b'{"model_id": "x", "scenarios": [], "current_cut": []}',
    ],
    ids=lambda content: repr(content[:50]),
)
def test_malformed_batches_are_refused(client: httpx.Client, content: bytes) -> None:
    """What is no batch is refused as an invalid request."""
    response = client.post("/split/batch", content=content, headers=JSON)
    assert_problem(response, 422, "invalid-request")
    refused = client.post("/split/batch", content=content or b"x")
    assert_problem(refused, 415, "unsupported-media-type")
    assert_problem(
        client.post("/split/batch?include=nodes", content=content, headers=JSON),
        422,
        "invalid-request",
    )
