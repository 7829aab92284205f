"""`kerf calibrate`: measured here, stored at a service, and priced there."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from app.api.profile_schemas import ProfileIn
from app.cli import faults
from app.cli.calibrate import MOST_SPREAD
from app.cli.calibration_tables import SLOWEST
from app.demo.demo import DEMO_MODEL
from tests.api.measuring import sums
from tests.cli.running import (
    DEADLINE_S,
    NO_SERVICE,
    RATES,
    cells,
    kerf,
    kerf_process,
    rows,
    running,
)
from tests.cli.test_cut import given
from tests.halves.weighted_models import BY_NAME, WeightedModel
from tests.server import Server, scenario, split

SHORT = ("--seconds", "0.1", "--threads", "1")


@pytest.fixture
def model() -> WeightedModel:
    """A small model with its weights inside."""
    return BY_NAME["residual"]


def unlike_others(model: WeightedModel, directory: Path) -> Path:
    """A model's file that no other test has given to the shared service."""
    path = model.write(directory)
    proto = onnx.load(path)
    for each in proto.graph.node:
        each.name = f"{directory.name}/{each.name}"
    onnx.save(proto, path)
    return path


def split_by(server: Server, model_id: str, profile_id: str, **changes: Any) -> dict[str, Any]:
    """The answer to an inference on a measured device, with the nodes of both sides."""
    body = scenario(model_id, device={"profile_id": profile_id}, mode="inference", **changes)
    return split(server.client(), body, include="nodes")


def test_a_profile_is_stored_and_priced(
    server: Server, tmp_path: Path, model: WeightedModel
) -> None:
    """With --url the service is sent the model without its weights, and keeps the profile; a split
    that names it prices the seconds that were measured."""
    path = unlike_others(model, tmp_path)
    done = kerf_process("calibrate", path, *SHORT, "--url", server.url, "--name", "a box", "--json")
    found = done.result
    (measured,) = found["profile"]["models"]
    (about,) = found["models"]
    model_id, seconds = measured["model_id"], measured["node_seconds"]
    assert about["model_ids"] == [model_id]
    assert f"sent {path.name} to the service, without its weights, as {model_id}" in done.stderr
    assert server.client().get(f"/models/{model_id}").json()["weights"] == "external"
    stored = server.client().get(f"/profiles/{found['profile_id']}").json()
    assert (stored["name"], stored["threads"]) == ("a box", 1)
    assert stored["machine"] == found["profile"]["machine"]
    assert stored["models"][0]["node_seconds"] == seconds
    assert sum(seconds.values()) == pytest.approx(measured["whole_s"], rel=0.05)
    graph = server.client().get(f"/models/{model_id}/graph").json()
    names = [node["name"] for node in graph["nodes"]]
    pins = {"pin_device": names[:3], "pin_server": names[3:]}
    answer = split_by(server, model_id, found["profile_id"], constraints=pins)
    assert answer["profiles"]["device"]["used"] == "node-seconds"
    assert answer["profiles"]["device"]["flops_per_s"] == measured["flops_per_s"]
    on_device = sums(seconds, answer["nodes"])["device"]
    assert answer["delay"]["device_compute_s"] == pytest.approx(on_device)
    assert answer["baselines"]["device_only_s"] == pytest.approx(sum(seconds.values()))


def test_a_profile_knows_a_model_by_all_its_ids(
    server: Server, tmp_path: Path, model: WeightedModel
) -> None:
    """A model that the service has, with its weights, without them, or both, is not sent again;
    the profile has seconds for each."""
    path = unlike_others(model, tmp_path)
    ids = []
    for more in (("--send-weights",), ()):
        ids.append(kerf("upload", path, *more, "--json", url=server.url).result["id"])
        done = kerf("calibrate", path, *SHORT, "--url", server.url, "--json")
        assert "sent" not in done.stderr
        assert sorted(done.result["models"][0]["model_ids"]) == sorted(ids)
        for model_id in ids:
            answer = split_by(server, model_id, done.result["profile_id"])
            assert answer["profiles"]["device"]["used"] == "node-seconds"
    other = ("upload", path, "--model-batch", "1", "--json")
    assert kerf(*other, url=server.url).result["id"] not in done.result["models"][0]["model_ids"]


