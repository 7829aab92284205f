"""`kerf profiles` and `kerf presets`: machines that were measured, and common ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.api.preset_schemas import PresetsOut
from app.api.profile_schemas import ProfileOut
from app.cli import faults
from app.demo.demo import DEMO_MODEL
from app.presets import all_presets
from tests.api.measuring import Json, created, measured, profile
from tests.cli.running import NO_SERVICE, cells, kerf, rows
from tests.server import Server, chain, uploaded


@pytest.fixture
def body(server: Server) -> Json:
    """A profile of a model of its own."""
    model = uploaded(server.client(), chain("a", "b"))
    return profile(measured(model, {"a": 0.5, "b": 0.25}), name="a [bold] box")


def test_profiles_are_listed_shown_and_deleted(server: Server, body: Json) -> None:
    """Profiles are listed newest first, one is shown with what was measured, and deleted ones are
    gone; with --json it is what the service answers."""
    client = server.client()
    older, newer = (created(client, {**body, "threads": threads}) for threads in (1, 2))
    listed = rows(kerf("profiles", url=server.url).stdout)
    assert listed[0] == ["name", "id", "cpu", "threads", "models", "sustained"]
    assert [row[:4] for row in listed[1:3]] == [
        [body["name"], newer, "some CPU", "2"],
        [body["name"], older, "some CPU", "1"],
    ]
    as_json = kerf("profiles", "--json", url=server.url).result
    items = client.get("/profiles", params={"limit": 200}).json()["items"]
    assert [ProfileOut(**each) for each in as_json] == [ProfileOut(**each) for each in items]
    told = kerf("profiles", older, url=server.url).stdout
    shown = cells(told)
    assert (shown["name"], shown["id"], shown["os"]) == (body["name"], older, "some system")
    assert rows(told)[-1][:5] == [body["models"][0]["model_id"], "2", "750 ms", "30", "2.0%"]
    one = kerf("profiles", older, "--json", url=server.url).result
    assert ProfileOut(**one) == ProfileOut(**client.get(f"/profiles/{older}").json())
    assert one["models"][0]["node_seconds"] == {"a": 0.5, "b": 0.25}
    done = kerf("profiles", "--delete", older, "--delete", newer, "--json", url=server.url)
    assert done.result == {"deleted": [older, newer]}
    assert done.stderr == f"deleted {older}\ndeleted {newer}\n"
    for arguments in ((older,), ("--delete", older)):
        gone = kerf("profiles", *arguments, "--json", url=server.url)
        assert (gone.status, gone.problem["type"]) == (faults.REFUSED, "not-found")


def test_profiles_are_added_from_files(server: Server, body: Json, tmp_path: Path) -> None:
    """A body of POST /profiles is stored, from a file or through a pipe, once; what is no such body
    is refused with the field at fault, and what does not fit its model as the service puts it."""
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(body))
    added = kerf("profiles", "--add", file, "--json", url=server.url).result
    assert added["machine"] == body["machine"]
    again = kerf("profiles", "--add", "-", stdin=json.dumps(body), url=server.url)
    assert cells(again.stdout)["id"] == added["id"]
    wrong: tuple[tuple[Any, str, str], ...] = (
        ([], "invalid-request", "JSON object"),
        ({**body, "thread": 1}, "invalid-request", "thread"),
        ({"profile": {**body, "threads": -1}}, "invalid-request", "threads"),
        (profile(body["models"][0] | {"model_id": "m"}), "invalid-profile", "upload it before"),
    )
    for content, kind, words in wrong:
        file.write_text(json.dumps(content))
        done = kerf("profiles", "--add", file, "--json", url=server.url)
        assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, kind)
        assert words in str(done.problem)
    missing = kerf("profiles", "--add", tmp_path / "none.json", "--json", url=server.url)
    assert missing.status == faults.MACHINE


def test_a_service_that_is_away_is_told() -> None:
    """Profiles are the service's."""
    done = kerf("profiles", "--json", url=NO_SERVICE)
    assert (done.status, done.problem["type"]) == (faults.NO_SERVICE, "unreachable")


def test_presets_are_those_of_the_service(server: Server) -> None:
    """Without asking it, and every one of them has a line."""
    known = server.client().get("/presets").json()
    assert kerf("presets", "--json", url=NO_SERVICE).result == known
    told = rows(kerf("presets", url=NO_SERVICE).stdout)
    names = [each["name"] for kind in ("devices", "servers", "links") for each in known[kind]]
    assert [row[0] for row in told if row[0] not in ("devices", "servers", "links")] == names


PRESETS = PresetsOut.model_validate(all_presets())


@pytest.mark.parametrize(
    "preset", [*PRESETS.devices, *PRESETS.servers, *PRESETS.links], ids=lambda each: each.name
)
def test_each_preset_is_shown_with_its_sources(preset: Any) -> None:
    """By its name, with the title of every document that its figures come from; `kerf split` takes
    it."""
    done = kerf("presets", preset.name, COLUMNS="400")
    assert cells(done.stdout)["name"] == preset.name
    titles = _titles(preset.model_dump())
    assert titles
    for title in titles:
        assert title in done.stdout, title
    assert kerf("presets", preset.name, "--json").result == preset.model_dump(mode="json")
    side = "link" if preset in PRESETS.links else "device"
    rates = {
        "device": ("--server", "5T", "--uplink", "20M", "--downlink", "100M"),
        "link": ("--server", "5T", "--device", "5G"),
    }
    named = (f"--{side}-preset", preset.name, *rates[side], "--mode", "inference")
    assert kerf("split", DEMO_MODEL, *named).status == 0


def _titles(part: Any) -> set[str]:
    """Of the sources of figures, but for those of how often something computes."""
    if isinstance(part, list):
        return {title for each in part for title in _titles(each)}
    if not isinstance(part, dict):
        return set()
    own = {part["source"]["title"]} if part.get("source") else set()
    inner = (value for key, value in part.items() if key not in ("arithmetic", "workload"))
    return own | {title for each in inner for title in _titles(each)}


def test_a_preset_that_is_none_is_told() -> None:
    """With those that may be meant, of machines and of links."""
    done = kerf("presets", "tx2", "--json")
    assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "unknown-preset")
    assert "'jetson-tx2'" in done.problem["detail"]
    assert "of a link" in done.problem["detail"]
