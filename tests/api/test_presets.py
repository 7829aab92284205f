"""`GET /presets`."""

from typing import Any

import httpx

from app.presets import all_presets
from app.presets.models import MachinePreset
from tests.server import assert_problem, scenario, split

Json = dict[str, Any]
LISTS = ("devices", "servers", "links")


def answered(client: httpx.Client) -> Json:
    response = client.get("/presets")
    assert response.status_code == 200, response.text
    body: Json = response.json()
    return body


def without_derived(machine: Json) -> Json:
    """A machine of an answer as its file has it: without what is computed."""
    plain = {
        key: value
        for key, value in machine.items()
        if key not in ("flops_per_s", "peak_flops_per_s", "efficiency")
    }
    plain["peaks"] = [
        {
            **{
                key: value
                for key, value in peak.items()
                if key not in ("flops_per_s", "efficiency")
            },
            "measurements": [
                {key: value for key, value in measurement.items() if key != "flops_per_s"}
                for measurement in peak["measurements"]
            ],
        }
        for peak in machine["peaks"]
    ]
    return plain


def test_presets_are_the_packaged_ones(client: httpx.Client) -> None:
    """The answer is the packaged data with all their sources, and what follows from them."""
    body = answered(client)
    assert set(body) == set(LISTS)
    expected = all_presets().model_dump(mode="json")
    assert body["links"] == expected["links"]
    for kind in ("devices", "servers"):
        assert [without_derived(machine) for machine in body[kind]] == expected[kind]
        presets: tuple[MachinePreset, ...] = getattr(all_presets(), kind)
        for machine, preset in zip(body[kind], presets, strict=True):
            assert machine["flops_per_s"] == preset.flops_per_s
            assert machine["peak_flops_per_s"] == preset.peak_flops_per_s
            assert machine["efficiency"] == preset.efficiency
            assert machine["flops_per_s"] == machine["peak_flops_per_s"] * machine["efficiency"]
            for peak, of_preset in zip(machine["peaks"], preset.peaks, strict=True):
                assert peak["efficiency"] == of_preset.efficiency
                assert peak["flops_per_s"] == of_preset.flops_per_s
                assert [measurement["flops_per_s"] for measurement in peak["measurements"]] == [
                    measurement.flops_per_s for measurement in of_preset.measurements
                ]


def test_presets_say_what_they_are_from(client: httpx.Client) -> None:
    """Each machine names precision and power mode, each of its peaks a dated source, and each link
    what its figures are and a dated source."""
    body = answered(client)
    for machine in (*body["devices"], *body["servers"]):
        assert machine["precision"] in {peak["precision"] for peak in machine["peaks"]}
        assert machine["power_mode"]
        for peak in machine["peaks"]:
            assert peak["source"]["title"]
            assert peak["source"]["date"]
    for link in body["links"]:
        assert link["statistic"]
        assert link["source"]["date"]


def test_presets_take_no_parameters(client: httpx.Client) -> None:
    """A query parameter is refused."""
    problem = assert_problem(
        client.get("/presets", params={"kind": "devices"}), 422, "invalid-request"
    )
    assert problem["errors"][0]["loc"] == ["query", "kind"]


def test_figures_go_into_split(client: httpx.Client, demo_model: Json) -> None:
    """The figures of any device, server and link are ones that `/split` takes; and the H100 behind
    a link is never slower than the T4."""
    body = answered(client)
    speed = {machine["name"]: machine["flops_per_s"] for machine in body["servers"]}
    for device in body["devices"]:
        for link in body["links"]:
            totals = [
                split(
                    client,
                    scenario(
                        demo_model["id"],
                        device={
                            "flops_per_s": device["flops_per_s"],
                            "memory_bytes": device["memory"]["memory_bytes"],
                        },
                        server={"flops_per_s": speed[server]},
                        link={
                            "uplink_bits_per_s": link["uplink_bits_per_s"],
                            "downlink_bits_per_s": link["downlink_bits_per_s"],
                            "round_trip_s": link["round_trip_s"] or 0.0,
                        },
                        store=False,
                    ),
                )["delay"]["total_s"]
                for server in ("h100", "t4")
            ]
            assert totals[0] <= totals[1]
