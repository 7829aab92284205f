"""Made-up profiles, and what they must lead to, from the JSON of the API alone."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tests.api.reckoning import allowed, closed_sets, memory_needed, quantities, value

Json = dict[str, Any]
Seconds = dict[str, float]
MACHINE = {
    "cpu": "some CPU",
    "cores": 4,
    "os": "some system",
    "python": "3.11.9",
    "onnxruntime": "1.22.0",
}


def made_up_seconds(graph: Json, seed: object, around_s: float = 1e-4) -> Seconds:
    """Seconds of every node, over two orders of magnitude, which its FLOPs do not tell."""
    draw = random.Random(str(seed))
    return {node["name"]: around_s * 10 ** draw.uniform(-1, 1) for node in graph["nodes"]}


def measured(model: Json, seconds: Seconds, run_overhead_s: float = 0.0) -> Json:
    """An entry of ``models`` in a profile."""
    whole_s = sum(seconds.values())
    return {
        "model_id": model["id"],
        "flops_per_s": model["flops"] / whole_s,
        "whole_s": whole_s,
        "spread": 0.02,
        "runs": 30,
        "run_overhead_s": run_overhead_s,
        "node_seconds": seconds,
    }


def profile(*models: Json, **changes: Any) -> Json:
    """A body of ``POST /profiles``."""
    body = {"name": "some machine", "machine": MACHINE, "threads": 2, "models": list(models)}
    return {**body, **changes}


def created(client: httpx.Client, body: Json) -> str:
    """The id of a profile, which is new or was there."""
    response = client.post("/profiles", json=body)
    assert response.status_code in (200, 201), response.text
    profile_id: str = response.json()["id"]
    return profile_id


def best_by_seconds(
    graph: Json, body: Json, model_batch: int, device: Seconds, server: Seconds
) -> float | None:
    """The least value over every cut that is allowed, by seconds of nodes on either side."""
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    unit = {"flops_per_s": 1.0}
    limit = body["device"].get("memory_bytes")
    priced = {**body, "device": {**body["device"], **unit}, "server": unit}
    values = []
    for chosen in closed_sets(graph):
        q = quantities(graph, chosen, body["mode"])
        if not allowed(graph, chosen, body.get("constraints", {})):
            continue
        if limit is not None and memory_needed(q, body, model_batch) > limit:
            continue
        q["device_flops"] = _sum(device, (names[i] for i in chosen))
        q["server_flops"] = _sum(server, (name for i, name in names.items() if i not in chosen))
        values.append(value(q, priced, model_batch, len(chosen) < len(names)))
    return min(values, default=None)


def by_speed(graph: Json, flops_per_s: float) -> Seconds:
    """Seconds of nodes that a speed makes of their FLOPs."""
    return {node["name"]: node["flops"] / flops_per_s for node in graph["nodes"]}


def sums(seconds: Seconds, sides: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Seconds of the nodes of each side."""
    return {side: _sum(seconds, names) for side, names in sides.items()}


def _sum(seconds: Seconds, names: Any) -> float:
    return float(sum(seconds[name] for name in names))
