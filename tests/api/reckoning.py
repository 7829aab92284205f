"""The design's arithmetic once more, from the JSON of ``GET /models/{id}/graph`` alone."""

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx

from tests.fixture_models import BY_NAME
from tests.server import DEMO_BYTES, uploaded

Json = dict[str, Any]
MODES = ("training", "inference")
POWER = {"compute_w": 10.0, "transmit_w": 1.2, "receive_w": 0.9}


@cache
def _fixture(name: str) -> bytes:
    return DEMO_BYTES if name == "mobilenet_v2" else BY_NAME[name].path.read_bytes()


def fixture_id(client: httpx.Client, name: str) -> str:
    """The id of a fixture model, uploaded or there already."""
    dims = '{"sequence": 128}' if name.startswith("bert") else "{}"
    return str(uploaded(client, _fixture(name), dims=dims)["id"])


def graph_of(client: httpx.Client, model_id: str) -> Json:
    """The graph of a model, as the service tells it."""
    answer: Json = client.get(f"/models/{model_id}/graph").json()
    return answer


def random_scenario(
    choose: random.Random, model_id: str, mode: str, *, faster: bool = False, **changes: Any
) -> Json:
    """A body for POST /split over many orders of magnitude, every option stated, not stored.

    The device is no faster than the server, or at least as fast where ``faster``.
    """
    slow, fast = sorted(10 ** choose.uniform(8, 14) for _ in range(2))
    device, server = (fast, slow) if faster else (slow, fast)
    body = {
        "model_id": model_id,
        "device": {"flops_per_s": device},
        "server": {"flops_per_s": server},
        "link": {
            "uplink_bits_per_s": 10 ** choose.uniform(4, 11),
            "downlink_bits_per_s": 10 ** choose.uniform(4, 11),
            "round_trip_s": choose.choice((0.0, 10 ** choose.uniform(-5, 0))),
        },
        "mode": mode,
        "batch_size": choose.choice((1, 3, 32, 1000)),
        "local_iterations": choose.choice((1, 10, 500)),
        "backward_ratio": choose.choice((0.0, 0.5, 2.0)),
        "store": False,
    }
    return {**body, **changes}


def closed_sets(graph: Json) -> Iterator[frozenset[int]]:
    """Every set of nodes that holds all that its members depend on."""
    needs: dict[int, set[int]] = {node["id"]: set() for node in graph["nodes"]}
    for tensor in graph["tensors"]:
        for user in tensor["consumers"]:
            if tensor["producer"] is not None:
                needs[user].add(tensor["producer"])

    def grow(node: int, chosen: frozenset[int]) -> Iterator[frozenset[int]]:
        if node == len(needs):
            yield chosen
            return
        yield from grow(node + 1, chosen)
        if needs[node] <= chosen:
            yield from grow(node + 1, chosen | {node})

    return grow(0, frozenset())


def quantities(graph: Json, on_device: frozenset[int], mode: str) -> dict[str, float]:
    """All quantities of a cut."""
    flops = {node["id"]: node["flops"] for node in graph["nodes"]}
    device_flops = sum(flops[i] for i in on_device)
    uplink = gradient = result = crossing = 0
    for tensor in graph["tensors"]:
        producer, users = tensor["producer"], set(tensor["consumers"])
        if producer is not None and producer not in on_device:
            assert not users & on_device, "a tensor flows back to the device"
            result += tensor["bytes"] * tensor["is_output"]
        elif users - on_device:
            crossing += 1
            uplink += tensor["bytes"]
            gradient += tensor["bytes"] * (producer is not None and "float" in tensor["dtype"])
    held = [item["bytes"] for item in graph["parameters"] if set(item["users"]) & on_device]
    activations = _kept if mode == "training" else _peak
    return {
        "device_flops": device_flops,
        "server_flops": sum(flops.values()) - device_flops,
        "uplink_bytes": uplink,
        "gradient_bytes": gradient,
        "result_bytes": result,
        "device_parameter_bytes": sum(held),
        "device_activation_bytes": activations(graph, on_device),
        "crossing_tensors": crossing,
    }


def _kept(graph: Json, on_device: frozenset[int]) -> int:
    return sum(
        tensor["bytes"]
        for tensor in graph["tensors"]
        if tensor["producer"] in on_device or set(tensor["consumers"]) & on_device
    )


