"""`POST /split` with presets in the place of figures."""

from typing import Any

import httpx
import pytest

from app.presets import all_presets, link_named, machine_named
from tests.server import assert_problem, scenario, split

Json = dict[str, Any]
OF_THE_MOMENT = ("id", "created_at", "solve_s")
MACHINES = [preset.name for preset in (*all_presets().devices, *all_presets().servers)]
LINKS = [preset.name for preset in all_presets().links]


def timeless(answer: Json) -> Json:
    return {name: part for name, part in answer.items() if name not in OF_THE_MOMENT}


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_stands_for_its_speed(client: httpx.Client, demo_model: Json, name: str) -> None:
    """On either side, a preset is the same as its speed written out; its memory and its power do
    not count unless they are stated."""
    speed = {"flops_per_s": machine_named(name).flops_per_s}
    for side in ("device", "server"):
        named = split(client, scenario(demo_model["id"], **{side: {"preset": name}}))
        stated = split(client, scenario(demo_model["id"], **{side: speed}))
        assert timeless(named) == timeless(stated)
        assert "profiles" not in named


@pytest.mark.parametrize("name", LINKS)
def test_a_link_stands_for_its_three_figures(
    client: httpx.Client, demo_model: Json, name: str
) -> None:
    """A preset gives both rates and the round trip (none where none is known); a figure that is
    given beside it, a round trip of 0 too, takes the place of the preset's."""
    preset = link_named(name)
    figures = {
        "uplink_bits_per_s": preset.uplink_bits_per_s,
        "downlink_bits_per_s": preset.downlink_bits_per_s,
        "round_trip_s": preset.round_trip_s or 0.0,
    }
    changes: list[Json] = [
        {},
        {"uplink_bits_per_s": 1e6},
        {"downlink_bits_per_s": 3e6},
        {"round_trip_s": 0.5},
        {"round_trip_s": 0.0},
    ]
    for given in changes:
        named = split(client, scenario(demo_model["id"], link={"preset": name, **given}))
        stated = split(client, scenario(demo_model["id"], link={**figures, **given}))
        assert timeless(named) == timeless(stated)


def test_batches_take_presets(client: httpx.Client, demo_model: Json) -> None:
    """In a batch, too, a preset is the same as its figures."""
    names = {"device": {"preset": "jetson-nano"}, "server": {"preset": "t4"}}
    named = {**names, "link": {"preset": LINKS[0]}, "mode": "inference"}
    stated = scenario("", **named)
    del stated["model_id"]
    for side, preset in names.items():
        stated[side] = {"flops_per_s": machine_named(preset["preset"]).flops_per_s}
    link = link_named(LINKS[0])
    stated["link"] = {
        "uplink_bits_per_s": link.uplink_bits_per_s,
        "downlink_bits_per_s": link.downlink_bits_per_s,
        "round_trip_s": link.round_trip_s or 0.0,
    }
    answers = [
        client.post("/split/batch", json={"model_id": demo_model["id"], "scenarios": [each] * 2})
        for each in (named, stated)
    ]
    assert answers[0].json()["answers"]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    ("side", "name", "near"),
    [
        ("device", "jetson-tx3", "'jetson-tx2'"),
        ("server", "A 100", "'a100'"),
        ("link", "lte2", "'lte'"),
        ("device", "lte", "there are jetson-tx1"),
    ],
)
def test_an_unknown_name_is_refused_with_those_near(
    client: httpx.Client, demo_model: Json, side: str, name: str, near: str
) -> None:
    """A name that is no preset's is refused at its place, alone and in a batch, and the detail has
    the names that are near."""
    body = scenario(demo_model["id"], **{side: {"preset": name}})
    problem = assert_problem(client.post("/split", json=body), 422, "unknown-preset")
    assert near in problem["detail"]
    assert problem["errors"][0]["loc"] == ["body", side, "preset"]
    good = scenario(demo_model["id"])
    for each in (good, body):
        del each["model_id"]
    batch = {"model_id": demo_model["id"], "scenarios": [good, body]}
    problem = assert_problem(client.post("/split/batch", json=batch), 422, "unknown-preset")
    assert problem["errors"][0]["loc"] == ["body", "scenarios", 1, side, "preset"]
