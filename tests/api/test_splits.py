"""``/split`` and ``/splits`` over HTTP: answers, options, stored results."""

import json
from typing import Any

import httpx
import pytest

from app.api.schemas import SplitOut, SplitPage
from tests.server import chain, listed, scenario, split, uploaded

MODES = ("training", "inference")

LINKS = {
    "good": {"uplink_bits_per_s": 1e9, "downlink_bits_per_s": 1e9, "round_trip_s": 0.001},
    "normal": {"uplink_bits_per_s": 2e7, "downlink_bits_per_s": 1e8, "round_trip_s": 0.02},
    "poor": {"uplink_bits_per_s": 1e6, "downlink_bits_per_s": 5e6},
}

OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "good link": {"link": LINKS["good"]},
    "poor link": {"link": LINKS["poor"]},
    "batch": {"batch_size": 32},
    "iterations": {"local_iterations": 10},
    "backward ratio": {"backward_ratio": 0.5},
    "no backward pass": {"backward_ratio": 0},
    "inputs kept": {"constraints": {"keep_inputs_on_device": True}},
    "pinned to the device": {"constraints": {"pin_device": ["{late}"]}},
    "pinned to the server": {"constraints": {"pin_server": ["{early}"]}},
    "pinned both ways": {"constraints": {"pin_device": ["{early}"], "pin_server": ["{late}"]}},
    "objective": {"objective": "delay"},
    "general": {"method": "general"},
    "blockwise": {"method": "blockwise"},
    "table": {"method": "table"},
    "auto": {"method": "auto"},
    "fast device": {"device": {"flops_per_s": 1e14}},
    "largest counts": {"batch_size": 2**31, "local_iterations": 2**31},
    "all of them": {
        "link": LINKS["poor"],
        "batch_size": 7,
        "local_iterations": 3,
        "backward_ratio": 1.5,
        "constraints": {"pin_device": ["{early}"], "keep_inputs_on_device": True},
        "method": "general",
    },
}


@pytest.fixture
def graph(client: httpx.Client, demo_model: dict[str, Any]) -> dict[str, Any]:
    """The demo model's graph, as the service tells it."""
    answer: dict[str, Any] = client.get(f"/models/{demo_model['id']}/graph").json()
    return answer


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("option", OPTIONS)
def test_answer_is_what_its_cut_costs(
    client: httpx.Client,
    demo_model: dict[str, Any],
    graph: dict[str, Any],
    option: str,
    mode: str,
) -> None:
    """With every option and in both modes, the two sides partition the graph, nothing flows back,
    the pins hold, and the quantities and every part of the delay follow from the graph by the
    design's arithmetic."""
    names = [node["name"] for node in graph["nodes"]]
    filled = json.dumps(OPTIONS[option]).replace("{late}", names[60]).replace("{early}", names[30])
    body = scenario(demo_model["id"], mode=mode, store=False, **json.loads(filled))
    answer = split(client, body, include="nodes")
    device, server = (answer["nodes"][side] for side in ("device", "server"))
    assert [name for name in names if name in set(device)] == device
    assert [name for name in names if name in set(server)] == server
    assert sorted(device + server) == sorted(names)
    on_device = {i for i, name in enumerate(names) if name in set(device)}
    quantities = _quantities(graph, on_device)
    assert answer["cut"]["device_nodes"] == len(device)
    assert answer["cut"]["server_nodes"] == len(server)
    assert {key: answer["cut"]["quantities"][key] for key in quantities} == quantities
    assert answer["delay"] == pytest.approx(_delay(quantities, bool(server), body, demo_model))
    parts = sum(value for key, value in answer["delay"].items() if key != "total_s")
    assert answer["delay"]["total_s"] == pytest.approx(parts, rel=1e-12)
    assert answer["objective_value"] == answer["delay"]["total_s"]
    constraints = body.get("constraints", {})
    assert set(constraints.get("pin_device", ())) <= set(device)
    assert set(constraints.get("pin_server", ())) <= set(server)
    if constraints.get("keep_inputs_on_device"):
        assert "pixel_values" not in {tensor["name"] for tensor in answer["cut"]["cut_tensors"]}


