"""``valid_while``: inside of it the answer stays, outside of it a better one is there."""

import copy
import random
from typing import Any

import httpx
import pytest

from tests.api.reckoning import MODES, POWER, Json, fixture_id, random_scenario
from tests.api.small_models import branching, random_model
from tests.server import split, uploaded

RATES = {
    "uplink_bits_per_s": ("link", "uplink_bits_per_s"),
    "downlink_bits_per_s": ("link", "downlink_bits_per_s"),
    "device_flops_per_s": ("device", "flops_per_s"),
    "server_flops_per_s": ("server", "flops_per_s"),
}
STEP = 1e-6


def varied(body: Json, rate: str, value: float) -> Json:
    """A scenario with another value of one rate."""
    side, name = RATES[rate]
    changed = copy.deepcopy(body)
    changed[side][name] = value
    return changed


def cost_of(client: httpx.Client, body: Json, tensors: list[str]) -> float:
    """What a given cut costs in a scenario, by asking what a move away from it would gain."""
    answer = split(client, {**body, "current_cut": tensors})
    total: float = answer["switching"]["current_total_s"]
    return total


def check(client: httpx.Client, body: Json) -> int:
    """Step over every end of every range; how many closed ends there were."""
    answer = split(client, body)
    cut, ranges = answer["cut"], answer["valid_while"]
    tensors = [tensor["name"] for tensor in cut["cut_tensors"]]
    ends = 0
    for rate, (side, name) in RATES.items():
        now = body[side][name]
        low, high = ranges[rate]
        assert low is None or 0 < low <= now * (1 + 1e-12)
        assert high is None or high >= now * (1 - 1e-12)
        extremes = ((low, 1e-12 * now, 1.0), (high, 1e12 * now, -1.0))
        for end, far, inwards in extremes:
            if end is None:
                there = split(client, varied(body, rate, far))
                stays = _cost(client, varied(body, rate, far), tensors, answer)
                assert stays == pytest.approx(there["objective_value"], rel=1e-9), (rate, far, body)
                continue
            ends += 1
            inside, outside = (end * (1 + side_of * STEP) for side_of in (inwards, -inwards))
            if low is None or high is None or high - low > 4 * STEP * end:
                there = split(client, varied(body, rate, inside))
                assert there["cut"] == cut, (rate, end, body)
            there = split(client, varied(body, rate, outside))
            assert there["cut"] != cut, (rate, end, body)
            stays = _cost(client, varied(body, rate, outside), tensors, answer)
            assert there["objective_value"] < stays * (1 + 1e-12), (rate, end, body)
    return ends


def _cost(client: httpx.Client, body: Json, tensors: list[str], answer: Json) -> float:
    if body.get("objective") != "energy":
        return cost_of(client, body, tensors)
    # A current cut does not go with energy: price the cut's delay by the power of the device.
    delayed = {**body, "objective": "delay"}
    stays = {**delayed, "current_cut": tensors, "switching_s": 1e300}
    delay = split(client, stays)["delay"]
    link, parameters = body["link"], answer["cut"]["quantities"]["device_parameter_bytes"]
    if body["mode"] == "inference":
        parameters = 0
    return float(
        POWER["compute_w"] * delay["device_compute_s"]
        + POWER["transmit_w"] * (delay["uplink_s"] + 8 * parameters / link["uplink_bits_per_s"])
        + POWER["receive_w"] * (delay["downlink_s"] + 8 * parameters / link["downlink_bits_per_s"])
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("objective", ["delay", "energy"])
@pytest.mark.parametrize("name", ["mobilenet_v2", "gpt2", "light_squeezenet", "segformer_b0"])
def test_ranges_end_where_another_cut_is_better(
    client: httpx.Client, name: str, objective: str, mode: str
) -> None:
    """Just inside each end of each range the cut is the same, just outside another one is best and
    costs less, and where an end is open the cut is still best at a rate far out."""
    choose = random.Random(f"{name} {mode}")
    model_id = fixture_id(client, name)
    ends = 0
    for faster in (False, True, False, True):
        body = random_scenario(choose, model_id, mode, faster=faster, objective=objective)
        if objective == "energy":
            body["device"] |= POWER
        ends += check(client, body)
    assert ends > 0


@pytest.mark.parametrize("name", ["branching", *(f"random {seed}" for seed in range(4))])
def test_ranges_of_throughput_and_of_limits(client: httpx.Client, name: str) -> None:
    """The same of throughput, of delay under a limit of memory, and under constraints."""
    data = branching() if name == "branching" else random_model(int(name.split()[1]))
    model = uploaded(client, data)
    choose = random.Random(name)
    graph = client.get(f"/models/{model['id']}/graph").json()
    first = graph["nodes"][0]["name"]
    options: list[dict[str, Any]] = [
        {"objective": "throughput"},
        {"constraints": {"keep_inputs_on_device": True}},
        {"constraints": {"pin_device": [first]}},
    ]
    ends = 0
    for changes in options * 2:
        for faster in (False, True):
            body = random_scenario(choose, model["id"], "inference", faster=faster, **changes)
            ends += check_value(client, body)
    limited = random_scenario(choose, model["id"], "inference")
    limited["device"]["memory_bytes"] = float(5e5 * limited["batch_size"])
    ends += check_value(client, limited)
    assert ends > 0


def check_value(client: httpx.Client, body: Json) -> int:
    """As ``check``, by values: where several cuts tie (which a maximum does), any may be named."""
    body = {**body, "include": None}
    del body["include"]
    stored = split(client, {**body, "store": True})
    ends = 0
    for rate, (side, name) in RATES.items():
        now = body[side][name]
        for end, far, inwards in zip(
            stored["valid_while"][rate], (1e-12 * now, 1e12 * now), (1.0, -1.0), strict=True
        ):
            ends += end is not None
            value = far if end is None else end * (1 + inwards * STEP)
            there = split(client, {**varied(body, rate, value), "current_cut": stored["id"]})
            if end is None or _is_wide(stored["valid_while"][rate]):
                assert there["switching"]["gain_s"] <= 1e-9 * there["objective_value"], (rate, body)
            if end is not None:
                outside = varied(body, rate, end * (1 - inwards * STEP))
                there = split(client, {**outside, "current_cut": stored["id"]})
                assert there["switching"]["gain_s"] > 0, (rate, end, body)
    return ends


def _is_wide(ends: list[float | None]) -> bool:
    low, high = ends
    return low is None or high is None or high - low > 4 * STEP * high
