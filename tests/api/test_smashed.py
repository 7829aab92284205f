"""``link.smashed_dtype``: smashed data cross in fewer bytes, in every call and method."""

import math
import random
from itertools import product

import httpx
import pytest

from tests.api.measuring import created, made_up_seconds, measured, profile
from tests.api.reckoning import (
    MODES,
    POWER,
    Json,
    allowed,
    closed_sets,
    graph_of,
    memory_needed,
    quantities,
    random_scenario,
    value,
)
from tests.api.small_models import branching, random_model
from tests.server import assert_problem, scenario, split, uploaded

DTYPES = ("float16", "int8")
FLOATING = ("float64", "float32", "float16", "bfloat16")


def crossing_bytes(tensor: Json, dtype: str) -> int:
    """What a tensor takes where it crosses."""
    if tensor["dtype"] not in FLOATING:
        return int(tensor["bytes"])
    elements = math.prod(tensor["shape"])
    return int(min(tensor["bytes"], 2 * elements if dtype == "float16" else elements + 5))


def best_by_force(graph: Json, body: Json, model_batch: int) -> float | None:
    """The least value over all cuts, with other bytes up and of gradients, and nothing else."""
    dtype, limit = body["link"]["smashed_dtype"], body["device"].get("memory_bytes")
    narrow = [{**each, "bytes": crossing_bytes(each, dtype)} for each in graph["tensors"]]
    values = []
    for chosen in closed_sets(graph):
        q = quantities(graph, chosen, body["mode"])
        if not allowed(graph, chosen, body.get("constraints", {})):
            continue
        if limit is not None and memory_needed(q, body, model_batch) > limit:
            continue
        crossing = quantities({**graph, "tensors": narrow}, chosen, body["mode"])
        q |= {name: crossing[name] for name in ("uplink_bytes", "gradient_bytes")}
        values.append(value(q, body, model_batch, len(chosen) < len(graph["nodes"])))
    return min(values, default=None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["branching", "random 1", "random 2"])
def test_optimum_is_that_of_brute_force(client: httpx.Client, name: str, dtype: str) -> None:
    """Every objective and method, with limits and constraints, has the least value over all cuts,
    where cut tensors and their gradients cross in this type and all else is as ever."""
    data = branching() if name == "branching" else random_model(int(name.split()[1]))
    model = uploaded(client, data)
    graph, choose = graph_of(client, model["id"]), random.Random(f"{name} {dtype}")
    cases = product(MODES, ("delay", "energy", "throughput"), (False, True), (False, True))
    for mode, objective, faster, limited in cases:
        if (mode, objective) == ("training", "throughput"):
            continue
        body = random_scenario(choose, model["id"], mode, faster=faster, objective=objective)
        body["link"]["smashed_dtype"] = dtype
        body["constraints"] = choose.choice([{}, {"keep_inputs_on_device": True}])
        if objective == "energy":
            body["device"] |= POWER
        if limited:
            body["device"]["memory_bytes"] = 10 ** choose.uniform(4, 5) * body["batch_size"]
        expected = best_by_force(graph, body, model["model_batch"])
        if expected is None:
            assert_problem(client.post("/split", json=body), 422, "infeasible")
            continue
        is_linear = objective != "throughput" and not limited
        for method in ("table", *(("blockwise", "general") if is_linear else ())):
            answer = split(client, {**body, "method": method})
            assert answer["objective_value"] == pytest.approx(expected, rel=1e-9), body
            assert answer["optimal"] is True


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_answer_says_what_crosses(client: httpx.Client, dtype: str) -> None:
    """Cut tensors stand as the model has them, each with what it is cast to and what it takes then;
    these add up to the bytes up. Without a type neither is there."""
    model = uploaded(client, branching())
    body = scenario(
        model["id"], constraints={"pin_device": ["n_best"], "pin_server": ["n_best_as_float"]}
    )
    plain = split(client, body)
    body["link"]["smashed_dtype"] = dtype
    answer = split(client, body)
    tensors = answer["cut"]["cut_tensors"]
    types = {tensor["dtype"]: tensor["smashed_dtype"] for tensor in tensors}
    assert types == {"float32": dtype, "int64": None}
    for tensor in tensors:
        assert tensor["smashed_bytes"] == crossing_bytes(tensor, dtype)
    up = sum(tensor["smashed_bytes"] for tensor in tensors)
    assert answer["cut"]["quantities"]["uplink_bytes"] == up
    assert up < sum(tensor["bytes"] for tensor in tensors)
    for tensor in plain["cut"]["cut_tensors"]:
        assert set(tensor) == {"name", "shape", "dtype", "bytes"}


def test_types_and_ranges_go_together(client: httpx.Client, demo_model: Json) -> None:
    """The ranges hold for the type that was asked for: at an end of one, the same request still has
    this cut, and beyond it another; plain requests in between are not disturbed."""
    body = scenario(demo_model["id"], mode="inference")
    plain = split(client, body)
    body["link"]["smashed_dtype"] = "int8"
    answer = split(client, body)
    assert answer["delay"]["total_s"] < plain["delay"]["total_s"]
    low, high = answer["valid_while"]["uplink_bits_per_s"]
    for end, inwards in ((low, 1), (high, -1)):
        inside, outside = (end * (1 + sign * inwards * 1e-6) for sign in (1, -1))
        for rate, same in ((inside, True), (outside, False)):
            there = {**body, "link": {**body["link"], "uplink_bits_per_s": rate}}
            assert (split(client, there)["cut"] == answer["cut"]) is same
    del body["link"]["smashed_dtype"]
    assert split(client, body)["cut"] == plain["cut"]


def test_types_go_with_profiles(client: httpx.Client) -> None:
    """Measured seconds and another type of smashed data are priced together: the more bytes cross,
    the dearer, down to what the nodes alone take."""
    model = uploaded(client, branching())
    seconds = made_up_seconds(graph_of(client, model["id"]), "smashed")
    machine = {"profile_id": created(client, profile(measured(model, seconds)))}
    totals = []
    for dtype in (None, "float16", "int8"):
        body = scenario(
            model["id"],
            device=machine,
            server={"flops_per_s": 1e12},
            constraints={"pin_server": ["n_stem"]},
        )
        body["link"]["smashed_dtype"] = dtype
        answer = split(client, body)
        delay = answer["delay"]
        totals.append(delay["total_s"])
        assert delay["uplink_s"] == pytest.approx(
            8 * answer["cut"]["quantities"]["uplink_bytes"] / body["link"]["uplink_bits_per_s"]
        )
    assert totals[0] > totals[1] > totals[2]