def _peak(graph: Json, on_device: frozenset[int]) -> int:
    """Run the device's nodes one by one; free what neither they, the server nor anybody needs."""
    live = {t["id"] for t in graph["tensors"] if t["producer"] is None and t["consumers"]}
    peak = 0
    for node in sorted(on_device):
        live |= {t["id"] for t in graph["tensors"] if t["producer"] == node}
        peak = max(peak, sum(t["bytes"] for t in graph["tensors"] if t["id"] in live))
        live -= {
            t["id"]
            for t in graph["tensors"]
            if not (t["is_output"] and t["producer"] is not None)
            and all(user in on_device and user <= node for user in t["consumers"])
        }
    return peak


def stages(q: dict[str, float], body: Json, model_batch: int, has_server: bool) -> dict[str, float]:
    """The terms of the delay of a cut, in seconds."""
    training, link = body["mode"] == "training", body["link"]
    b = body.get("batch_size", model_batch) / model_batch
    n = body.get("local_iterations", 1) if training else 1
    k = 1 + body.get("backward_ratio", 2.0) if training else 1
    up, down = 8 / link["uplink_bits_per_s"], 8 / link["downlink_bits_per_s"]
    return {
        "device_compute_s": n * b * k * q["device_flops"] / body["device"]["flops_per_s"],
        "server_compute_s": n * b * k * q["server_flops"] / body["server"]["flops_per_s"],
        "uplink_s": n * b * up * q["uplink_bytes"],
        "downlink_s": n * b * down * q["gradient_bytes" if training else "result_bytes"],
        "round_trip_s": n * link.get("round_trip_s", 0.0) * has_server,
        "model_transfer_s": q["device_parameter_bytes"] * (up + down) * training,
    }


def value(q: dict[str, float], body: Json, model_batch: int, has_server: bool) -> float:
    """The objective's value of a cut: seconds or joules."""
    terms = stages(q, body, model_batch, has_server)
    objective = body.get("objective", "delay")
    if objective == "delay":
        return sum(terms.values())
    if objective == "throughput":
        stages_s = ("device_compute_s", "server_compute_s", "uplink_s", "downlink_s")
        return max(terms[name] for name in stages_s)
    device = body["device"]
    training = body["mode"] == "training"
    parameters = q["device_parameter_bytes"] * training
    sent = terms["uplink_s"] + 8 * parameters / body["link"]["uplink_bits_per_s"]
    received = terms["downlink_s"] + 8 * parameters / body["link"]["downlink_bits_per_s"]
    return float(
        device["compute_w"] * terms["device_compute_s"]
        + device["transmit_w"] * sent
        + device["receive_w"] * received
    )


def memory_needed(q: dict[str, float], body: Json, model_batch: int) -> float:
    """Bytes that a cut needs on the device."""
    copies = 2 + body.get("optimizer_states", 0) if body["mode"] == "training" else 1
    batches: float = body.get("batch_size", model_batch) / model_batch
    needed: float = copies * q["device_parameter_bytes"] + batches * q["device_activation_bytes"]
    return needed


def allowed(graph: Json, on_device: frozenset[int], constraints: Json) -> bool:
    """Whether a cut satisfies constraints."""
    names = {node["name"]: node["id"] for node in graph["nodes"]}
    raw = {u for t in graph["tensors"] if t["producer"] is None for u in t["consumers"]}
    return (
        all(names[name] in on_device for name in constraints.get("pin_device", ()))
        and not any(names[name] in on_device for name in constraints.get("pin_server", ()))
        and (not constraints.get("keep_inputs_on_device") or raw <= on_device)
    )


def best_by_force(graph: Json, body: Json, model_batch: int) -> float | None:
    """The least value over every closed set that the constraints and the memory allow."""
    limit = body["device"].get("memory_bytes")
    values = []
    for on_device in closed_sets(graph):
        if not allowed(graph, on_device, body.get("constraints", {})):
            continue
        q = quantities(graph, on_device, body["mode"])
        if limit is None or memory_needed(q, body, model_batch) <= limit:
            has_server = len(on_device) < len(graph["nodes"])
            values.append(value(q, body, model_batch, has_server))
    return min(values, default=None)