@pytest.mark.parametrize("name", ["symbolic_sequence", "fed_weights", "external_one_file"])
def test_models_need_what_their_uploads_need(server: Server, tmp_path: Path, name: str) -> None:
    """Dimensions and parameters are given as to `kerf upload`, and external data lie beside the
    file; the ids are those of uploads with these."""
    model = BY_NAME[name]
    path = model.write(tmp_path)
    model_id = kerf("upload", path, *given(model), "--json", url=server.url).result["id"]
    done = kerf("calibrate", path, *given(model), *SHORT, "--url", server.url, "--json")
    assert model_id in done.result["models"][0]["model_ids"]


def test_a_graph_without_weights_is_measured(tmp_path: Path) -> None:
    """Its weights are made up, and that is told; nothing is stored where no --url is given, though
    KERF_URL is set, and the profile is what POST /profiles takes."""
    done = kerf("calibrate", DEMO_MODEL, *SHORT, "--json", url=NO_SERVICE)
    assert done.result["profile_id"] is None
    assert done.result["models"][0]["has_made_up_weights"] is True
    assert done.result["models"][0]["flops"] == 607934720
    assert done.stderr.startswith("mobilenet_v2.onnx has no weights; they were made up")
    profile = ProfileIn.model_validate(done.result["profile"])
    assert profile.threads == 1
    assert profile.name == f"{profile.machine.cpu}, 1 thread"
    assert len(profile.models[0].node_seconds) == 100


def test_tables_for_people(server: Server, tmp_path: Path, model: WeightedModel) -> None:
    """The machine, the whole, operators and slowest nodes are shown, and how to use the profile;
    a spread beyond a fifth is warned of, a lesser one is not."""
    path = unlike_others(model, tmp_path)
    done = kerf("calibrate", path, *SHORT, "--url", server.url)
    assert done.status == 0
    shown = cells(done.stdout)
    assert shown["threads"] == "1"
    assert shown["cores"] == str(len(os.sched_getaffinity(0)))
    assert shown["sustained"].endswith("FLOP/s")
    assert shown["samples per run"] == "2"
    heads = [row[0] for row in rows(done.stdout)]
    assert {"machine", path.name, "operator", "Conv", "slowest nodes"} <= {*heads}
    slowest = rows(done.stdout)[heads.index("slowest nodes") + 1 :]
    assert len(slowest) == SLOWEST
    names = {node.name for node in onnx.load(path).graph.node}
    assert {row[0] for row in slowest} <= names
    shares = [float(row[-1].removesuffix("%")) for row in slowest]
    assert shares == sorted(shares, reverse=True)
    spread = float(shown["they differ by"].removesuffix("%")) / 100
    assert ("warning: the runs of" in done.stderr) is (spread > MOST_SPREAD)
    *_, told, use = done.stdout.splitlines()
    profile_id = told.partition(" as profile ")[2].partition(";")[0]
    words = use.split()
    assert words[:2] == ["kerf", "split"]
    assert words[-1] == "..."
    followed = kerf(*words[1:-1], "--server", "5T", *RATES[4:], "--json")
    assert followed.result["profiles"]["device"]["profile_id"] == profile_id
    assert followed.result["profiles"]["device"]["used"] == "node-seconds"


def test_several_models_make_one_profile(server: Server, tmp_path: Path) -> None:
    """Each model that is named has its seconds in the profile; the same model twice is refused
    before anything is measured."""
    paths = [BY_NAME[name].write(tmp_path) for name in ("residual", "branching")]
    done = kerf("calibrate", *paths, *SHORT, "--url", server.url, "--json")
    assert [each["file"] for each in done.result["models"]] == [str(path) for path in paths]
    listed = server.client().get(f"/profiles/{done.result['profile_id']}").json()["models"]
    ids = [each for about in done.result["models"] for each in about["model_ids"]]
    assert [each["model_id"] for each in listed] == ids
    assert len(set(ids)) >= 2
    again = kerf("calibrate", paths[0], paths[1], paths[0], "--json")
    assert (again.status, again.problem["type"]) == (faults.BAD_INPUT, "usage")
    assert "are the same model" in again.problem["detail"]