@pytest.mark.parametrize("method", ["auto", "blockwise", "general"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("option", OPTIONS)
def test_answer_is_proved_and_beats_the_baselines(
    client: httpx.Client,
    demo_model: dict[str, Any],
    graph: dict[str, Any],
    option: str,
    mode: str,
    method: str,
) -> None:
    """Where a flow is the method, the certificate's flow meets its cut; the baselines cost what the
    trivial cuts cost, and where nothing is constrained the answer is no worse than either."""
    names = [node["name"] for node in graph["nodes"]]
    filled = json.dumps(OPTIONS[option]).replace("{late}", names[60]).replace("{early}", names[30])
    changes = {**json.loads(filled), "method": method}
    body = scenario(demo_model["id"], mode=mode, store=False, **changes)
    answer = split(client, body)
    assert answer["optimal"] is True
    assert answer["gap"] is None
    assert answer["method"] == ("table" if method == "auto" else method)
    assert ("certificate" in answer) == (method != "auto")
    if method != "auto":
        certificate = answer["certificate"]
        assert certificate["cut_value"] == answer["objective_value"]
        assert certificate["flow_value"] == pytest.approx(certificate["cut_value"], rel=1e-9)
    everything = set(range(len(names)))
    for baseline, on_device in (("device_only_s", everything), ("server_only_s", set())):
        quantities = _quantities(graph, on_device)
        expected = _delay(quantities, len(on_device) < len(names), body, demo_model)["total_s"]
        assert answer["baselines"][baseline] == pytest.approx(expected)
        if "constraints" not in body:
            assert answer["objective_value"] <= expected * (1 + 1e-12)


def _quantities(graph: dict[str, Any], on_device: set[int]) -> dict[str, float]:
    """The quantities of a cut that the delay hangs on, from the graph's JSON alone."""
    flops = {node["id"]: node["flops"] for node in graph["nodes"]}
    uplink = gradient = result = crossing = 0
    for tensor in graph["tensors"]:
        producer, consumers = tensor["producer"], set(tensor["consumers"])
        if producer is not None and producer not in on_device:
            assert not consumers & on_device, "a tensor flows back to the device"
            result += tensor["bytes"] * tensor["is_output"]
        elif consumers - on_device:
            crossing += 1
            uplink += tensor["bytes"]
            gradient += tensor["bytes"] * (producer is not None and "float" in tensor["dtype"])
    return {
        "device_flops": sum(flops[i] for i in on_device),
        "server_flops": sum(flops.values()) - sum(flops[i] for i in on_device),
        "uplink_bytes": uplink,
        "gradient_bytes": gradient,
        "result_bytes": result,
        "device_parameter_bytes": sum(
            item["bytes"] for item in graph["parameters"] if set(item["users"]) & on_device
        ),
        "crossing_tensors": crossing,
    }


def _delay(
    quantities: dict[str, float], has_server: bool, body: dict[str, Any], model: dict[str, Any]
) -> dict[str, float]:
    """The design's arithmetic, term by term."""
    training = body["mode"] == "training"
    b = body.get("batch_size", model["model_batch"]) / model["model_batch"]
    rounds = body.get("local_iterations", 1) if training else 1
    k = 1 + body.get("backward_ratio", 2.0) if training else 1
    link = body["link"]
    up, down = link["uplink_bits_per_s"], link["downlink_bits_per_s"]
    back = quantities["gradient_bytes" if training else "result_bytes"]
    parameters = quantities["device_parameter_bytes"] if training else 0
    device_s = rounds * b * k * quantities["device_flops"] / body["device"]["flops_per_s"]
    server_s = rounds * b * k * quantities["server_flops"] / body["server"]["flops_per_s"]
    delay = {
        "device_compute_s": device_s,
        "server_compute_s": server_s,
        "uplink_s": rounds * b * 8 * quantities["uplink_bytes"] / up,
        "downlink_s": rounds * b * 8 * back / down,
        "round_trip_s": rounds * link.get("round_trip_s", 0) if has_server else 0,
        "model_transfer_s": 8 * parameters * (1 / down + 1 / up),
    }
    return {"total_s": sum(delay.values()), **delay}


def test_cut_moves_with_the_link(client: httpx.Client, demo_model: dict[str, Any]) -> None:
    """The slower the uplink, the fewer bytes cross it: from the raw input over a fast link to
    nothing at all over one that hardly works."""
    crossing = []
    for rate in (1e12, 1e9, 1e8, 1e7, 1e6, 1e3):
        link = {"uplink_bits_per_s": rate, "downlink_bits_per_s": 1e9}
        body = scenario(demo_model["id"], mode="inference", link=link, store=False)
        crossing.append(split(client, body)["cut"]["quantities"]["uplink_bytes"])
    assert crossing == sorted(crossing, reverse=True)
    assert crossing[0] == demo_model["inputs"][0]["bytes"]
    assert crossing[-1] == 0


def test_defaults_are_what_the_contract_says(
    client: httpx.Client, demo_model: dict[str, Any]
) -> None:
    """Leaving every option out is the same as stating its documented default."""
    short = scenario(demo_model["id"], store=False)
    full = scenario(
        demo_model["id"],
        store=False,
        mode="training",
        batch_size=demo_model["model_batch"],
        local_iterations=1,
        backward_ratio=2.0,
        objective="delay",
        constraints={"pin_device": [], "pin_server": [], "keep_inputs_on_device": False},
        method="auto",
    )
    answers = [split(client, body) for body in (short, full)]
    for answer in answers:
        del answer["created_at"], answer["solve_s"]
    assert answers[0] == answers[1]
    stored = split(client, scenario(demo_model["id"]))
    assert stored["id"] is not None


def test_answer_holds_nothing_undocumented(
    client: httpx.Client, demo_model: dict[str, Any]
) -> None:
    """Every answer about splits validates against its documented schema, with no field beside."""
    for store in (True, False):
        for query in ({}, {"include": "nodes"}):
            body = scenario(demo_model["id"], store=store)
            response = client.post("/split", json=body, params=query)
            SplitOut.model_validate_json(response.text, extra="forbid")
            assert ("nodes" in response.json()) == bool(query)
    SplitPage.model_validate_json(client.get("/splits").text, extra="forbid")


def test_stored_result_is_what_was_answered(
    client: httpx.Client, demo_model: dict[str, Any]
) -> None:
    """A stored result reads back as it was answered, to the last digit, with nodes or without."""
    for mode in MODES:
        answer = split(client, scenario(demo_model["id"], mode=mode), include="nodes")
        path = f"/splits/{answer['id']}"
        assert client.get(path, params={"include": "nodes"}).json() == answer
        without = {key: value for key, value in answer.items() if key != "nodes"}
        assert client.get(path).json() == without
        assert listed(client, "/splits")[0] == without


def test_store_false_stores_nothing(client: httpx.Client, demo_model: dict[str, Any]) -> None:
    """With store false the answer has no id, and the list of results stays as it was."""
    before = listed(client, "/splits")
    assert split(client, scenario(demo_model["id"], store=False))["id"] is None
    assert listed(client, "/splits") == before


def test_results_page_newest_first_and_filter_by_model(client: httpx.Client) -> None:
    """Pages of any size hold every result of the model asked for once, newest first, and none of
    another, though more are stored meanwhile."""
    ours, other = (uploaded(client, chain("a", "b"))["id"] for _ in range(2))
    made = []
    for _ in range(5):
        made.append(split(client, scenario(ours)))
        split(client, scenario(other))
    for limit in (1, 2, 5, 200):
        assert listed(client, "/splits", limit=limit, model_id=ours) == made[::-1]
    newest = listed(client, "/splits")[:10]
    assert [item["model_id"] for item in newest] == [other, ours] * 5
    first = client.get("/splits", params={"limit": 2, "model_id": ours}).json()
    split(client, scenario(ours))
    cursor = first["next_cursor"]
    rest = client.get("/splits", params={"model_id": ours, "cursor": cursor}).json()
    assert first["items"] + rest["items"] == made[::-1]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("model_id", ["0" * 32, "nope", "", "%00"])
def test_filter_by_a_model_that_is_not_there_finds_nothing(
    client: httpx.Client, model_id: str
) -> None:
    """A filter is no lookup: for a model without results, known or not, the list is empty."""
    answer = client.get(f"/splits?model_id={model_id}")
    assert answer.json() == {"items": [], "next_cursor": None}
