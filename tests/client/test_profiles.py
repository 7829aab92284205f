"""Profiles, presets and what goes with them, by the client."""

from typing import Any

import httpx
import pytest

from app.api.preset_schemas import PresetsOut
from app.api.profile_schemas import ProfileIn, ProfileOut
from app.client import ProblemError
from tests.api.measuring import Json, created, measured, profile
from tests.client.conftest import Connect
from tests.client.driving import Wire
from tests.server import Server, chain, scenario, serving, uploaded


@pytest.fixture
def body(client: httpx.Client) -> Json:
    """A profile of a model of its own."""
    return profile(measured(uploaded(client, chain("a", "b")), {"a": 0.5, "b": 0.25}))


def test_a_profile_is_what_the_service_says(kerf: Any, client: httpx.Client, body: Json) -> None:
    """A profile is kept, whether it is given as fields or as a model of them, and shown as the
    service has it, with the seconds of its nodes; deleted, it is gone."""
    made = kerf.create_profile(body)
    assert isinstance(made, ProfileOut)
    assert kerf.create_profile(ProfileIn.model_validate(body)) == made
    shown = kerf.profile(made.id)
    assert shown == ProfileOut.model_validate(client.get(f"/profiles/{made.id}").json())
    assert shown.models[0].node_seconds == {"a": 0.5, "b": 0.25}
    assert made.models[0].node_seconds is None
    assert next(iter(kerf.profiles())) == made
    assert kerf.delete_profile(made.id) is None
    for call in (kerf.profile, kerf.delete_profile):
        with pytest.raises(ProblemError, match=f"there is no profile '{made.id}'"):
            call(made.id)


def test_a_refused_profile_has_the_words_of_the_service(kerf: Any, body: Json) -> None:
    """What the service refuses reads as it puts it, NaN, which has no form in JSON, included."""
    body["models"][0]["node_seconds"]["c"] = 0.0
    with pytest.raises(ProblemError, match="no node named 'c'") as refused:
        kerf.create_profile(body)
    assert refused.value.type == "invalid-profile"
    body["models"][0]["whole_s"] = float("nan")
    with pytest.raises(ProblemError, match="finite"):
        kerf.create_profile(body)


def test_profiles_come_page_by_page(connect: Connect, tmp_path: Any) -> None:
    """All profiles are given, newest first; a page is fetched when it is needed."""
    wire = Wire()
    with serving(tmp_path) as server:
        client = server.client()
        entry = measured(uploaded(client, chain("a")), {"a": 1.0})
        ids = [created(client, profile(entry, name=str(i))) for i in range(201)]
        kerf = connect(server.url, transport=wire)
        everything = kerf.profiles()
        assert next(iter(everything)).id == ids[-1]
        assert len(wire.exchanges) == 1
        assert [each.id for each in kerf.profiles()] == ids[::-1]
        assert len(wire.exchanges) == 3


def test_presets_are_those_of_the_service(kerf: Any, client: httpx.Client) -> None:
    """All presets, with every field that the service answers."""
    found = kerf.presets()
    assert isinstance(found, PresetsOut)
    assert found == PresetsOut.model_validate(client.get("/presets").json())
    assert found.devices


def test_a_split_may_name_them(
    connect: Connect, server: Server, demo_model: Json, body: Json
) -> None:
    """A split by a profile and a preset says what was used; sensitivity comes where it is asked
    for, alone and beside the nodes."""
    wire = Wire()
    kerf = connect(server.url, transport=wire)
    profile_id = kerf.create_profile(body).id
    asked = scenario(demo_model["id"], device={"profile_id": profile_id}, server={"preset": "a100"})
    plain = kerf.split(asked)
    assert plain.profiles.device.used == "sustained-flops"
    assert plain.profiles.server is None
    assert plain.sensitivity is None
    told = kerf.split(asked, include_sensitivity=True)
    assert set(told.sensitivity.bandwidth) == {"10", "25", "50"}
    both = kerf.split(asked, include_nodes=True, include_sensitivity=True)
    assert both.sensitivity == told.sensitivity
    assert len(both.nodes.device) == both.cut.device_nodes
    queries = [str(exchange.url.query, "ascii") for exchange in wire.exchanges[1:]]
    assert queries == ["", "include=sensitivity", "include=nodes%2Csensitivity"]
