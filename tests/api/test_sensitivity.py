"""``include=sensitivity``: what the cut loses where a figure is off."""

import copy
import math
import random
from itertools import product
from typing import Any

import httpx
import pytest

from tests.api.measuring import created, made_up_seconds, measured, profile
from tests.api.reckoning import MODES, Json, fixture_id, graph_of, random_scenario
from tests.api.small_models import branching
from tests.server import assert_problem, scenario, split, uploaded

FIGURES = ("device_flops_per_s", "server_flops_per_s", "bandwidth")
SHARES = {"10": 0.1, "25": 0.25, "50": 0.5}


def off_by(body: Json, figure: str, factor: float) -> Json:
    """A request with a figure times a factor."""
    changed = copy.deepcopy(body)
    if figure == "bandwidth":
        for name in ("uplink_bits_per_s", "downlink_bits_per_s"):
            changed["link"][name] *= factor
    else:
        changed[figure.partition("_")[0]]["flops_per_s"] *= factor
    return changed


def loss(client: httpx.Client, body: Json, stored: str) -> float:
    """What staying with a stored cut costs more than the best one, as a share of that."""
    answer = split(client, {**body, "current_cut": stored, "store": False})
    best = answer["switching"]["current_total_s"] - answer["switching"]["gain_s"]
    return float(answer["switching"]["gain_s"] / best)


@pytest.mark.parametrize("name", ["mobilenet_v2", "light_squeezenet", "light_vgg19"])
def test_losses_are_what_asking_again_tells(client: httpx.Client, name: str) -> None:
    """In both modes, for devices slower and faster than the server, for delay and throughput, with
    a limit of memory and with constraints, each loss is what a request with the figure so far off
    says that staying with the cut would cost, in the worse of the two directions."""
    choose, model_id = random.Random(name), fixture_id(client, name)
    keeps = {"constraints": {"keep_inputs_on_device": True}}
    cases: list[tuple[str, Json]] = [
        *product(MODES, ({}, keeps)),
        ("inference", {"objective": "throughput"}),
    ]
    found = 0
    for (mode, changes), faster in product(cases, (False, True)):
        body = random_scenario(choose, model_id, mode, batch_size=4, **changes)
        # Where computing and sending take about as long, cuts lie close together.
        device = 10 ** choose.uniform(9.5, 10.5)
        body["device"] = {"flops_per_s": device}
        body["server"] = {"flops_per_s": device * (0.3 if faster else 100)}
        for rate in ("uplink_bits_per_s", "downlink_bits_per_s"):
            body["link"][rate] = 10 ** choose.uniform(7, 8)
        if not faster:
            body["device"]["memory_bytes"] = 4e8
        answer = split(client, {**body, "store": True}, include="sensitivity")
        assert tuple(answer["sensitivity"]) == FIGURES
        for figure, losses in answer["sensitivity"].items():
            assert tuple(losses) == tuple(SHARES)
            for percent, share in SHARES.items():
                worst = max(
                    loss(client, off_by(body, figure, factor), answer["id"])
                    for factor in (1 + share, 1 - share)
                )
                assert losses[percent] == pytest.approx(worst, rel=1e-6, abs=2e-9), body
                found += losses[percent] > 0
    assert found > 3


def test_a_cut_that_stays_best_loses_nothing(client: httpx.Client, demo_model: Json) -> None:
    """The loss is 0 exactly where both values of the figure are in the range of validity."""
    body = scenario(demo_model["id"], mode="inference")
    answer = split(client, body, include="sensitivity")
    ranges = answer["valid_while"]
    for figure in FIGURES[:2]:
        low, high = ranges[figure]
        now = body[figure.partition("_")[0]]["flops_per_s"]
        for percent, share in SHARES.items():
            inside = (low or 0) <= now * (1 - share) and now * (1 + share) <= (high or math.inf)
            assert (answer["sensitivity"][figure][percent] == 0) == inside


def test_measured_seconds_may_be_off_too(client: httpx.Client) -> None:
    """With profiles, a machine that is off is so much faster or slower than it was measured: the
    loss is that of profiles with all seconds so much smaller or larger."""
    model = uploaded(client, branching())
    graph = graph_of(client, model["id"])
    seconds = {side: made_up_seconds(graph, f"off {side}") for side in ("device", "server")}

    def named(side: str, factor: float) -> Json:
        scaled = {name: each / factor for name, each in seconds[side].items()}
        return {"profile_id": created(client, profile(measured(model, scaled), name=side))}

    choose, found = random.Random(5), 0
    for objective in ("delay", "throughput", "delay with a limit"):
        body = random_scenario(choose, model["id"], "inference", batch_size=4)
        body |= {"objective": objective.partition(" ")[0], "store": True}
        body["link"] = {"uplink_bits_per_s": 3e7, "downlink_bits_per_s": 3e7}
        body["device"], body["server"] = named("device", 1), named("server", 1)
        limit = {"memory_bytes": 3e3} if "limit" in objective else {}
        body["device"] |= limit
        answer = split(client, body, include="sensitivity")
        for side in ("device", "server"):
            losses = answer["sensitivity"][f"{side}_flops_per_s"]
            for percent, share in SHARES.items():
                worst = 0.0
                for factor in (1 + share, 1 - share):
                    there = {**body, side: {**named(side, factor)}}
                    there["device"] = {**there["device"], **limit}
                    worst = max(worst, loss(client, there, answer["id"]))
                assert losses[percent] == pytest.approx(worst, rel=1e-6, abs=2e-9)
                found += losses[percent] > 0
    assert found > 0


def test_it_is_added_where_it_is_asked_for(client: httpx.Client, demo_model: Json) -> None:
    """Alone, with nodes, by commas and one by one; a stored result has it as it was answered, and
    nothing has it that was not asked for it."""
    body = scenario(demo_model["id"])
    plain = split(client, body)
    assert not {"nodes", "sensitivity"} & set(plain)
    both: Any = [("include", "nodes"), ("include", "sensitivity")]
    for query in ({"include": "nodes,sensitivity"}, {"include": "sensitivity,nodes"}, both):
        response = client.post("/split", json=body, params=query)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert {"nodes", "sensitivity"} <= set(answer)
        assert client.get(f"/splits/{answer['id']}?include=nodes").json() == answer
    alone = split(client, body, include="sensitivity")
    assert alone["sensitivity"] == answer["sensitivity"]
    assert "nodes" not in alone
    assert client.get(f"/splits/{alone['id']}").json() == alone
    assert "sensitivity" not in client.get(f"/splits/{plain['id']}").json()
    for wrong in ("", "edges", "nodes,edges", "nodes sensitivity"):
        response = client.post("/split", json=body, params={"include": wrong})
        problem = assert_problem(response, 422, "invalid-request")
        assert "query.include" in problem["detail"]
    stored = client.get(f"/splits/{alone['id']}?include=sensitivity")
    assert_problem(stored, 422, "invalid-request")