def test_inputs_may_be_given(tmp_path: Path, model: WeightedModel) -> None:
    """Inputs come from a file by their names; others than the model's are told."""
    path, inputs = model.write(tmp_path), tmp_path / "inputs.npz"
    np.savez(inputs, **model.inputs(path))
    assert kerf("calibrate", path, *SHORT, "--input", inputs, "--json").status == 0
    np.savez(inputs, other=np.zeros(3))
    done = kerf("calibrate", path, *SHORT, "--input", inputs, "--json")
    assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "cannot-run")
    assert "'other'" in done.problem["detail"]
    inputs.write_bytes(b"nothing")
    assert kerf("calibrate", path, "--input", inputs, "--json").problem["type"] == "cannot-run"


def test_what_cannot_be_measured_is_told(tmp_path: Path, model: WeightedModel) -> None:
    """A dimension that the model does not have, a file that is none or no model, operators that
    nothing runs, and a name that no profile may have, end with a status and a sentence."""
    path, garbage, foreign = model.write(tmp_path), tmp_path / "g.onnx", tmp_path / "f.onnx"
    garbage.write_bytes(b"no model")
    proto = onnx.load(path)
    proto.graph.node[1].domain, proto.graph.node[1].op_type = "nowhere", "Unheard"
    proto.opset_import.append(onnx.helper.make_opsetid("nowhere", 1))
    onnx.save(proto, foreign)
    for arguments, status, kind, words in (
        ((path, "--dim", "nope=3"), faults.BAD_INPUT, "bad-binding", "nope"),
        ((garbage,), faults.BAD_INPUT, "not-onnx", "ONNX"),
        ((tmp_path / "none.onnx",), faults.MACHINE, "file-trouble", "No such file"),
        ((foreign,), faults.BAD_INPUT, "cannot-run", "Unheard"),
        ((path, "--name", "x" * 201), faults.BAD_INPUT, "usage", "200 characters"),
        ((path, "--name", "bell\x07"), faults.BAD_INPUT, "usage", "--name"),
        ((path, "--url", "nowhere"), faults.NO_SERVICE, "unreachable", "http://127.0.0.1:8000"),
    ):
        done = kerf("calibrate", *arguments, *SHORT, "--json")
        assert (done.status, done.problem["type"]) == (status, kind), arguments
        assert words in done.problem["detail"], arguments


def test_a_service_that_is_away_is_told_before_anything_is_measured(
    tmp_path: Path, model: WeightedModel
) -> None:
    """However long the measurement would take."""
    path = model.write(tmp_path)
    done = kerf("calibrate", path, "--seconds", "80000", "--url", NO_SERVICE, "--json")
    assert (done.status, done.problem["type"]) == (faults.NO_SERVICE, "unreachable")


def test_what_cannot_be_stored_is_told_all_the_same(
    server: Server, tmp_path: Path, model: WeightedModel
) -> None:
    """Where the service refuses the profile, as it has lost the model meanwhile, what was measured
    is still the result, with the problem beside it; and it can be stored later."""
    path, client = unlike_others(model, tmp_path), server.client()
    options = ("--seconds", "4", "--threads", "1", "--json", "--url", server.url)
    with running(tmp_path, "calibrate", path, *options) as calibrating:
        calibrating.told("without its weights")
        model_id = client.get("/models").json()["items"][0]["id"]
        assert client.delete(f"/models/{model_id}").status_code == 204
        stdout, _ = calibrating.process.communicate(timeout=DEADLINE_S)
        assert calibrating.process.returncode == faults.BAD_INPUT
    assert '"type": "invalid-profile"' in calibrating.stderr.read_text()
    assert json.loads(stdout)["profile_id"] is None
    later = tmp_path / "profile.json"
    later.write_text(stdout)
    arguments = ("profiles", "--add", later, "--json")
    assert kerf(*arguments, url=server.url).problem["type"] == "invalid-profile"
    kerf("upload", path, url=server.url)
    profile_id = kerf(*arguments, url=server.url).result["id"]
    assert split_by(server, model_id, profile_id)["profiles"]["device"]["used"] == "node-seconds"
